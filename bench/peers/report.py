#!/usr/bin/env python3
"""Writes the report of one kind of processor from what bench/run.sh has measured.

    report.py FOLDER OUTPUT

FOLDER holds the reports of Google Benchmark (onednn.json, onednn_avx2.json, layers.json, layers_avx2.json, eigen.json,
eigen_native.json, cascade.json), of compare.py (peers-SECTION.json), compile.tsv and machine.tsv. What is missing is
left out, and the table of goals says so.
"""

import json
import math
import os
import re
import statistics
import sys
import time

DIRECTIONS = (("forward", "forward"), ("backward_data", "backward data"), ("backward_weights", "backward weights"))


# What cascade_bench counts, and what its ratios should be.
CASCADE = ("mien_ms", "opencv_ms", "dlib_ms", "one_ms", "two_ms", "found", "dlib_found")
CASCADE_GOALS = {"haar_group_1.1": 10, "haar_single_1.1": 8, "haar_group_1.05": 8, "haar_large_1.1": 8,
                 "lbp_group_1.1": 5, "lbp_large_1.1": 5, "alt2_group_1.1": 6, "eyeglasses_group_1.1": 5,
                 "haar_group_1.1/avx2": 5, "two_threads_group": 1.8, "two_threads_large": 1.8}
# Above this share of the machine taken by other programs, a ratio is no evidence.
BUSY = 0.05
# Fewer turns are said so, and so are fewer shapes of convolutions.
TURNS, SHAPES = 15, 17
TRAINED = ("atulapra batch 64", "mien-s batch 128", "mien-b batch 128")
INFERRED = (("batch 1 fp32 threads 1", 1.3), ("batch 1 fp32 threads 2", 1.3), ("batch 64 fp32 threads 1", 1.2),
            ("batch 64 fp32 threads 2", 1.2), ("batch 1 bf16 threads 1", 3), ("batch 1 bf16 threads 2", 3))


def mean(rows):
    return math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))


def figure(value):
    return "{:,.0f}".format(value) if value >= 1000 else "%.3g" % value


class Results:
    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def measured(self, name):
        """When, at which revision, in how many turns at least, and how busy the machine was as it began, where that is
        known."""
        text = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(os.path.getmtime(self.path(name))))
        known = []
        if os.path.exists(self.path(name + ".revision")):
            with open(self.path(name + ".revision"), encoding="utf-8") as file:
                known.append("mien " + file.read().strip())
        if name.endswith(".json"):
            section = re.fullmatch("peers-(.*).json", name)
            rows = self.peers(section[1]) if section else self.benchmark(name).values()
            with open(self.path(name), encoding="utf-8") as file:
                report = json.load(file)
            known.append("turns: %d" % min((row["turns"] for row in rows), default=0))
            if load := report.get("context", {}).get("load_avg"):
                known.append("load %.1f" % load[0])
            if report.get("failed"):
                known.append("**not to its end**")
            if errors := sorted({entry["error_message"] for entry in report.get("benchmarks", ())
                                 if entry.get("error_message")}):
                known.append("left out: " + "; ".join(errors))
        return "%s (%s)" % (text, ", ".join(known)) if known else text

    def benchmark(self, name):
        """Rows of a Google Benchmark report that were measured in turns, by name."""
        if not os.path.exists(self.path(name)):
            return {}
        with open(self.path(name), encoding="utf-8") as file:
            report = json.load(file)
        rows = {}
        for entry in report["benchmarks"]:
            if "ratio" not in entry:
                continue
            unit = next((key[5:] for key in entry if key.startswith("peer_")), None)
            row = {"name": re.sub("/iterations:.*|/min_time:[0-9.]*|/manual_time", "", entry["name"]),
                   "ratio": entry["ratio"],
                   "low": entry.get("ratio_low"), "high": entry.get("ratio_high"), "turns": entry["iterations"]}
            if unit:
                row.update(unit=unit, ours=entry[unit], theirs=entry["peer_" + unit])
                row["products"] = entry.get("products")
            else:
                row.update({key: entry[key] for key in CASCADE if key in entry})
            rows[row["name"]] = row
        return rows

    def peers(self, section):
        name = "peers-%s.json" % section
        if not os.path.exists(self.path(name)):
            return []
        with open(self.path(name), encoding="utf-8") as file:
            return json.load(file)["rows"]

    def table(self, name):
        if not os.path.exists(self.path(name)):
            return []
        with open(self.path(name), encoding="utf-8") as file:
            return [line.rstrip("\n").split("\t") for line in file if line.strip()]


class Report:
    def __init__(self, results):
        self.results = results
        self.lines = []
        self.goals = []

    def say(self, *lines):
        self.lines.extend(lines)

    def goal(self, what, goal, rows, floor=None, count=1, but=None):
        """A row of the table of goals: geometric mean and smallest of the ratios. `count`: how many there should be;
        `but`: what else is to be said where it is reached."""
        rows = list(rows)
        if not rows:
            self.goals.append("| %s | %s | not measured | | |" % (what, goal))
            return
        value, least = mean(rows), min(rows, key=lambda row: row["ratio"])
        met = "yes" if value >= goal and (floor is None or least["ratio"] >= floor) else "**no**"
        if len(rows) < count:
            met += ", of %d of %d" % (len(rows), count)
        if (turns := min(row.get("turns", TURNS) for row in rows)) < TURNS and "peak memory" not in what:
            met += ", in %d turns" % turns
        if met == "yes" and but:
            met += ", but " + but
        if max(row.get("others", 0) for row in rows) > BUSY:
            met += ", but the machine was busy"
        smallest = "%.2f (%s)" % (least["ratio"], least["name"]) if len(rows) > 1 else ""
        # What is short of the goal is not to look as if it were reached.
        shown = "%.2f" % value if value >= goal or round(value, 2) < goal else "%.3f" % value
        self.goals.append("| %s | %s | %s | %s | %s |" % (what, goal, shown, smallest, met))

    def limit(self, what, goal, value, unit):
        if value is None:
            self.goals.append("| %s | %s %s | not measured | | |" % (what, goal, unit))
        else:
            self.goals.append("| %s | %s %s | %.3g %s | | %s |" % (what, goal, unit, value, unit,
                                                                 "yes" if value <= goal else "**no**"))

    def convolutions(self, title, rows, precision, peer, goals=None, floor=None, but=None):
        """One table of all shapes in all directions."""
        found = {direction: {name.split("/", 2)[2]: row for name, row in rows.items()
                             if name.startswith(precision + "/" + direction + "/")} for direction, _ in DIRECTIONS}
        for (direction, words), goal in zip(DIRECTIONS, goals or (None,) * 3):
            if goal:
                self.goal("convolution %s %s, %s" % (title, peer, words), goal,
                          [dict(row, name=name) for name, row in found[direction].items()], floor, SHAPES, but)
        if not any(found.values()):
            return
        self.say("", "### Convolution %s, %s" % (title, peer), "",
                 "| shape | " + " | ".join(words for _, words in DIRECTIONS) + " |", "|---|---|---|---|")
        for shape in found["forward"]:
            cells = []
            for direction, _ in DIRECTIONS:
                row = found[direction].get(shape)
                cells.append("%.2f (%.0f / %.0f)" % (row["ratio"], row["ours"], row["theirs"]) if row else "")
                if row and row.get("products"):
                    cells[-1] += ", %.0f %%" % (100 * row["products"])
            self.say("| %s | %s |" % (shape, " | ".join(cells)))
        means = ["%.2f" % mean(found[direction].values()) if found[direction] else "" for direction, _ in DIRECTIONS]
        self.say("| geometric mean | %s |" % " | ".join(means))
        if any(row.get("products") for row in found["forward"].values()):
            self.say("", "The percentage: the share of the pass that its multiplications alone would take with everything "
                     "in the first cache.")

    def layers(self, title, rows, precision):
        found = {name: row for name, row in rows.items() if name.startswith(precision + "/")}
        if not found:
            return
        self.say("", "### Other layers %s" % title, "", "| layer | ratio | smallest to largest | mien | oneDNN | |",
                 "|---|---|---|---|---|---|")
        for name, row in found.items():
            self.say("| %s | %.2f | %.2f to %.2f | %.3g | %.3g | %s |" % (
                name.split("/", 1)[1], row["ratio"], row["low"], row["high"], row["ours"], row["theirs"], row["unit"]))
        kinds = {}
        for name, row in found.items():
            kinds.setdefault("/".join(name.split("/")[1:3]), []).append(row)
        self.say("", "Geometric means: " + ", ".join("%s %.2f" % (kind, mean(of)) for kind, of in kinds.items()) + ".")

    def rows(self, title, rows, peer, text=None):
        if not rows:
            return
        self.say("", "### " + title, "")
        if text:
            self.say(text, "")
        self.say("| what | ratio | smallest to largest | mien | %s | | goal | other work |" % peer,
                 "|---|---|---|---|---|---|---|---|")
        for row in rows:
            scale = row["per_step"]
            self.say("| %s | %.2f | %.2f to %.2f | %s | %s | %s | %s | %.0f %% |" % (
                row["name"], row["ratio"], row["low"], row["high"], figure(row["ours"] * scale),
                figure(row["theirs"] * scale), row["unit"], row["goal"] or "", 100 * row["others"]))

    def itself(self, title, section, goal, text):
        rows = self.results.peers(section)
        for precision in ("fp32", "bf16"):
            self.goal("%s, convolutions %s" % (title, precision), goal,
                      (row for row in rows if row["name"].startswith(precision + "/")), 0.8, 3 * SHAPES)
        steps = {row["name"][5:]: row for row in rows if row["name"].startswith("step/")}
        for name in TRAINED:
            for precision in ("fp32", "bf16"):
                step = "%s/%s" % (name.split()[0], precision)
                self.goal("%s, training step %s" % (title, step), goal, [steps[step]] if step in steps else [])
        if not rows:
            return
        self.say("", "### " + title, "", text, "", "| convolution | " + " | ".join(
            precision + " " + words for precision in ("fp32", "bf16") for _, words in DIRECTIONS) + " |",
                 "|---|---|---|---|---|---|---|")
        kinds = [precision + "/" + direction for precision in ("fp32", "bf16") for direction, _ in DIRECTIONS]
        found = {kind: {row["name"][len(kind) + 1:]: row["ratio"] for row in rows if row["name"].startswith(kind + "/")}
                 for kind in kinds}
        for shape in found[kinds[0]]:
            self.say("| %s | %s |" % (shape, " | ".join(
                "%.2f" % found[kind][shape] if shape in found[kind] else "" for kind in kinds)))
        self.say("", "| training step | ratio | smallest to largest | other work |", "|---|---|---|---|")
        for name, row in steps.items():
            self.say("| %s | %.2f | %.2f to %.2f | %.0f %% |" % (
                name, row["ratio"], row["low"], row["high"], 100 * row["others"]))

    def compile(self):
        rows = self.results.table("compile.tsv")
        own = next((row for row in rows if "README" in row[1] and row[0].startswith("g++")), None)
        for column, what, goal, unit in ((2, "compile time", 3, "s"), (4, "memory while compiling", 400, "MB"),
                                         (5, "stripped size", 400, "kB")):
            self.limit("README program: " + what, goal, float(own[column]) if own else None, unit)
        if not rows:
            return
        self.say("", "### Compiling the README's first program", "",
                 "At `-O2`, the best of the repetitions; libraries of peers linked dynamically.", "",
                 "| compiler | program | s | s of the processor | MB | stripped, kB |", "|---|---|---|---|---|---|")
        for row in rows:
            size = "" if row[5] == "0" else row[5]
            self.say("| %s | %s |" % (" | ".join(row[:5]), size))
        for peer in ("dlib", "mlpack"):
            if not any(row[1].endswith("with " + peer) for row in rows):
                self.say("", "Not beside %s, whose package lib%s-dev was not to be had." % (peer, peer))

    def cascade(self):
        rows = self.results.benchmark("cascade.json")
        for name, goal in CASCADE_GOALS.items():
            self.goal("cascade, " + name, goal, [rows[name]] if name in rows else [])
        if not rows:
            return
        self.say("", "### Cascade, beside OpenCV with one thread", "",
                 "`two_threads`: mien with two threads beside mien with one. `dlib`: its detector of faces from 80 "
                 "pixels on, another method, beside mien's part of `haar_group_1.1` and `haar_large_1.1`; for "
                 "orientation.", "",
                 "| what | ratio | mien, ms | peer, ms | found |", "|---|---|---|---|---|")
        for name, row in rows.items():
            ours = row.get("mien_ms", row.get("two_ms"))
            theirs = row.get("opencv_ms", row.get("dlib_ms", row.get("one_ms")))
            found = "%.0f" % row["found"] if "found" in row else ""
            if "dlib_found" in row:
                found += ", dlib %.0f" % row["dlib_found"]
            self.say("| %s | %.2f | %.3g | %.3g | %s |" % (name, row["ratio"], ours, theirs, found))

    def build(self):
        results = self.results
        machine = dict(row[:2] for row in results.table("machine.tsv"))
        isas = machine.get("instruction sets", "").split()
        # Goals are for the instruction sets that they name; a peer that lacks bfloat16 has to convert everything.
        emulated = None if "avx512_bf16" in isas else "the peer has no instructions for bfloat16 here"
        onednn, avx2 = results.benchmark("onednn.json"), results.benchmark("onednn_avx2.json")
        eigen, eigen_native = results.benchmark("eigen.json"), results.benchmark("eigen_native.json")
        self.convolutions("fp32", onednn, "fp32", "beside oneDNN", (1.2, 1.2, 1.2) if "avx512f" in isas else None, 0.8)
        self.convolutions("bf16", onednn, "bf16", "beside oneDNN", (1.2, 1.2, 1.6), 0.8, emulated)
        self.convolutions("fp32", onednn, "fp32_free", "beside oneDNN with all operands in the layouts that it prefers, "
                          "which has Winograd's filtering for AVX-512 then")
        self.convolutions("fp32 with AVX2", avx2, "fp32", "beside oneDNN held to AVX2", (1.0, 1.0, 1.0), 0.8)
        self.layers("fp32, beside oneDNN", results.benchmark("layers.json"), "fp32")
        self.layers("bf16, beside oneDNN", results.benchmark("layers.json"), "bf16")
        self.layers("fp32 with AVX2, beside oneDNN held to AVX2", results.benchmark("layers_avx2.json"), "fp32")
        self.convolutions("fp32", eigen, "fp32", "beside Eigen's product of the same size, both at `-O2`")
        self.convolutions("fp32", eigen_native, "fp32",
                          "beside Eigen's product of the same size, both at `-O3 -march=native`")

        training = results.peers("training")
        steps = {row["name"]: row for row in training}
        for precision, goal in (("fp32", 2), ("bf16", 4)):
            for name in (name + " " + precision for name in TRAINED):
                self.goal("training step, %s, PyTorch" % name, goal, [steps[name]] if name in steps else [],
                          but=emulated if precision == "bf16" else None)
        self.rows("Training step on ready batches, beside PyTorch", training, "PyTorch",
                  "Forward, loss, backward and optimizer, two threads unless the name says otherwise, both in the same "
                  "precision (PyTorch: channels_last, autocast for bf16, fused optimizer).")
        inference = results.peers("inference")
        inferred = {row["name"]: row for row in inference}
        for name, goal in INFERRED:
            self.goal("inference, atulapra %s, ONNX Runtime fp32" % name, goal,
                      [inferred["atulapra " + name]] if "atulapra " + name in inferred else [])
        self.rows("Inference, beside ONNX Runtime in fp32", inference, "ONNX Runtime")
        for section, title, goal, what, peer, text in (
                ("epoch", "Whole epochs beside the step alone", 0.95, "whole epoch against the step", "step alone",
                 "fit() with the recipe's augmentation and averaged weights beside the step on ready batches. An epoch "
                 "has eight batches here, so that its end is in it, but for validation."),
                ("memory", "Peak memory of training", 4, "PyTorch's peak memory over mien's", "PyTorch",
                 "Of processes that do nothing else, PyTorch's as it comes from PyPI."),
                ("augmentation", "Augmentation, one core", 1, "augmentation against 10,000 images/s", "asked for",
                 None)):
            rows = results.peers(section)
            for row in rows:
                if row["goal"]:
                    self.goal("%s, %s" % (what, row["name"]), row["goal"], [row])
            if not rows:
                self.goal(what, goal, [])
            self.rows(title, rows, peer, text)
        self.itself("Two threads against one", "threads", 1.9, "Both mien, the same program.")
        self.itself("`-O2` against `-O3 -march=native`", "flags", 0.95, "Both mien, one thread.")
        self.compile()
        self.cascade()

    def text(self):
        self.build()
        head = ["# Results of the benchmarks", "",
                "Written by `bench/run.sh`; not to be edited by hand.", "",
                "Each figure is a ratio: how much faster mien is than its peer (above 1: mien is faster). Both take turns "
                "on the same machine, a short moment each, and the ratio is the median over the turns; absolute figures "
                "are medians too, and only for orientation, as shared machines drift. Convolution tables give "
                "ratio (GFLOP/s of mien / of the peer): 64 images, 3x3, padding 1 unless unpadded, one thread, input size "
                "and channels -> filters. One thread beside oneDNN or Eigen is timed by the processor time that it "
                "took; elsewhere the clock counts, and \"other work\" is the share of the machine that other programs "
                "took meanwhile: above a few percent, what is said of several threads is worth nothing.", ""]
        machine = self.results.table("machine.tsv")
        if machine:
            head += ["| machine | |", "|---|---|"] + ["| %s | %s |" % tuple(row[:2]) for row in machine] + [""]
        dates = ["%s %s" % (name, self.results.measured(name)) for name in sorted(os.listdir(self.results.folder))
                 if name.endswith(".json") or name == "compile.tsv"]
        head += ["## Goals", "", "| what | goal | reached | smallest | met |", "|---|---|---|---|---|"] + self.goals
        tail = ["", "### When each part was measured", "", "; ".join(dates) + ".", ""]
        return "\n".join(head + ["", "## Figures"] + self.lines + tail)


def main():
    folder, output = sys.argv[1:]
    text = Report(Results(folder)).text()
    with open(output + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(output + ".new", output)


if __name__ == "__main__":
    main()
