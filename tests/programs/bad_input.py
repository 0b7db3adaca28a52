#!/usr/bin/env python3
"""Bad input meets one clear error and exit status 2, and nothing that was saved is lost.

    bad_input.py FOLDER      # FOLDER: where the programs are built

Every case says which words the error must have: what is wrong and where. An error is one line that begins with the
program's name; indented lines may list the items. Warnings and progress may stand before it.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from programs_support import (BIN, CLASSES, Results, csv_rows, few, must, pgm, read_safetensors, run, synthetic,
                              work_folder, write_csv, write_folder, write_safetensors)

results = Results()
work = work_folder()
SECONDS = 10


def problems_of(finished, *words, seconds=SECONDS):
    """What is wrong with how a program met bad input."""
    problems = []
    if finished.status != 2:
        problems.append("status is not 2")
    lines = finished.err.splitlines()
    errors = [i for i, line in enumerate(lines) if line.startswith(finished.command[0] + ": ")]
    if len(errors) != 1:
        problems.append("%d error lines" % len(errors))
    else:
        if any(not line.startswith("  ") for line in lines[errors[0] + 1:]):
            problems.append("more than a list behind the error")
        if len(lines) - errors[0] > 23:
            problems.append("too long a list")
        text = "\n".join(lines[errors[0]:])
        if len(lines[errors[0]]) > 600:
            problems.append("too long a line")
        problems += ["does not say '%s'" % word for word in words if str(word) not in text]
    if finished.out:
        problems.append("standard output: %r" % finished.out[:200])
    if finished.processor > seconds * load_factor:
        problems.append("took %.0f s of the processor" % finished.processor)
    if problems:
        problems.append(finished.words())
    return problems


def bad(name, program, *arguments, words=(), **options):
    return results.check("%s: %s" % (program, name), problems_of(run(program, *arguments, **options), *words))


def good(name, program, *arguments, **options):
    finished = run(program, *arguments, **options)
    results.check("%s: %s" % (program, name), [] if finished.status == 0 else [finished.words()])
    return finished


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


# What is good ---------------------------------------------------------------------------------------------------------
drawn = synthetic(work + "/drawn")
faces = few(drawn, 2, 2)
good_csv, good_folder, persons = work + "/good.csv", work + "/good", work + "/drawn/persons"
person = persons + "/" + sorted(os.listdir(persons))[0]
write_csv(good_csv, csv_rows(faces))
write_folder(faces, good_folder)
small = ["--model", "tiny", "--batch", 7, "--epochs", 1, "--threads", 1]
trained = must(run("train_fer", "--data", good_csv, *small, "--out", work + "/trained"))
# A slow machine or build stretches all times alike.
load_factor = max(1.0, trained.processor / 2)
model = work + "/trained/model.safetensors"
must(run("train_fer", "--data", good_csv, *small, "--out", work + "/other", "--seed", 2))
other_model = work + "/other/model.safetensors"
delta = work + "/delta.safetensors"
must(run("personalize", "--model", model, "--faces", person, "--out", delta))
counter = 0


def fresh(name="out"):
    global counter
    counter += 1
    return "%s/%s%d" % (work, name, counter)


def train_with(data, *more):
    return ["--data", data, *small, "--out", fresh(), *more]


def evaluate_with(data, *more):
    return ["--data", data, "--model", model, *more]


def adapt_with(folder, *more):
    return ["--model", model, "--faces", folder, "--out", fresh() + ".safetensors", *more]


def bad_data(name, data, *words):
    """All programs that read such data."""
    bad(name, "train_fer", *train_with(data), words=words)
    bad(name, "evaluate_fer", *evaluate_with(data), words=words)
    bad(name + " as --general-data", "personalize", *adapt_with(person, "--general-data", data), words=words)


def option_cases():
    for program, required in (("train_fer", []), ("evaluate_fer", ["--data", good_csv, "--model", model]),
                              ("personalize", ["--model", model, "--faces", person, "--out", fresh()])):
        for wrong in (["--threads", "-1"], ["--threads", "many"], ["--seed", "x"], ["--no-such-option"], ["stray"],
                      ["--threads"], ["--threads", "99999"], ["--max-bad", "-1"]):
            bad(" ".join(wrong), program, *required, *wrong, words=[wrong[0].strip("-") if wrong != ["stray"] else "stray"])
    for wrong in (["--epochs", "0"], ["--epochs", "-3"], ["--epochs", "1.5"], ["--batch", "0"], ["--batch", "99999999"],
                  ["--learning-rate", "0"], ["--learning-rate", "-1"], ["--learning-rate", "nan"],
                  ["--mixup", "-1"], ["--mixup", "nan"], ["--teacher", ""], ["--teacher-weight", "1.5"],
                  ["--teacher-weight", "nan"],
                  ["--learning-rate", "inf"], ["--learning-rate", "1e300"], ["--learning-rate", "x"], ["--model", "vgg99"],
                  ["--optimizer", "lion"], ["--precision", "fp16"], ["--augment", "wild"], ["--schedule", "sometimes"],
                  ["--schedule", "step:0,2"], ["--schedule", "cosine:warmup=-1"], ["--checkpoint-every", "-1"],
                  ["--persons", "0"], ["--seed", "-1"], ["--seed", "18446744073709551616"], ["--seed", "1e3"]):
        bad(" ".join(wrong), "train_fer", "--data", good_csv, "--out", fresh(), "--model", "tiny", *wrong,
            words=["schedule" if wrong[0] == "--schedule" else wrong[0]])
    bad("--teacher nowhere", "train_fer", "--data", good_csv, "--out", fresh(), "--model", "tiny", "--teacher",
        "nowhere.safetensors", words=["nowhere.safetensors", "no such file"])
    bad("--teacher of other data", "train_fer", "--persons", 8, "--out", fresh(), "--teacher", model,
        words=["cannot be a teacher", "deviation", "same data"])
    bad("a batch larger than the data", "train_fer", "--data", good_csv, "--model", "tiny", "--batch", 64, "--out", fresh(),
        words=["64", "14"])
    bad("--data ''", "train_fer", "--data", "", "--out", fresh(), "--epochs", 1, words=["--data"])
    bad("--out ''", "train_fer", "--data", good_csv, *small, "--out", "", words=["--out"])
    bad("--export-synthetic ''", "train_fer", "--export-synthetic", "", "--out", fresh(), words=["--export-synthetic"])
    bad("--export-synthetic into an export", "train_fer", "--export-synthetic", work + "/drawn", "--out", fresh(),
        words=[work + "/drawn/fer", "already there"])
    bad("--data ''", "evaluate_fer", "--data", "", "--model", model, words=["--data"])
    bad("--personal ''", "evaluate_fer", *evaluate_with(good_csv, "--personal", ""), words=["--personal"])
    for option in ("--personal", "--boxes", "--general-data"):
        bad(option + " ''", "personalize", *adapt_with(person, option, ""), words=[option])
    bad("--split Test", "evaluate_fer", *evaluate_with(good_csv, "--split", "Test"), words=["--split", "PublicTest"])
    bad("no --model", "evaluate_fer", "--data", good_csv, words=["--model"])
    bad("no --data", "evaluate_fer", "--model", model, words=["--data"])
    for wrong in (["--shots", "-1"], ["--head", "none"], ["--keep", "-1"], ["--keep", "nan"]):
        bad(" ".join(wrong), "personalize", *adapt_with(person, *wrong), words=[wrong[0]])
    bad("--keep with the full head", "personalize", *adapt_with(person, "--head", "full", "--keep", "2"), words=["--keep"])
    bad("--max-bad without data", "personalize", *adapt_with(person, "--max-bad", "2"), words=["--general-data"])
    bad("--teacher-weight without a teacher", "train_fer", "--data", good_csv, *small, "--out", fresh(), "--teacher-weight",
        "0.5", words=["--teacher"])
    bad("--persons with data", "train_fer", "--data", good_csv, *small, "--out", fresh(), "--persons", "5",
        words=["--persons"])
    bad("--schedule ''", "train_fer", "--data", good_csv, *small, "--out", fresh(), "--schedule", "", words=["--schedule"])
    # A seed with a zero in front is what it looks like: no octal number.
    seeds = [fresh(), fresh()]
    for seed, out in zip(("10", "010"), seeds):
        must(run("train_fer", "--data", good_csv, *small, "--out", out, "--seed", seed))
    results.check("--seed 010 is 10", read(seeds[0] + "/model.safetensors") == read(seeds[1] + "/model.safetensors"))
    bad("no --faces", "personalize", "--model", model, "--out", fresh(), words=["--faces"])
    bad("--out ''", "personalize", "--model", model, "--faces", person, "--out", "", words=["--out"])


def path_cases():
    missing, empty, nothing = work + "/no/such/place", work + "/empty", write(work + "/nothing.csv", b"")
    os.makedirs(empty)
    bad_data("missing path", missing, missing)
    bad_data("empty folder", empty, empty)
    bad_data("empty file", nothing, nothing)
    bad_data("a device", "/dev/null", "/dev/null")
    bad("missing faces", "personalize", *adapt_with(missing), words=[missing])
    bad("empty folder of faces", "personalize", *adapt_with(empty), words=[empty])
    bad("faces are a file", "personalize", *adapt_with(good_csv), words=[good_csv])
    for program, arguments in (("evaluate_fer", ["--data", good_csv]), ("personalize", ["--faces", person, "--out", fresh()])):
        bad("missing model", program, *arguments, "--model", missing, words=[missing])
        bad("a folder as model", program, *arguments, "--model", empty, words=[empty])
        bad("an empty model", program, *arguments, "--model", nothing, words=[nothing])
        bad("missing delta", program, *arguments, "--model", model, "--personal", missing, words=[missing])
    bad("--out is a file", "train_fer", "--data", good_csv, *small, "--out", good_csv, words=[good_csv])
    bad("--out below a file", "train_fer", "--data", good_csv, *small, "--out", good_csv + "/x", words=[good_csv])
    bad("--out in no folder", "personalize", "--model", model, "--faces", person, "--out", missing + "/x.safetensors",
        words=[missing])
    bad("--out is a folder", "personalize", "--model", model, "--faces", person, "--out", empty, words=[empty])
    # What is read is not written over.
    own, link = work + "/own.safetensors", work + "/link.safetensors"
    shutil.copy(model, own)
    os.symlink(own, link)
    for out in (own, link):
        bad("--out is the model", "personalize", "--model", own, "--faces", person, "--out", out, words=["--out", own])
    results.check("personalize: the model is whole", read(own) == read(model))


def permission_cases():
    name = "what may not be read or written"
    if os.geteuid() != 0:
        wrapper = []
    elif shutil.which("setpriv"):
        wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    else:
        return results.skip(name, "root may read everything, and setpriv is missing")
    programs = work + "/programs"
    os.makedirs(programs)
    for program in ("train_fer", "evaluate_fer", "personalize"):
        shutil.copy(os.path.join(BIN, program), programs)
    if run("train_fer", "--help", wrapper=wrapper, folder=programs).status != 0:
        return results.skip(name, "no program can be run as another user here")
    secret_csv, secret_folder, secret_model = work + "/secret.csv", work + "/secret", work + "/secret.safetensors"
    shutil.copy(good_csv, secret_csv)
    shutil.copy(model, secret_model)
    shutil.copytree(good_folder, secret_folder + "/tree")
    closed = work + "/closed"  # one picture that may not be read, in a folder that may
    shutil.copytree(good_folder, closed)
    picture = closed + "/train/happy/" + sorted(os.listdir(closed + "/train/happy"))[0]
    listed = work + "/listed"  # its pictures may be listed, not looked at
    shutil.copytree(person, listed)
    os.chmod(listed + "/happy", 0o444)
    out = work + "/anybody"
    os.makedirs(out)
    os.chmod(out, 0o777)
    shut = work + "/shut"
    os.makedirs(shut)
    os.chmod(shut, 0o555)
    for path in (secret_csv, secret_folder, secret_model, picture):
        os.chmod(path, 0)
    as_other = {"wrapper": wrapper, "folder": programs, "cwd": out}
    for data, words in ((secret_csv, [secret_csv]), (secret_folder, [secret_folder]), (closed, [picture])):
        bad("unreadable " + os.path.basename(data), "train_fer", "--data", data, *small, "--out", out + "/o", words=words,
            **as_other)
        bad("unreadable " + os.path.basename(data), "evaluate_fer", *evaluate_with(data), words=words, **as_other)
    bad("unreadable model", "evaluate_fer", "--data", good_csv, "--model", secret_model, words=[secret_model], **as_other)
    bad("unreadable model", "personalize", "--faces", person, "--out", out + "/d", "--model", secret_model,
        words=[secret_model], **as_other)
    bad("unreadable faces", "personalize", "--faces", secret_folder, "--out", out + "/d", "--model", model,
        words=[secret_folder], **as_other)
    bad("a folder that may only be listed", "personalize", "--faces", listed, "--out", out + "/d", "--model", model,
        words=[listed + "/happy/"], **as_other)
    bad("a folder that may not be written", "train_fer", "--data", good_csv, *small, "--out", shut + "/o", words=[shut],
        **as_other)
    bad("a folder that may not be written", "personalize", "--faces", person, "--out", shut + "/d.safetensors", "--model",
        model, words=[shut], **as_other)


def png_claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"\0" * 5000)) + chunk(b"IEND", b""))


def jpeg_claiming(width, height):
    return (b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0\x43\0" + b"\1" * 64 +
            b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", height, width) + b"\1\1\x11\0\xff\xd9")


def picture_cases():
    text = b"This is no picture at all, whatever its name may be.\n" * 3
    pixels = bytes(48 * 48)
    pictures = [
        ("no picture", "jpg", text), ("no picture", "png", text), ("no picture", "pgm", text),
        ("0 bytes", "jpg", b""), ("0 bytes", "pgm", b""), ("1x1", "pgm", pgm(b"\x80", 1, 1)),
        ("60,000x60,000", "png", png_claiming(60000, 60000)), ("60,000x60,000", "jpg", jpeg_claiming(60000, 60000)),
        ("60,000x60,000", "pgm", pgm(pixels, 60000, 60000)), ("a negative width", "pgm", pgm(pixels, -48, 48)),
        ("cut off", "pgm", pgm(pixels[:1000])), ("cut off", "png", png_claiming(48, 48)[:60]),
    ]
    for i, (what, ending, data) in enumerate(pictures):
        name = "picture: %s (%s)" % (what, ending)
        folder = "%s/pictures%d" % (work, i)
        shutil.copytree(good_folder, folder)
        spoilt = write("%s/train/sad/Training_9999.%s" % (folder, ending), data)
        size = ["48x48"] if what == "1x1" else ["60000" if ending != "pgm" else "width"] if what.startswith("60") else []
        bad_arguments = [spoilt, "--max-bad", *size]
        bad(name, "train_fer", *train_with(folder), words=bad_arguments)
        if i % 3 == 0:
            bad(name, "evaluate_fer", *evaluate_with(folder), words=bad_arguments)
            finished = good(name + ", with --max-bad 1", "evaluate_fer", *evaluate_with(folder, "--max-bad", 1))
            results.check(name + ": its name is said", spoilt in finished.err)
        own = "%s/own%d" % (work, i)
        shutil.copytree(person, own)
        spoilt = write("%s/sad/takeX-1.%s" % (own, ending), data)
        if what == "1x1":
            good(name, "personalize", *adapt_with(own))  # small, but a picture; faces of any size are resized
        else:
            bad(name, "personalize", *adapt_with(own), words=[spoilt, *size])
    # More than can be listed.
    many = work + "/many"
    shutil.copytree(good_folder, many)
    for i in range(50):
        write("%s/train/sad/Training_%d.png" % (many, 5000 + i), text)
    bad("50 damaged pictures", "train_fer", *train_with(many, "--max-bad", 49), words=["50", "49", "and 30 more"])
    good("50 damaged pictures allowed", "train_fer", *train_with(many, "--max-bad", 50))


def one_class_cases():
    one = [face for face in faces if face[0] == 3]
    write_folder(one, work + "/one_class")
    write_csv(work + "/one_class.csv", csv_rows(one))
    bad_data("folder with one class", work + "/one_class", "one class", "happy")
    bad_data("CSV with one class", work + "/one_class.csv", "one class", "happy")
    own = work + "/own_one_class"
    shutil.copytree(person + "/happy", own + "/happy")
    bad("folder with one class", "personalize", *adapt_with(own), words=["one class", "happy"])
    # Class folders without splits, and splits without class folders.
    loose = work + "/loose"
    for name in CLASSES[:3]:
        write("%s/%s/1.pgm" % (loose, name), pgm(bytes(48 * 48)))
    bad_data("no splits", loose, loose, "Training_")
    only_training = work + "/only_training"
    write_folder([face for face in faces if face[1] == "Training"], only_training)
    bad_data("no PublicTest", only_training, "PublicTest")
    flat = work + "/flat"
    write(flat + "/1.pgm", pgm(bytes(48 * 48)))
    bad("no class folders", "personalize", *adapt_with(flat), words=[flat])


def csv_cases():
    rows = csv_rows(faces)
    path = work + "/bad.csv"

    def bad_csv(name, changed, *words, **how):
        write_csv(path, changed, **how)
        bad("CSV: " + name, "train_fer", *train_with(path), words=words)
        bad("CSV: " + name, "evaluate_fer", *evaluate_with(path), words=words)

    def with_row(fields):
        return rows[:5] + [fields] + rows[5:]

    pixels = ["7"] * 2304
    bad_csv("no column pixels", [row.replace("pixels", "pickles") for row in rows], path + ":1", "pixels")
    bad_csv("no column emotion", [row.replace("emotion", "motion") for row in rows], path + ":1", "emotion")
    bad_csv("no header", rows[1:], path + ":1", "header")
    bad_csv("2,303 pixels", with_row("3," + " ".join(pixels[1:]) + ",Training"), path + ":6", "2303", "2304")
    bad_csv("2,305 pixels", with_row("3," + " ".join(pixels + ["7"]) + ",Training"), path + ":6", "2305", "2304")
    bad_csv("pixel 256", with_row("3," + " ".join(pixels[1:] + ["256"]) + ",Training"), path + ":6", "256")
    bad_csv("pixel -1", with_row("3," + " ".join(["-1"] + pixels[1:]) + ",Training"), path + ":6", "-1")
    bad_csv("pixel 1.5", with_row("3," + " ".join(["1.5"] + pixels[1:]) + ",Training"), path + ":6", "1.5")
    bad_csv("label 9", with_row("9," + " ".join(pixels) + ",Training"), path + ":6", "9", "0 to 6")
    bad_csv("label happy", with_row("happy," + " ".join(pixels) + ",Training"), path + ":6", "happy")
    bad_csv("usage Test", with_row("3," + " ".join(pixels) + ",Test"), path + ":6", "Test", "PublicTest")
    bad_csv("two columns emotion", ["emotion," + rows[0]] + ["3," + row for row in rows[1:]], path + ":1", "emotion")
    bad_csv("a quote that does not close", with_row('3,"' + " ".join(pixels) + ",Training"), path + ":6", "quote")
    bad_csv("zero bytes", with_row("\0" * 100), path + ":6")
    whole = "".join(row + "\n" for row in rows).encode()
    write(path, whole[:-3000])  # inside the last row's pixels
    last = path + ":%d" % len(rows)
    bad("CSV: cut in the middle", "train_fer", *train_with(path), words=[last])
    bad("CSV: cut in the middle", "evaluate_fer", *evaluate_with(path), words=[last])
    bad("CSV: cut in the middle, as --general-data", "personalize", *adapt_with(person, "--general-data", path), words=[last])
    finished = good("CSV: cut in the middle, with --max-bad 1", "evaluate_fer", *evaluate_with(path, "--max-bad", 1))
    results.check("CSV: the row left out is named", last in finished.err)
    write(path, read(model))
    bad("CSV: a binary file", "train_fer", *train_with(path), words=[path])
    # What is good in other dress gives the same figures.
    plain = must(run("evaluate_fer", *evaluate_with(good_csv, "--json"))).json()
    quoted = [rows[0]] + ['%s,"%s",%s' % tuple(row.split(",")) for row in rows[1:]]
    for name, changed, how in (("CRLF", rows, {"end": "\r\n"}), ("BOM", rows, {"mark": b"\xef\xbb\xbf"}),
                               ("CRLF and BOM", rows, {"end": "\r\n", "mark": b"\xef\xbb\xbf"}), ("quotes", quoted, {}),
                               ("the columns of icml_face_data", csv_rows(faces, ("emotion", " Usage", " pixels")), {})):
        write_csv(path, changed, **how)
        dressed = good("CSV: " + name, "evaluate_fer", *evaluate_with(path, "--json"))
        if dressed.status == 0:
            results.check("CSV: %s changes nothing" % name, dressed.json() == plain)
    shutil.copy(path, work + "/good_crlf.csv")
    write_csv(path, rows, end="\r\n", mark=b"\xef\xbb\xbf")
    good("CSV: CRLF and BOM", "train_fer", *train_with(path))


def model_cases():
    metadata, tensors = read_safetensors(model)
    # Who changes a file on purpose leaves its checksums out; then all else must still hold.
    del metadata["mien.crc32c"], metadata["mien.header_crc32c"]
    data = read(model)
    path = work + "/bad.safetensors"

    def bad_model(name, *words):
        bad("model: " + name, "evaluate_fer", "--data", good_csv, "--model", path, words=[path, *words])
        bad("model: " + name, "personalize", "--faces", person, "--out", fresh(), "--model", path, words=[path, *words])

    def changed(key, change):
        copy = dict(metadata)
        value = json.loads(copy[key])
        change(value)
        copy[key] = json.dumps(value)
        return copy

    write_safetensors(path, {"format": "pt"}, {"linear.weight": ("F32", [2, 3], struct.pack("<6f", *range(6)))})
    bad_model("of another program", "mien.network")
    write_safetensors(path, {}, {})
    bad_model("without tensors")
    write(path, os.urandom(5000))
    bad_model("random bytes")
    write(path, struct.pack("<Q", 2**63 + 5) + data[8:])
    bad_model("a header of 2^63 bytes")
    write_safetensors(path, metadata, tensors)
    good("a model without checksums", "evaluate_fer", "--data", good_csv, "--model", path)
    write_safetensors(path, metadata, {name: t for name, t in tensors.items() if name != "features.0.weight"})
    bad_model("a tensor is missing", "missing", "features.0.weight")
    write_safetensors(path, metadata, {**tensors, "stranger.weight": ("F32", [1], b"\0\0\0\0")})
    bad_model("a tensor too many", "unexpected", "stranger.weight")
    name, (dtype, shape, values) = next((n, t) for n, t in tensors.items() if n.endswith("weight"))
    write_safetensors(path, metadata, {**tensors, name: (dtype, [len(values) // 4], values)})
    bad_model("a tensor of another shape", "mis-shaped", name)
    write_safetensors(path, changed("mien.model", lambda m: m["classes"].reverse()), tensors)
    bad_model("classes in another order", "classes")
    write_safetensors(path, changed("mien.model", lambda m: m["classes"].pop()), tensors)
    bad_model("six classes", "classes")
    write_safetensors(path, changed("mien.model", lambda m: m["preprocessing"].update(crop=40)), tensors)
    bad_model("another crop", "40")
    write_safetensors(path, changed("mien.network", lambda m: m.clear()), tensors)
    bad_model("no layers")
    negative = {**tensors, name: (dtype, shape, b"\xff\xff\xff\xff" * (len(values) // 4))}
    write_safetensors(path, metadata, negative)
    bad_model("weights that are not numbers", "self test")
    doubled = {**tensors, name: (dtype, shape, struct.pack("<%df" % (len(values) // 4), *(
        3 * x + 1 for x in struct.unpack("<%df" % (len(values) // 4), values))))}
    write_safetensors(path, metadata, doubled)
    bad_model("other weights", "self test")
    shutil.copy(work + "/trained/checkpoint.safetensors", path)
    bad_model("a checkpoint")
    shutil.copy(delta, path)
    bad_model("a delta")
    for length in [0, 1, 7, 8, 9, 100, 1000, len(data) // 2, len(data) - 1]:
        write(path, data[:length])
        bad("model: cut to %d bytes" % length, "evaluate_fer", "--data", good_csv, "--model", path, words=[path])
    # One wrong bit, wherever it is. (But for the name under which the header's own checksum stands.)
    header_end = 8 + struct.unpack("<Q", data[:8])[0]
    own = data.find(b"mien.header_crc32c")
    for i in range(24):
        at = i * header_end // 12 if i < 12 else header_end + (i - 12) * (len(data) - header_end) // 12
        if own <= at < own + 18:
            continue
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << (i % 8)
        write(path, bytes(spoilt))
        bad("model: bit %d of byte %d flipped" % (i % 8, at), "evaluate_fer", "--data", good_csv, "--model", path,
            words=[path])
    for program, more in (("evaluate_fer", ["--data", good_csv]), ("personalize", ["--faces", person, "--out", fresh()])):
        bad("a delta over another model", program, *more, "--model", other_model, "--personal", delta, words=[delta, "base"])
        bad("a model as delta", program, *more, "--model", model, "--personal", model, words=[model, "delta"])
        write(path, read(delta)[:-5])
        bad("a delta cut off", program, *more, "--model", model, "--personal", path, words=[path])
        write(path, os.urandom(300))
        bad("random bytes as delta", program, *more, "--model", model, "--personal", path, words=[path])


def boxes_cases():
    path = work + "/boxes.csv"
    for name, text, words in (
            ("empty", b"", [path]), ("no column w", b"file,x,y,h\na,1,2,3\n", [path + ":1", "'w'"]),
            ("no number", b"file,x,y,w,h\na,1,2,3,big\n", [path + ":2", "big"]),
            ("too few fields", b"file,x,y,w,h\na,1,2\n", [path + ":2"]),
            ("width 0", b"file,x,y,w,h\na,1,2,0,5\n", [path + ":2"]),
            ("huge", b"file,x,y,w,h\na,1,2,99999999999999999999,5\n", [path + ":2"])):
        write(path, text)
        bad("boxes: " + name, "personalize", *adapt_with(person, "--boxes", path), words=words)
    bad("boxes: missing", "personalize", *adapt_with(person, "--boxes", path + "x"), words=[path + "x"])
    good_box = "happy/" + sorted(os.listdir(person + "/happy"))[0]
    write(path, b"\xef\xbb\xbffile,x,y,w,h\r\n" + good_box.encode() + b",-10,-10,90,90\r\n")
    finished = good("boxes: beyond the picture, CRLF and BOM", "personalize", *adapt_with(person, "--boxes", path))
    results.check("boxes: those without are counted", "have no box" in finished.err)


def resume_cases():
    out = work + "/resumed"
    shutil.copytree(work + "/trained", out)
    checkpoint = out + "/checkpoint.safetensors"
    model_before, data = read(out + "/model.safetensors"), read(checkpoint)
    bad("there is a checkpoint, but no --resume", "train_fer", "--data", good_csv, *small, "--out", out,
        words=[checkpoint, "--resume"])
    resume = ["train_fer", "--data", good_csv, *small, "--out", out, "--resume"]
    finished_run = work + "/finished"  # its checkpoint, the largest file, was taken away
    shutil.copytree(work + "/trained", finished_run)
    os.unlink(finished_run + "/checkpoint.safetensors")
    for more in ([], ["--resume"]):
        bad(" ".join(["there is a model, but no checkpoint"] + more), "train_fer", "--data", good_csv, *small, "--out",
            finished_run, *more, words=[finished_run, "already there"])
    bad("resume with another seed", *resume, "--seed", 9, words=[checkpoint, "seed 9"])
    bad("resume with another network", "train_fer", *["atulapra" if a == "tiny" else a for a in resume[1:]],
        words=[checkpoint, "atulapra"])
    bad("resume with other faces", "train_fer", *[work + "/drawn/fer" if a == good_csv else a for a in resume[1:]],
        words=[checkpoint])
    for name, spoilt in (("empty", b""), ("random", os.urandom(3000)), ("cut off", data[:len(data) // 2]),
                         ("a model", model_before)):
        write(checkpoint, spoilt)
        bad("resume from a checkpoint that is " + name, *resume, words=[checkpoint])
        results.check("resume from a checkpoint that is %s: nothing is lost" % name,
                      read(checkpoint) == spoilt and read(out + "/model.safetensors") == model_before)
    for i in range(12):
        at = i * len(data) // 12 + 3
        write(checkpoint, data[:at] + bytes([data[at] ^ (1 << i % 8)]) + data[at + 1:])
        bad("resume from a checkpoint with byte %d changed" % at, *resume, words=[checkpoint])


def loss_cases():
    """A loss that is not finite: the layer is named, and the last good checkpoint and model stay."""
    for precision in ("fp32", "bf16"):
        out = fresh()
        begin = ["--data", good_csv, "--model", "tiny", "--batch", 7, "--threads", 1, "--out", out, "--augment", "none",
                 "--precision", precision, "--optimizer", "sgd", "--learning-rate", 1e30]
        # All goes well for the steps before the first update is felt.
        finished = run("train_fer", *begin, "--epochs", 30, "--checkpoint-every", 1)
        results.check("loss not finite, " + precision, problems_of(finished, "not finite", "epoch", "layer '", "learning rate"))
        checkpoint = out + "/checkpoint.safetensors"
        if os.path.exists(checkpoint):
            _, tensors = read_safetensors(checkpoint)
            sound = all(x == x and abs(x) != float("inf") for name, (dtype, _, data) in tensors.items() if dtype == "F32"
                        for x in struct.unpack("<%df" % (len(data) // 4), data))
            results.check("loss not finite, %s: the checkpoint is finite" % precision, sound)
        results.check("loss not finite, %s: no temporaries" % precision,
                      [n for n in os.listdir(out) if n not in ("checkpoint.safetensors", "trained.safetensors", "history.csv")])
    # A run that goes wrong later, after good epochs, as the rate grows beyond all bounds. What overflows first, a layer's
    # output or a parameter, hangs on the last bit; either is named.
    out = fresh()
    arguments = ["--data", good_csv, "--model", "tiny", "--batch", 7, "--threads", 1, "--out", out, "--augment", "none",
                 "--optimizer", "sgd", "--learning-rate", 1e4, "--schedule", "cosine:warmup=300", "--epochs", 600]
    finished = run("train_fer", *arguments)
    def problems(finished):
        named = "layer '" in finished.err or "parameter " in finished.err
        return problems_of(finished, "not finite", "kept", seconds=60) + ([] if named else ["names nothing"])

    results.check("loss not finite after good epochs", problems(finished))
    for name in ("trained", "checkpoint", "history"):
        ending = ".csv" if name == "history" else ".safetensors"
        results.check("loss not finite after good epochs: there is a " + name, os.path.exists("%s/%s%s" % (out, name, ending)))
    good("the model before the loss was not finite", "evaluate_fer", "--data", good_csv, "--model",
         out + "/trained.safetensors")
    again = run("train_fer", *arguments, "--resume")
    results.check("loss not finite again when resumed", problems(again))


def full_disk_cases():
    disk = work + "/disk"
    os.makedirs(disk)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    if mount.returncode != 0:
        return results.skip("full disk", "mounting a tmpfs is not permitted here")

    def fill(spare):
        """Leaves `spare` bytes."""
        with open(disk + "/filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
            file.truncate(max(0, os.path.getsize(disk + "/filler") // 4096 * 4096 - spare))

    try:
        out = disk + "/run"
        arguments = ["train_fer", "--data", good_csv, "--model", "tiny", "--batch", 7, "--threads", 1, "--out", out]
        must(run(*arguments, "--epochs", 2))
        kept = {name: read(out + "/" + name) for name in os.listdir(out)}
        fill(8192)
        again = run(*arguments, "--epochs", 2, "--resume")  # saves the model once more, with its bank
        results.check("train_fer: full disk", problems_of(again, out, "space"))
        results.check("train_fer: full disk: the old files are whole", [name for name in kept
                                                                       if read(out + "/" + name) != kept[name]])
        results.check("train_fer: full disk: nothing is left beside them", sorted(os.listdir(out)) == sorted(kept))
        os.unlink(disk + "/filler")
        must(run(*arguments, "--epochs", 2, "--resume"))
        new = disk + "/new"
        fill(8192)
        finished = run("train_fer", "--data", good_csv, *small, "--out", new)
        results.check("train_fer: full disk from the start", problems_of(finished, new, "space"))
        old_delta = disk + "/delta.safetensors"
        os.unlink(disk + "/filler")
        shutil.copy(delta, old_delta)
        fill(0)
        finished = run("personalize", "--model", model, "--faces", person, "--out", old_delta, "--shots", 1)
        results.check("personalize: full disk", problems_of(finished, old_delta, "space"))
        results.check("personalize: full disk: the old delta is whole", read(old_delta) == read(delta))
        good("the old delta after a full disk", "evaluate_fer", "--data", good_csv, "--model", model, "--personal", old_delta)
        finished = run("train_fer", "--export-synthetic", disk + "/drawn", "--persons", 40)
        results.check("train_fer --export-synthetic: full disk", problems_of(finished, disk, "space"))
    finally:
        subprocess.run(["umount", disk], stdout=subprocess.DEVNULL)


for cases in (option_cases, path_cases, permission_cases, picture_cases, one_class_cases, csv_cases, model_cases,
              boxes_cases, resume_cases, loss_cases, full_disk_cases):
    cases()
results.finish()
