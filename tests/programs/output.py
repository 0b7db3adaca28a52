#!/usr/bin/env python3
"""What the programs print and write, along the whole way: train, evaluate, personalize, evaluate with the delta.

    output.py FOLDER      # FOLDER: where the programs are built

On drawn faces of 150 persons, and five other persons whose faces at rest mislead a general network.
"""
import glob
import os
import re
import shutil
import struct
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from programs_support import (CLASSES, SIDE, Results, csv_rows, few, must, read_safetensors, run, synthetic, work_folder,
                              write_csv, write_folder)

results = Results()
work = work_folder()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def printed(name, *arguments):
    """Runs a program with --json; its object, after checking what stands on which stream."""
    finished = must(run(*arguments, "--json"))
    lines = finished.out.splitlines()
    results.check(name + ": one JSON object is all of standard output", len(lines) == 1 and lines[0].startswith("{"))
    results.check(name + ": people get their part on standard error", len(finished.err.splitlines()) > 5)
    return finished.json()


def png(pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + pixels[SIDE * y:SIDE * (y + 1)] for y in range(SIDE))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def help_texts():
    for program, options in (
            ("train_fer", "data model epochs batch optimizer learning-rate schedule precision augment mixup teacher "
                          "teacher-weight out resume ten-crop max-bad"),
            ("evaluate_fer", "data split model ten-crop personal"),
            ("personalize", "model faces out boxes shots head general-data personal")):
        finished = run(program, "--help")
        missing = [o for o in (options + " threads seed json help").split() if "--" + o not in finished.out]
        results.check(program + " --help", ["status %s" % finished.status] * (finished.status != 0) + missing +
                      ["on standard error: " + finished.err] * bool(finished.err))
        finished = run(program, "--wrong")
        results.check(program + " --wrong", finished.status == 2 and not finished.out and "--help" in finished.err)


def check_figures(name, figures, validation):
    """The evaluation's own figures agree with one another, and with the data."""
    keys = {"accuracy", "macro_f1", "count", "clean_accuracy", "clean_count", "confusion", "classes", "ece"}
    results.check(name + ": keys", ["no " + key for key in sorted(keys - set(figures))])
    confusion, count = figures["confusion"], figures["count"]
    supports = [sum(1 for face in validation if face[0] == k) for k in range(7)]
    diagonal = [confusion[k][k] for k in range(7)]
    columns = [sum(row[k] for row in confusion) for k in range(7)]
    f1 = [2 * d / (s + c) if s + c else 0 for d, s, c in zip(diagonal, supports, columns)]
    problems = []
    if [sum(row) for row in confusion] != supports or count != len(validation):
        problems.append("rows of the confusion matrix are not the classes' sizes")
    if abs(figures["accuracy"] - sum(diagonal) / count) > 1e-9:
        problems.append("accuracy")
    if abs(figures["macro_f1"] - sum(f1) / 7) > 1e-9:
        problems.append("macro F1 is %r, by the confusion matrix %r" % (figures["macro_f1"], sum(f1) / 7))
    for k, row in enumerate(figures["classes"]):
        if row["name"] != CLASSES[k] or row["support"] != supports[k] or abs(row["f1"] - f1[k]) > 1e-9 or \
                abs(row["recall"] - diagonal[k] / supports[k]) > 1e-9:
            problems.append("class %r" % row)
    if not 0 <= figures["ece"] <= 1:
        problems.append("calibration error %r" % figures["ece"])
    results.check(name + ": figures agree", problems)


help_texts()

# Train ---------------------------------------------------------------------------------------------------------------
faces = synthetic(work + "/drawn", 150)
data, persons = work + "/drawn/fer", work + "/drawn/persons"
out = work + "/trained"
model = out + "/model.safetensors"
trained = printed("train_fer", "train_fer", "--data", data, "--model", "tiny", "--epochs", 8, "--batch", 32,
                  "--out", out, "--ten-crop")
keys = {"model", "report", "synthetic", "epochs", "epoch", "best_epoch", "accuracy", "macro_f1", "count",
        "clean_accuracy", "clean_count", "ece", "ten_crop_accuracy"}
results.check("train_fer: keys", ["no " + key for key in sorted(keys - set(trained))])
results.check("train_fer: learns", [] if trained["accuracy"] > 0.5 else ["accuracy %r" % trained["accuracy"]])
results.check("train_fer: files", sorted(os.listdir(out)) == ["checkpoint.safetensors", "history.csv", "model.safetensors",
                                                              "report.html", "trained.safetensors"])
rows = read(out + "/history.csv").decode().splitlines()
results.check("train_fer: history", len(rows) == 9 and rows[0].startswith("epoch,train_loss,") and
              all(len(row.split(",")) == len(rows[0].split(",")) for row in rows))
accuracies = [float(row.split(",")[4]) for row in rows[1:]]
results.check("train_fer: the model is the last epoch's", abs(accuracies[-1] - trained["accuracy"]) < 1e-9 and
              trained["epoch"] == 8 and accuracies.index(max(accuracies)) == trained["best_epoch"] - 1)
page = read(out + "/report.html").decode()
results.check("train_fer: the report needs nothing from elsewhere",
              re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:|#)[^"'\s>]+|@import|url\((?!["']?data:)""", page))
results.check("train_fer: the report has curves, tables and faces",
              [word for word in ("<svg", "taken for", "precision", "data:image/png", "tiny") if word not in page and
               word.capitalize() not in page])
drawn_out = work + "/without_data"
drawn = printed("train_fer without data", "train_fer", "--persons", 12, "--epochs", 1, "--batch", 14, "--out", drawn_out)
results.check("train_fer without data: said to be synthetic", [where for where, text in (
    ("json", "synthetic" if drawn["synthetic"] is True else ""), ("report", read(drawn_out + "/report.html").decode()),
    ("model", str(read_safetensors(drawn_out + "/model.safetensors")[0]))) if "synthetic" not in text.lower()])

# At this rate all is lost in the first epoch: later ones are no better, so the last is not the best.
published_model = work + "/published/model.safetensors"
published = printed("train_fer as published", "train_fer", "--data", data, "--model", "atulapra", "--epochs", 2, "--batch", 32,
                    "--learning-rate", 3e-3, "--out", work + "/published")
epochs = [row.split(",") for row in read(work + "/published/history.csv").decode().splitlines()[1:]]
best = max(range(2), key=lambda i: float(epochs[i][4]))
loss = printed("evaluate_fer as published", "evaluate_fer", "--data", data, "--model", published_model)["loss"]
results.check("train_fer as published: the model is the best epoch's",
              published["epoch"] == published["best_epoch"] == best + 1 and abs(loss - float(epochs[best][3])) < 1e-7)

# Evaluate ------------------------------------------------------------------------------------------------------------
validation = [face for face in faces if face[1] == "PublicTest"]
evaluate = ["evaluate_fer", "--data", data, "--model", model]
figures = printed("evaluate_fer", *evaluate)
check_figures("evaluate_fer", figures, validation)
results.check("evaluate_fer: the last epoch's loss", abs(figures["loss"] - float(rows[-1].split(",")[3])) < 1e-7)
results.check("evaluate_fer: as train_fer found", all(figures[key] == trained[key] for key in
                                                      ("accuracy", "macro_f1", "count", "clean_accuracy", "ece")))
ten = printed("evaluate_fer --ten-crop", *evaluate, "--ten-crop")
check_figures("evaluate_fer --ten-crop", ten, validation)
results.check("evaluate_fer --ten-crop: as train_fer found", ten["accuracy"] == trained["ten_crop_accuracy"])
check_figures("evaluate_fer --split Training", printed("evaluate_fer", *evaluate, "--split", "Training"),
              [face for face in faces if face[1] == "Training"])
results.check("evaluate_fer: threads change nothing", all(
    must(run(*evaluate, "--threads", n, "--json")).json() == figures for n in (1, 3)))

# The same pictures in other dress, three of them in both parts.
some = few(faces, 6, 5)
some += [(label, "PublicTest", pixels) for label, split, pixels in some if split == "Training"][:3]
write_folder(some, work + "/folder")
for i, (label, split, pixels) in enumerate(some):
    where = "%s/pngs/%s" % (work, CLASSES[label])
    os.makedirs(where, exist_ok=True)
    with open("%s/%s_%d.png" % (where, split, 7 * i), "wb") as file:
        file.write(png(pixels))
write_csv(work + "/fer2013.csv", csv_rows(some))
write_csv(work + "/icml_face_data.csv", csv_rows(some[::-1], ("emotion", " Usage", " pixels")))
forms = [must(run("evaluate_fer", "--data", work + "/" + form, "--model", model, "--json")).json()
         for form in ("folder", "pngs", "fer2013.csv", "icml_face_data.csv")]
check_figures("evaluate_fer on a small set", forms[0], [face for face in some if face[1] == "PublicTest"])
results.check("copies of training pictures are left out", forms[0]["count"] == 38 and forms[0]["clean_count"] == 35)
results.check("folder, PNG and both CSV forms give the same figures", all(form == forms[0] for form in forms))
weights = []
for i, form in enumerate(("folder", "pngs", "fer2013.csv", "icml_face_data.csv")):
    must(run("train_fer", "--data", work + "/" + form, "--model", "tiny", "--batch", 14, "--epochs", 2, "--out",
             "%s/form%d" % (work, i)))
    weights.append(read("%s/form%d/model.safetensors" % (work, i)))
results.check("folder, PNG and both CSV forms give the same weights", all(w == weights[0] for w in weights))

# A run that is over is resumed: the files are made again of the weights as they were trained.
once, again = work + "/once", work + "/again"


def train(out, *more):
    must(run("train_fer", "--data", work + "/folder", "--model", "tiny", "--batch", 14, "--epochs", 2, "--out", out, *more))
    return read(out + "/model.safetensors")


finished = train(again, "--storage", "bf16")
results.check("resumed when it was over: the same model", train(again, "--resume", "--storage", "bf16") == finished)
results.check("resumed when it was over, other storage: the model of a run with that storage",
              train(again, "--resume", "--storage", "fp32") == train(once, "--storage", "fp32"))

# Personalize ---------------------------------------------------------------------------------------------------------
for head, margin, limit in (("linear", 0.05, 16000), ("full", 0, 16000)):
    name = "personalize --head " + head
    delta = work + "/" + head + ".safetensors"
    command = ["personalize", "--model", model, "--faces", persons, "--out", delta, "--head", head]
    base = read(model)
    adapted = printed(name, *command, "--general-data", data)
    keys = {"before", "after", "general_before", "general_after", "seconds", "delta_bytes", "persons"}
    results.check(name + ": keys", ["no " + key for key in sorted(keys - set(adapted))])
    print("%s: %.3f -> %.3f, general %.3f -> %.3f, %.3f s, %d bytes" % (
        name, adapted["before"], adapted["after"], adapted["general_before"], adapted["general_after"],
        adapted["seconds"], adapted["delta_bytes"]), flush=True)
    results.check(name + ": better on held-out takes",
                  [] if adapted["after"] > adapted["before"] + margin else ["%r" % adapted])
    results.check(name + ": the general figure is the model's own",
                  abs(adapted["general_before"] - figures["accuracy"]) < 0.1)
    results.check(name + ": small", 0 < adapted["delta_bytes"] <= limit)
    results.check(name + ": the base is untouched", read(model) == base)
    people = sorted(os.listdir(persons))
    files = ["%s/%s-%s.safetensors" % (work, head, person) for person in people]
    results.check(name + ": a delta for each person", [person["name"] for person in adapted["persons"]] == people and
                  all(os.path.getsize(f) == p["delta_bytes"] for f, p in zip(files, adapted["persons"])))
    # Six takes per class: two are held out, four to adapt on.
    results.check(name + ": takes are split", all(p["held_out"] == 14 and p["adapted_on"] == 28 for p in adapted["persons"]))
    bytes_before = [read(f) for f in files]
    must(run(*command, "--threads", 1))
    results.check(name + ": deterministic", [read(f) for f in files] == bytes_before)
    alone = printed(name + ", one person", "personalize", "--model", model, "--faces", persons + "/" + people[1], "--out",
                    delta, "--head", head)
    results.check(name + ": alone as among others", alone["after"] == adapted["persons"][1]["after"] and
                  len(alone["persons"]) == 1 and alone["general_before"] is None)
    with_delta = printed("evaluate_fer --personal", *evaluate, "--personal", delta)
    check_figures("evaluate_fer --personal", with_delta, validation)
    results.check(name + ": the delta changes the answers", with_delta["confusion"] != figures["confusion"])
    results.check(name + ": the general skill is kept", [] if head == "full" or
                  adapted["general_after"] > adapted["general_before"] - 0.1 else ["%r" % adapted["general_after"]])
    # Going on from one's own delta.
    again = printed(name + " --personal", "personalize", "--model", model, "--personal", delta, "--faces",
                    persons + "/" + people[1], "--out", work + "/again.safetensors", "--head", head, "--shots", 1)
    results.check(name + ": shots", again["persons"][0]["adapted_on"] == 7)

# What is left out is said: pictures of one take, of other kinds, and in folders that are no expression.
left_out = work + "/left_out"
for label, names in (("happy", ["photo-%d.pgm" % i for i in range(5)]), ("sad", ["a.pgm", "b.pgm", "c.HEIC"]),
                     ("angery", ["d.pgm"])):
    os.makedirs(left_out + "/" + label)
    for name in names:
        shutil.copy(glob.glob(persons + "/" + people[0] + "/happy/*")[0], "%s/%s/%s" % (left_out, label, name))
said = must(run("personalize", "--model", model, "--faces", left_out, "--out", work + "/left_out.safetensors")).err
results.check("personalize: what is left out is said", ["no '%s' in %r" % (part, said) for part in (
    "the 5 pictures like '" + left_out + "/happy/photo-0.pgm' are one take", "1 files like '" + left_out + "/sad/c.HEIC'",
    "1 pictures like '" + left_out + "/angery/d.pgm' are left out") if part not in said])
# Folders between are all part of the person.
for group in ("a", "b"):
    shutil.copytree(persons + "/" + people[0], work + "/groups/%s/x" % group)
grouped = must(run("personalize", "--model", model, "--faces", work + "/groups", "--out", work + "/g.safetensors", "--json"))
results.check("personalize: persons of the same name in two folders",
              [p["name"] for p in grouped.json()["persons"]] == ["a-x", "b-x"])

# A person's name in another encoding is a name all the same.
named = work.encode() + b"/named/J\xfcrgen"
shutil.copytree(os.path.join(persons, people[0]).encode(), named)
shutil.copytree(os.path.join(persons, people[1]), work + "/named/zoe")
must(run("personalize", "--model", model, "--faces", work + "/named", "--out", work + "/named.safetensors"))
results.check("personalize: a person's name that is not UTF-8", sorted(
    name for name in os.listdir(work.encode()) if name.startswith(b"named-")) == [
        b"named-J\xfcrgen.safetensors", b"named-zoe.safetensors"])

# A delta of the whole head is not gone on from with the last layer alone, which would lose the rest.
full = work + "/full.safetensors"
must(run("personalize", "--model", published_model, "--faces", persons + "/" + people[0], "--out", full, "--head", "full"))
linear = run("personalize", "--model", published_model, "--personal", full, "--faces", persons + "/" + people[0], "--out",
             work + "/lost.safetensors")
results.check("personalize: a delta of the whole head, and then the last layer", linear.status == 2 and
              "--head full" in linear.err and not os.path.exists(work + "/lost.safetensors"))
must(run("personalize", "--model", published_model, "--personal", full, "--faces", persons + "/" + people[0], "--out",
         work + "/more.safetensors", "--head", "full"))

# A picture of the adapted set can never be of a held-out take: takes of several pictures stay together.
takes = work + "/takes"
source = persons + "/" + people[0]
for label in ("happy", "sad"):
    os.makedirs("%s/%s" % (takes, label))
    for take, picture in enumerate(sorted(os.listdir(source + "/" + label))[:4]):
        for n in range(3):
            shutil.copy("%s/%s/%s" % (source, label, picture), "%s/%s/t%d-%d.pgm" % (takes, label, take, n))
split = must(run("personalize", "--model", model, "--faces", takes, "--out", work + "/takes.safetensors", "--json")).json()
results.check("takes stay together", split["persons"][0]["held_out"] == 12 and split["persons"][0]["adapted_on"] == 12)
results.finish()
