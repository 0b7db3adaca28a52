#!/usr/bin/env python3
"""The network that comes with mien reaches what its card says, before and after it is adapted to persons.

    shipped.py FOLDER      # FOLDER: where the programs are built

Its card is examples/models/README.md. Faces come from outside of the repository: $MIEN_FER2013 is a folder of FER2013,
$MIEN_DATA/posed_expressions one of persons. What is missing is skipped.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from programs_support import Results, must, read_safetensors, run, work_folder

results = Results()
models = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "models")
model = os.path.join(models, "mien-s.safetensors")
fer2013 = os.environ.get("MIEN_FER2013", "")
persons = os.path.join(os.environ.get("MIEN_DATA", ""), "posed_expressions")


def printed(*arguments):
    return json.loads(must(run(*arguments, "--json")).out.splitlines()[-1])


metadata, tensors = read_safetensors(model)
results.check("stored in bfloat16, with what personalization replays, in less than 4 MB",
              os.path.getsize(model) < 4e6 and {dtype for dtype, _, _ in tensors.values()} >= {"BF16"})

if os.path.isdir(fer2013):
    got = printed("evaluate_fer", "--data", fer2013, "--split", "PublicTest", "--model", model)
    ten = printed("evaluate_fer", "--data", fer2013, "--split", "PublicTest", "--model", model, "--ten-crop")
    # Instruction sets round differently: a face or two.
    for name, value, card in (("one crop", got["accuracy"], 0.6882), ("ten crops", ten["accuracy"], 0.7008),
                              ("without copies", got["clean_accuracy"], 0.6718)):
        results.check("PublicTest, %s" % name, [] if abs(value - card) < 0.0015 else ["%.4f, not %.4f" % (value, card)])
    results.check("calibration error", [] if got["ece"] < 0.04 else ["%.3f" % got["ece"]])
else:
    results.skip("accuracy on PublicTest", "set MIEN_FER2013 to the folder of FER2013")

if os.path.isdir(persons):
    work = work_folder()
    general = ["--general-data", fer2013] if os.path.isdir(fer2013) else []
    for shots, least in ((1, 0.62), (3, 0.66)):
        got = printed("personalize", "--model", model, "--faces", persons, "--boxes", persons + "/boxes.csv", "--shots", shots,
                      "--out", work + "/me.safetensors", *general)
        results.check("posed expressions, %d shots: %.4f -> %.4f" % (shots, got["before"], got["after"]),
                      got["before"] < 0.55 and got["after"] >= least)
        size = max(os.path.getsize(os.path.join(work, name)) for name in os.listdir(work))
        results.check("%d shots: a delta of at most 16 kB" % shots, [] if size <= 16384 else ["%d bytes" % size])
        if general:
            lost = got["general_before"] - got["general_after"]
            results.check("%d shots: at most 1.2 points lost on PublicTest" % shots,
                          [] if lost <= 0.012 else ["%.4f" % lost])
else:
    results.skip("adapting to persons", "MIEN_DATA/posed_expressions is no folder of persons")
results.finish()
