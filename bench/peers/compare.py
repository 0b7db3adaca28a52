#!/usr/bin/env python3
"""Whole steps of mien beside those of its peers, in turns.

    compare.py --mien build-bench/bench/step_bench [--native PROGRAM] [--python PYTHON] [--turns 15] [--seconds 1]
               [--most 300] [--output FILE.json] [SECTION...]

Two programs are alive at once and work one after the other, each for a short time, so that both meet the same machine;
what counts is the median of the ratios of neighbouring turns. Both begin anew twice in between: where a process finds its
memory makes it up to 5 % faster or slower than the same program started again. A comparison that has taken --most
seconds has no more turns: without AVX-512 PyTorch takes up to a minute for a step in bfloat16. Both answer the
requests that bench/step_bench.cpp describes. Needs nothing but Python itself; PYTHON is one that has PyTorch and ONNX
Runtime.

Sections: training, inference, memory (beside the peers); epoch, augmentation, threads, flags (mien beside itself; for
flags, --native is the same program built with -O3 -march=native). All without arguments.
"""

import argparse
import json
import math
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
TRAINED = (("atulapra", 64), ("mien-s", 128), ("mien-b", 128))
STARTS = 3
SILENT = 900


class Program:
    """A running program that answers a line for a line."""

    def __init__(self, *command):
        self.command = command
        self.process = None

    def __enter__(self):
        # OpenMP and others would take their number of threads from what was set for somebody else.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_", "KMP_"))}
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()

    def ask(self, request):
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            # Without AVX-512 PyTorch takes up to a minute for a step in bfloat16, and a turn has two at least.
            if not select.select([self.process.stdout], [], [], SILENT)[0]:
                raise RuntimeError("%s, asked for '%s': silent for %d s" % (self.command, request, SILENT))
            reply = self.process.stdout.readline().strip()
        except BrokenPipeError:
            reply = ""
        if not reply or reply.startswith("error"):
            raise RuntimeError("%s, asked for '%s': %s" % (self.command, request, reply or "ended"))
        return reply

    def processor_seconds(self):
        """Of all its threads, so far."""
        with open("/proc/%d/stat" % self.process.pid, encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, seconds):
        """Steps a second."""
        steps, spent = self.ask("run %g" % seconds).split()
        return int(steps) / float(spent)


class Bystanders:
    """How much of the machine's processors other programs than the two compared have taken since construction. Threads
    that wait for each other in a loop, as OpenMP's do, come to a crawl when one of them is not running: beside other
    work, a ratio says nothing about a peer with more than one thread."""

    def __init__(self, *programs):
        self.programs = programs
        self.start = self.sample()

    def sample(self):
        with open("/proc/stat", encoding="utf-8") as file:
            # user nice system idle iowait irq softirq steal
            numbers = [int(word) for word in file.readline().split()[1:9]]
        total, idle = sum(numbers), numbers[3] + numbers[4]
        return total, total - idle, sum(program.processor_seconds() for program in self.programs)

    def share(self):
        total, busy, own = (now - then for now, then in zip(self.sample(), self.start))
        return max(0.0, (busy - own * os.sysconf("SC_CLK_TCK")) / total) if total else 0.0


class Comparison:
    def __init__(self, options):
        self.options = options
        self.rows = []

    def add(self, row):
        self.rows.append(row)
        scale = row["per_step"]
        print("%-13s %-34s %7.3f [%.3f %.3f]  goal %-5s %10.1f %10.1f %s%s" % (
            row["section"], row["name"], row["ratio"], row["low"], row["high"], row["goal"] or "-",
            row["ours"] * scale, row["theirs"] * scale, row["unit"],
            "  (other work: %.0f %%)" % (100 * row["others"]) if row["others"] > 0.02 else ""), flush=True)

    def turns(self, section, name, goal, ours, theirs, unit="images/s", per_step=1, seconds=None):
        """Adds the row of two programs, each given as a pair of a program and what it is asked to do."""
        seconds = seconds or self.options.seconds
        ratios, mine, other, busy = [], [], [], []
        starts = min(STARTS, self.options.turns)
        begin = time.monotonic()

        def late():
            return ratios and time.monotonic() - begin > self.options.most

        for start in range(starts):
            if late():
                break
            with ours[0], theirs[0]:
                for program, request in (ours, theirs):
                    program.ask(request)
                    program.run(0)
                bystanders = Bystanders(ours[0], theirs[0])
                for turn in range(start, self.options.turns, starts):
                    if late():
                        break
                    pair = [(ours[0], mine), (theirs[0], other)]
                    for program, speeds in pair if turn % 2 == 0 else reversed(pair):
                        speeds.append(program.run(seconds))
                        # Threads of the one that has just worked may spin for a moment, waiting for more.
                        time.sleep(0.02)
                    ratios.append(mine[-1] / other[-1])
                busy.append(bystanders.share())
        self.add({"section": section, "name": name, "goal": goal, "ratio": statistics.median(ratios),
                  "low": min(ratios), "high": max(ratios), "ours": statistics.median(mine),
                  "theirs": statistics.median(other), "unit": unit, "per_step": per_step, "turns": len(ratios),
                  "others": statistics.fmean(busy)})

    def mien(self):
        return Program(self.options.mien)

    def peer(self, script, *arguments):
        return Program(self.options.python, os.path.join(FOLDER, script), *arguments)

    def training(self):
        """mien's step beside PyTorch's, each in its own precision."""
        ours, theirs = self.mien(), self.peer("pytorch.py")
        for precision, goal in (("fp32", 2), ("bf16", 4)):
            for name, batch in TRAINED:
                request = "train %s %d %s %d" % (name, batch, precision, self.options.threads)
                self.turns("training", "%s batch %d %s" % (name, batch, precision), goal, (ours, request),
                           (theirs, request), per_step=batch)

    def inference(self):
        """mien beside ONNX Runtime, which computes in fp32."""
        seconds = self.options.seconds / 2
        with tempfile.TemporaryDirectory() as models:
            for name in ("atulapra", "mien-s"):
                subprocess.run([self.options.python, os.path.join(FOLDER, "pytorch.py"), "--export", name,
                                os.path.join(models, name + ".onnx")], check=True, stdout=subprocess.DEVNULL)
            ours, theirs = self.mien(), self.peer("onnx_runtime.py", models)
            for name, goals in (("atulapra", True), ("mien-s", False)):
                for precision, batch, goal in (("fp32", 1, 1.3), ("fp32", 64, 1.2), ("bf16", 1, 3),
                                               ("bf16", 64, None)):
                    for threads in sorted({1, self.options.threads}):
                        self.turns("inference", "%s batch %d %s threads %d" % (name, batch, precision, threads),
                                   goal if goals else None,
                                   (ours, "infer %s %d %s %d" % (name, batch, precision, threads)),
                                   (theirs, "infer %s %d fp32 %d" % (name, batch, threads)),
                                   per_step=batch, seconds=seconds)

    def memory(self):
        """The largest that a process becomes which trains mien-s: PyTorch's size over mien's."""
        threads = self.options.threads
        for precision in ("fp32", "bf16"):
            ours, theirs = [], []
            for _ in range(STARTS):
                for program, kilobytes in ((self.mien(), ours), (self.peer("pytorch.py"), theirs)):
                    with program:
                        program.ask("train mien-s 128 %s %d" % (precision, threads))
                        program.run(self.options.seconds)
                        kilobytes.append(int(program.ask("memory")))
            ratios = [b / a for a, b in zip(ours, theirs)]
            self.add({"section": "memory", "name": "mien-s batch 128 " + precision, "goal": 4,
                      "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios),
                      "ours": statistics.median(ours), "theirs": statistics.median(theirs), "unit": "MB",
                      "per_step": 1 / 1024, "turns": len(ratios), "others": 0})

    def epoch(self):
        """fit() with the recipe's augmentation beside the step alone."""
        for name, batch in TRAINED[1:]:
            for precision in ("fp32", "bf16"):
                case = "%s %d %s %d" % (name, batch, precision, self.options.threads)
                # A turn of fit() begins with batches that do not count.
                self.turns("epoch", "%s batch %d %s" % (name, batch, precision), 0.95, (self.mien(), "epoch " + case),
                           (self.mien(), "train " + case), per_step=batch, seconds=2 * self.options.seconds)

    def augmentation(self):
        """Images a second that one core augments; the goal is no ratio."""
        with self.mien() as ours:
            for name in ("strong", "light"):
                ours.ask("augment " + name)
                bystanders = Bystanders(ours)
                rates = [ours.run(self.options.seconds / 4) for _ in range(self.options.turns)]
                goal = 10000
                self.add({"section": "augmentation", "name": name, "goal": 1 if name == "strong" else None,
                          "ratio": statistics.median(rates) / goal, "low": min(rates) / goal,
                          "high": max(rates) / goal, "ours": statistics.median(rates), "theirs": goal,
                          "unit": "images/s", "per_step": 1, "turns": len(rates),
                          "others": bystanders.share()})

    def itself(self, section, goal, ours, theirs, our_threads, their_threads):
        """Convolutions and steps of two programs of mien."""
        with self.mien() as program:
            cases = [case.split() for case in program.ask("cases").split(",")]
        for precision in ("fp32", "bf16"):
            for direction in ("forward", "backward_data", "backward_weights"):
                for size, channels, filters, padding in cases:
                    request = "conv %s %s %s %s %s %s %%d" % (direction, size, channels, filters, padding, precision)
                    name = "%s/%s/%sx%s/%s->%s%s" % (precision, direction, size, size, channels, filters,
                                                     "" if int(padding) else "/unpadded")
                    self.turns(section, name, goal, (ours, request % our_threads), (theirs, request % their_threads),
                               per_step=64, seconds=self.options.seconds / 25)
        for name, batch in TRAINED:
            for precision in ("fp32", "bf16"):
                request = "train %s %d %s %%d" % (name, batch, precision)
                self.turns(section, "step/%s/%s" % (name, precision), goal, (ours, request % our_threads),
                           (theirs, request % their_threads), per_step=batch)

    def threads(self):
        """Two threads beside one."""
        self.itself("threads", 1.9, self.mien(), self.mien(), 2, 1)

    def flags(self):
        """Plain -O2 beside -O3 -march=native, one thread."""
        if not self.options.native:
            print("flags: left out, as there is no --native program", flush=True)
            return
        self.itself("flags", 0.95, self.mien(), Program(self.options.native), 1, 1)


SECTIONS = ("training", "inference", "memory", "epoch", "augmentation", "threads", "flags")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mien", required=True, help="step_bench")
    parser.add_argument("--native", help="step_bench built with -O3 -march=native")
    parser.add_argument("--python", default=sys.executable, help="a Python that has the peers")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn of training; others in proportion")
    parser.add_argument("--most", type=float, default=300, help="seconds of a comparison, after which it ends early")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", help="where to write all rows as JSON")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=" ".join(SECTIONS))
    options = parser.parse_args()
    if options.turns < 1 or not options.seconds > 0:
        parser.error("turns and seconds must be positive")
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error("no section is called " + " ".join(sorted(unknown)))
    comparison = Comparison(options)
    failed = []
    for section in options.sections or SECTIONS:
        try:
            getattr(comparison, section)()
        except (RuntimeError, ValueError, OSError, subprocess.CalledProcessError) as error:
            # The other sections still have something to say.
            print("%s: %s" % (section, error), file=sys.stderr, flush=True)
            failed.append(section)
        rows = [row for row in comparison.rows if row["section"] == section and row["goal"]]
        if len(rows) > 1:
            mean = math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))
            print("%-13s geometric mean %.3f" % (section, mean), flush=True)
        if options.output and comparison.rows:
            with open(options.output, "w", encoding="utf-8") as file:
                json.dump({"rows": comparison.rows, "failed": failed}, file, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
