#!/usr/bin/env python3
"""Writes bench/RESULTS.md: what report.py has written of each kind of processor, side by side.

    overview.py OUTPUT REPORT...
"""

import os
import re
import sys

HEAD = """# Results of the benchmarks, by kind of processor

Written by `bench/run.sh`; not to be edited by hand. Each run replaces the report of its own kind of processor, which has
every shape, absolute figures and what else is to be said, and then this overview of all of them. A report shows the code
of its date; where a kind of processor has not been at hand since, it is older.

A figure is a ratio, how much faster mien is than its peer, unless it has a unit. **Bold**: short of the goal. A star: the
report has a reservation, such as other work on the machine or a peer without instructions for bfloat16. Empty: not
measured.
"""
MACHINE = ("processor", "instruction sets", "compiler", "peers", "date")


def rows_of(text, heading):
    """The cells of the first table behind `heading`, a regular expression."""
    lines = text[re.search(heading, text).end():].split("\n")
    table = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|\n").split("|")])
        elif table:
            break
    return table[2:]


def cell(reached, met):
    if reached == "not measured":
        return ""
    star = "\\*" if re.search(r"\b(but|of \d+ of|in \d+ turns)\b", met) else ""
    return ("**%s**" if met.startswith("**no**") else "%s") % reached + star


def overview(paths):
    reports = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            reports[path] = file.read()
    names = [os.path.basename(path) for path in paths]
    machines = [dict(row[:2] for row in rows_of(text, r"\n(?=\| machine )")) for text in reports.values()]
    alike = [what for what in MACHINE if len({machine.get(what) for machine in machines}) == 1]
    lines = [HEAD, *("Of all: %s %s.\n" % (what, machines[0].get(what)) for what in alike), "| | goal | %s |" % " | ".join(
        "[%s](%s)" % (re.sub("^RESULTS-|[.]md$", "", name), name) for name in names), "|---|---|" + "---|" * len(paths)]
    for what in (what for what in MACHINE if what not in alike):
        lines.append("| %s | | %s |" % (what, " | ".join(machine.get(what, "") for machine in machines)))
    # In the order of the report that has most; what only another one has comes last.
    tables = {path: rows_of(text, r"\n## Goals\n") for path, text in reports.items()}
    goals, reached = {}, {}
    for path in sorted(tables, key=lambda path: -len(tables[path])):
        for what, goal, value, _, met in tables[path]:
            goals.setdefault(what, goal)
            reached[path, what] = cell(value, met)
    for what, goal in goals.items():
        cells = [reached.get((path, what), "") for path in paths]
        if any(cells):
            lines.append("| %s | %s | %s |" % (what, goal, " | ".join(cells)))
    return "\n".join(lines) + "\n"


def main():
    output, *paths = sys.argv[1:]
    text = overview(paths)
    with open(output + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(output + ".new", output)


if __name__ == "__main__":
    main()
