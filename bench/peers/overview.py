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

A figure is a ratio, how much faster mien is than its peer, unless it has a unit; where it is the geometric mean of many
shapes, the smallest of them follows in parentheses. **Bold**: short of the goal. A star: with a reservation, as other
programs took part of the machine, there were fewer than 15 turns, or the peer has no instructions for bfloat16 there.
Empty: not measured.
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


# Which goals are measured by which part, whose turns stand in the last section of a report. Memory takes three.
PARTS = {"convolution fp32 with AVX2": "onednn_avx2.json", "convolution": "onednn.json", "cascade": "cascade.json",
         "training step": "peers-training.json", "inference": "peers-inference.json",
         "whole epoch": "peers-epoch.json", "augmentation": "peers-augmentation.json",
         "Two threads": "peers-threads.json", "`-O2`": "peers-flags.json"}
TURNS = 15


def reservation(text, what, met):
    """Whether the report has one; older ones do not say of each goal."""
    part = next((part for start, part in PARTS.items() if what.startswith(start)), None)
    turns = part and re.search(re.escape(part) + r" [^;]*turns: (\d+)", text)
    beside = what.startswith("convolution bf16") or (what.startswith("training step") and "bf16" in what)
    return (re.search(r"\b(but|of \d+ of|in \d+ turns)\b", met) or (turns and int(turns[1]) < TURNS) or
            (beside and "avx512_bf16" not in text))


def cell(text, what, reached, smallest, met):
    if reached == "not measured":
        return ""
    shown = ("**%s**" if met.startswith("**no**") else "%s") % reached
    if smallest:
        shown += " (%s)" % smallest.split()[0]
    return shown + ("\\*" if reservation(text, what, met) else "")


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
        for what, goal, value, smallest, met in tables[path]:
            goals.setdefault(what, goal + (", for AMX" if what.startswith("convolution bf16") else ""))
            reached[path, what] = cell(reports[path], what, value, smallest, met)
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
