#!/usr/bin/env python3
"""Training gives bit-identical weights for 1, 2 and 3 threads, in both precisions.

    thread_counts.py FOLDER      # FOLDER: where train_fer is built
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from programs_support import Results, few, must, read_safetensors, run, synthetic, work_folder, write_csv, csv_rows

results = Results()
work = work_folder()
# 37 faces per step: no multiple of any piece in which work is handed out; the last batch is smaller.
faces = few(synthetic(work + "/drawn"), 12, 3)
write_csv(work + "/faces.csv", csv_rows(faces))


def train(model, precision, threads, *more):
    out = "%s/%s-%s-%d" % (work, model, precision, threads)
    must(run("train_fer", "--data", work + "/faces.csv", "--model", model, "--precision", precision, "--threads", threads,
             "--out", out, "--batch", 37, *more))
    checkpoint = read_safetensors(out + "/checkpoint.safetensors")[1]
    metadata, tensors = read_safetensors(out + "/model.safetensors")
    with open(out + "/history.csv") as file:
        rows = [line.split(",")[:7] for line in file]  # without seconds and images per second
    return {"checkpoint": checkpoint, "model": tensors, "self test": metadata["mien.self_test"], "history": rows}


def compare(name, a, b):
    problems = []
    for part in a:
        if a[part] == b[part]:
            continue
        if isinstance(a[part], dict):
            other = [t for t in a[part] if a[part][t] != b[part].get(t)]
            problems.append("%s: %d of %d tensors differ, first %s" % (part, len(other), len(a[part]), other[:1]))
        else:
            problems.append("%s differs: %r, %r" % (part, a[part], b[part]))
    results.check(name, problems)


for model, precision, more in (("tiny", "fp32", ["--epochs", 3]), ("tiny", "bf16", ["--epochs", 3]),
                               ("atulapra", "fp32", ["--epochs", 1]), ("iexpressionnet", "bf16", ["--epochs", 1])):
    one = train(model, precision, 1, *more)
    results.check("%s %s: something was learned" % (model, precision),
                  len(one["history"]) == more[1] + 1 and len(one["checkpoint"]) > len(one["model"]) / 2)
    for threads in (2, 3):
        compare("%s %s, %d threads" % (model, precision, threads), one, train(model, precision, threads, *more))
# Another seed must give other weights, or the comparison proves nothing.
other = "%s/other" % work
must(run("train_fer", "--data", work + "/faces.csv", "--model", "tiny", "--threads", 1, "--out", other, "--batch", 37,
         "--epochs", 3, "--seed", 2))
results.check("another seed gives other weights", read_safetensors(other + "/checkpoint.safetensors")[1] !=
              read_safetensors(work + "/tiny-fp32-1/checkpoint.safetensors")[1])
results.finish()
