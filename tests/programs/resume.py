#!/usr/bin/env python3
"""A training run that is killed (SIGKILL) at 20 random moments and resumed each time ends as one that was not.

    resume.py FOLDER [SEED]      # FOLDER: where train_fer is built; SEED: of the random moments

Compared bit for bit: the model file, every tensor of the checkpoint (parameters, optimizer state, averages), its
counters, and history.csv without what the clock says.
"""
import json
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from programs_support import BIN, Results, csv_rows, few, must, read_safetensors, run, synthetic, work_folder, write_csv

results = Results()
work = work_folder()
seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(10**6)
moments = random.Random(seed)
print("moments by seed %d" % seed, flush=True)
write_csv(work + "/faces.csv", csv_rows(few(synthetic(work + "/drawn"), 12, 4)))


def arguments(out, more):
    return ["--data", work + "/faces.csv", "--model", "tiny", "--batch", 12, "--checkpoint-every", 2, "--out", out, *more]


def state_of(out):
    """All that must be equal, the clock's part left out."""
    metadata, tensors = read_safetensors(out + "/checkpoint.safetensors")
    counters = json.loads(metadata["mien.checkpoint"])
    del counters["seconds"]
    counters["epochs"] = [epoch[:7] for epoch in counters["epochs"]]
    with open(out + "/model.safetensors", "rb") as file:
        model = file.read()
    with open(out + "/history.csv") as file:
        history = [line.split(",")[:7] for line in file]
    return {"model.safetensors": model, "checkpoint": tensors, "counters": counters, "history": history,
            "files": sorted(os.listdir(out))}


def sequence(name, out, command, seconds, kills):
    """Starts and kills until the run ends by itself or `kills` are used up; then lets it end. Returns kills left."""
    inside = 0
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.wait(moments.uniform(0, seconds / 6) if kills > 0 else 300)
        except subprocess.TimeoutExpired:
            process.kill()
        status = process.wait()
        words = process.stderr.read().decode(errors="replace")
        process.stderr.close()
        if status != -9:
            results.check("%s: ends well" % name, [] if status == 0 else ["status %s, %s" % (status, words[-500:])])
            return kills, inside
        if kills == 0:
            results.check("%s: ends in 300 s" % name, False)
            return kills, inside
        kills -= 1
        try:  # whatever stands there after a kill is whole
            inside += json.loads(read_safetensors(out + "/checkpoint.safetensors")[0]["mien.checkpoint"])["batch"] > 0
        except FileNotFoundError:
            pass


for name, more in (("SGD, average, cosine", ["--epochs", 12]),
                   ("Adam, plateau, bf16", ["--epochs", 12, "--optimizer", "adam", "--learning-rate", 0.003, "--schedule",
                                            "plateau", "--precision", "bf16", "--augment", "strong"])):
    calm = "%s/calm-%s" % (work, name.split(",")[0])
    finished = must(run("train_fer", *arguments(calm, more)))
    expected = state_of(calm)
    left, part, total_inside = 10, 0, 0
    while left:
        part += 1
        out = "%s/killed-%s-%d" % (work, name.split(",")[0], part)
        command = [str(a) for a in [os.path.join(BIN, "train_fer"), *arguments(out, more), "--resume"]]
        before = left
        left, inside = sequence("%s, part %d" % (name, part), out, command, finished.seconds, left)
        total_inside += inside
        got = state_of(out)
        results.check("%s: after %d kills" % (name, before - left), [key for key in expected if got[key] != expected[key]])
        if part == 30:
            results.check("%s: the run can be killed before it ends" % name, False)
            break
    print("%s: %d runs to the end, %d kills left a checkpoint inside an epoch" % (name, part, total_inside), flush=True)
    again = run("train_fer", *arguments(calm, more))
    results.check("%s: no second start over a checkpoint" % name, [] if again.status == 2 and "--resume" in again.err
                  else [again.words()])
results.finish()
