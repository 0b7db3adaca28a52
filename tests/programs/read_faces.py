#!/usr/bin/env python3
"""What read_faces and detect_faces make of photographs: of all forms, good and bad, and of what they are asked to do.

    read_faces.py FOLDER      # FOLDER: where the programs are built

The photographs are made here, from the portrait in tests/data/cascade. $MIEN_HOSTILE (or
$MIEN_DATA/hostile) is a folder of hostile pictures to try as well.
"""
import csv
import glob
import io
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from programs_support import (BIN, CLASSES, Results, must, read_safetensors, run, skip_all, work_folder,
                              write_safetensors)

results = Results()
work = work_folder()
CASCADE = "/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml"
PORTRAIT = "/usr/share/matplotlib/mpl-data/sample_data/grace_hopper.jpg"
for name in ("read_faces", "detect_faces"):
    if not os.path.isfile(os.path.join(BIN, name)):
        skip_all("no program %s in '%s'" % (name, BIN))
if not os.path.isfile(CASCADE):
    skip_all("opencv-data is not installed: no " + CASCADE)


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


# PNG -----------------------------------------------------------------------------------------------------------------

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width, height, depth, colour, data, extra=b""):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png(width, rows, depth=8, colour=0, extra=b""):
    return png_file(width, len(rows), depth, colour, zlib.compress(b"".join(b"\0" + row for row in rows), 6), extra)


def read_png(path):
    """(width, height, channels, pixels) of an 8-bit PNG without a palette."""
    data, at, body = read(path), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", data[at + 8:at + 18])
        if kind == b"IDAT":
            body += data[at + 8:at + 8 + length]
        at += length + 12
    assert depth == 8 and colour in (0, 2)
    n = 3 if colour == 2 else 1
    raw, rows, above = zlib.decompress(body), [], bytes(width * n)
    for y in range(height):
        start = y * (width * n + 1)
        kind, row = raw[start], bytearray(raw[start + 1:start + 1 + width * n])
        for i in range(len(row)):
            left, up, corner = (row[i - n] if i >= n else 0), above[i], (above[i - n] if i >= n else 0)
            if kind == 1:
                row[i] = (row[i] + left) & 255
            elif kind == 2:
                row[i] = (row[i] + up) & 255
            elif kind == 3:
                row[i] = (row[i] + (left + up) // 2) & 255
            elif kind == 4:
                p = left + up - corner
                best = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
                row[i] = (row[i] + best) & 255
        rows.append(bytes(row))
        above = rows[-1]
    return width, height, n, rows


def tiff(orientation):
    return b"MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


# What is good --------------------------------------------------------------------------------------------------------
source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "cascade", "grace_hopper.pgm")
header, pixels = read(source).split(b"\n255\n", 1)
width, height = map(int, header.split()[-2:])
gray = [pixels[y * width:(y + 1) * width] for y in range(height)]
face_pgm = write(work + "/photos/face.pgm", read(source))
empty = write(work + "/photos/empty.png", png(120, [bytes(range(120))] * 100))

must(run("train_fer", "--export-synthetic", work + "/drawn", "--persons", 30, "--seed", 5))
must(run("train_fer", "--data", work + "/drawn/fer", "--model", "tiny", "--epochs", 2, "--batch", 32, "--out",
         work + "/trained"))
model = work + "/trained/model.safetensors"


def answer(*arguments, status=0, **options):
    """Runs read_faces --json: its object, after checking the exit status and that nothing else is on standard output."""
    finished = run("read_faces", "--model", model, "--json", *arguments, **options)
    if finished.status != status or len(finished.out.splitlines()) != 1:
        print("FAILED: " + finished.words())
        print("0 passed, 1 failed")
        sys.exit(1)
    return finished.json()


def faces_in(*arguments, **options):
    return answer(*arguments, **options)["images"][0]["faces"]


def usual_case():
    found = answer(face_pgm)
    image = found["images"][0]
    results.check("one picture: keys", set(found) == {"classes", "images", "broken"} and set(image) == {
        "file", "width", "height", "faces", "milliseconds"})
    results.check("one picture: file and size", image["file"] == face_pgm and image["width"] == width and
                  image["height"] == height and found["broken"] == [] and found["classes"] == CLASSES)
    face = image["faces"][0]
    results.check("one face, all of it", len(image["faces"]) == 1 and set(face) == {
        "x", "y", "w", "h", "neighbors", "level", "weight", "label", "probability", "probabilities"})
    shares = face["probabilities"]
    results.check("seven probabilities, the best of them the label", list(shares) == CLASSES and
                  abs(sum(shares.values()) - 1) < 1e-5 and face["label"] == max(shares, key=shares.get) and
                  face["probability"] == shares[face["label"]])
    detected = must(run("detect_faces", face_pgm, "--json")).json()["images"][0]["detections"]
    results.check("the faces are those that detect_faces finds",
                  detected == [{key: face[key] for key in ("x", "y", "w", "h", "neighbors", "level", "weight")}])
    # The answer is the network's for the crop: as a box that leaves nothing else to it.
    lines = must(run("read_faces", "--model", model, face_pgm, empty))
    results.check("for people: both pictures on standard output", [
        line for line in ("face.pgm: %dx%d, 1 face," % (width, height), face["label"] + " | angry ", "no face")
        if line not in lines.out])
    results.check("for people: the count on standard error", "2 pictures: 1 faces; 1 without a face, 0" in lines.err)
    results.check("--ten-crop changes the answer, not the face", (lambda t: t["x"] == face["x"] and
                  t["probabilities"] != shares)(faces_in(face_pgm, "--ten-crop")[0]))
    results.check("threads change nothing", all(faces_in(face_pgm, "--threads", n) == image["faces"] for n in (1, 3)))
    results.check("sizes are kept to", faces_in(face_pgm, "--min-size", face["w"] + 60) == [] and
                  faces_in(face_pgm, "--max-size", face["w"] // 2) == [])
    return face


def form_cases(face):
    """The same portrait in every form gives the same face and, where nothing is lost, the same answer to the bit."""
    def rows(pixel):
        table = [pixel(v) for v in range(256)]
        return [b"".join(table[v] for v in row) for row in gray]
    forms = {
        "gray PNG": png(width, gray),
        "RGB PNG": png(width, rows(lambda v: bytes((v, v, v))), 8, 2),
        "16-bit gray PNG": png(width, rows(lambda v: bytes((v, v))), 16, 0),
        "16-bit RGB PNG": png(width, rows(lambda v: bytes((v,) * 6)), 16, 2),
        "gray PNG with alpha": png(width, rows(lambda v: bytes((v, 255))), 8, 4),
        # v = 255 - alpha: black that is seen through, in front of white.
        "transparent black": png(width, rows(lambda v: bytes((0, 0, 0, 255 - v))), 8, 6),
        "16-bit RGB PNG with alpha": png(width, rows(lambda v: bytes((v,) * 6 + (255, 255))), 16, 6),
        "palette PNG": png(width, rows(lambda v: bytes((255 - v,))), 8, 3,
                           chunk(b"PLTE", b"".join(bytes((255 - i,) * 3) for i in range(256)))),
        "PPM": b"P6\n%d %d\n255\n" % (width, height) + b"".join(rows(lambda v: bytes((v, v, v)))),
    }
    # As a camera held sideways stores it: each stored row a column of the scene.
    columns = [bytes(gray[height - 1 - y][x] for y in range(height)) for x in range(width)]
    forms["EXIF-rotated PNG"] = png(height, [bytes(reversed(c)) for c in columns][::-1], 8, 0,
                                    chunk(b"eXIf", tiff(6)))
    forms["EXIF-mirrored PNG"] = png(width, [bytes(reversed(row)) for row in gray], 8, 0, chunk(b"eXIf", tiff(2)))
    long = bytes(2 << 20)
    forms["PNG with long comments"] = png(width, gray, 8, 0, chunk(b"iTXt", b"XML:com.adobe.xmp" + long) +
                                          chunk(b"tEXt", b"prompt\0" + long) + chunk(b"iCCP", long) + chunk(b"prVt", long))
    for name, data in forms.items():
        path = write(work + "/forms/" + name.replace(" ", "_") + ".png", data)
        image = answer(path)["images"][0]
        problems = [] if (image["width"], image["height"]) == (width, height) else ["%(width)dx%(height)d" % image]
        results.check(name, problems + ["%r" % image["faces"]] * (image["faces"] != [face]))
    if not os.path.isfile(PORTRAIT):
        results.skip("JPEG", "python-matplotlib-data is not installed")
        return
    plain = answer(PORTRAIT)["images"][0]
    results.check("JPEG in colour", len(plain["faces"]) == 1 and (plain["width"], plain["height"]) == (512, 600))
    data = read(PORTRAIT)
    for orientation, size in ((1, (512, 600)), (3, (512, 600)), (6, (600, 512)), (8, (600, 512))):
        body = b"Exif\0\0" + tiff(orientation)
        turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
        image = answer(write(work + "/forms/exif%d.jpg" % orientation, turned))["images"][0]
        results.check("EXIF orientation %d of a JPEG" % orientation, (image["width"], image["height"]) == size and
                      (image["faces"] == plain["faces"]) == (orientation == 1))


def model_cases(face):
    """Margin, gray weights and deltas are the model file's."""
    metadata, tensors = read_safetensors(model)
    settings = json.loads(metadata["mien.model"])

    def with_preprocessing(name, **changes):
        changed = dict(settings, preprocessing=dict(settings["preprocessing"], **changes))
        path = work + "/" + name + ".safetensors"
        kept = {k: v for k, v in metadata.items() if "crc32c" not in k}
        write_safetensors(path, dict(kept, **{"mien.model": json.dumps(changed)}), tensors)
        return path

    def read_by(name, *arguments):
        return must(run("read_faces", "--model", name, "--json", *arguments)).json()["images"][0]["faces"]

    margin = settings["preprocessing"]["margin"]
    results.check("the same preprocessing, the same answer",
                  read_by(with_preprocessing("same", margin=margin), face_pgm) == [face])
    # A margin of a quarter on every side is a box that is larger by a half.
    wide = read_by(with_preprocessing("wide", margin=0.25), face_pgm)[0]
    grow = round(0.25 * face["w"])
    boxes = write(work + "/wide.csv", ("file,x,y,w,h\nface.pgm,%d,%d,%d,%d\n" % (
        face["x"] - grow, face["y"] - grow, face["w"] + 2 * grow, face["h"] + 2 * grow)).encode())
    by_box = read_by(with_preprocessing("none", margin=0), "--boxes", boxes, face_pgm)[0]
    results.check("the margin is the model's", wide["probabilities"] == by_box["probabilities"] and
                  wide["probabilities"] != face["probabilities"] and wide["x"] == face["x"])
    # A network that sees red alone: a picture whose red is the portrait reads like the portrait.
    red = write(work + "/red.png", png(width, [b"".join(bytes((v, 90, 30)) for v in row) for row in gray], 8, 2))
    whole = write(work + "/whole.csv", ("file,x,y,w,h\nred.png,%(x)d,%(y)d,%(w)d,%(h)d\n"
                                        "face.pgm,%(x)d,%(y)d,%(w)d,%(h)d\n" % face).encode())
    only_red = with_preprocessing("red", red=1, green=0, blue=0)
    results.check("gray is weighed as the model says",
                  read_by(only_red, "--boxes", whole, red)[0]["probabilities"] == face["probabilities"] and
                  read_by(model, "--boxes", whole, red)[0]["probabilities"] != face["probabilities"])
    person = work + "/drawn/persons/" + sorted(os.listdir(work + "/drawn/persons"))[0]
    delta = work + "/delta.safetensors"
    must(run("personalize", "--model", model, "--faces", person, "--out", delta))
    adapted = faces_in(face_pgm, "--personal", delta)[0]
    results.check("a personal delta changes the answer alone", adapted["probabilities"] != face["probabilities"] and
                  all(adapted[key] == face[key] for key in ("x", "y", "w", "h")))
    # Weights that are no numbers, in a file that has no checks of its own.
    unchecked = {k: v for k, v in metadata.items() if "crc32c" not in k and k != "mien.self_test"}
    spoilt = {name: (dtype, shape, b"\xff" * len(values)) if name.endswith("bias") else (dtype, shape, values)
              for name, (dtype, shape, values) in tensors.items()}
    write_safetensors(work + "/nan.safetensors", unchecked, spoilt)
    finished = run("read_faces", "--model", work + "/nan.safetensors", "--json", face_pgm)
    results.check("answers that are not finite", finished.status == 1 and "not finite" in
                  finished.json()["broken"][0]["error"] and finished.json()["images"] == [])
    # A drawn person's pictures, whole: read_faces sees what personalize and evaluate_fer see.
    pictures = sorted(glob.glob(person + "/happy/*"))[:3]
    rows = "".join("%s,0,0,48,48\n" % p for p in pictures)
    found = answer(*pictures, "--boxes", write(work + "/drawn.csv", ("file,x,y,w,h\n" + rows).encode()))
    results.check("faces that are cut out already", [len(i["faces"]) for i in found["images"]] == [1, 1, 1])


def box_cases(face):
    text = ("h,w,file,y,x,note\n50,60,face.pgm,10,-20,left\n30,30,face.pgm,5,5,\n"
            "70,80,photos/sub/b.png,0,0,\n10,10,\"odd, name.png\",1,2,\n,,empty.png,,,\n")
    boxes = write(work + "/boxes.csv", text.encode())
    write(work + "/photos/sub/b.png", png(width, gray))
    write(work + "/photos/odd, name.png", png(width, gray))
    found = answer("--boxes", boxes, face_pgm, work + "/photos/odd, name.png", empty, "photos/sub/b.png",
                   "--cascade", "/no/such/cascade", cwd=work)
    faces = [[(f["x"], f["y"], f["w"], f["h"]) for f in image["faces"]] for image in found["images"]]
    results.check("boxes from outside replace detection",
                  faces == [[(-20, 10, 60, 50), (5, 5, 30, 30)], [(2, 1, 10, 10)], [], [(0, 0, 80, 70)]])
    results.check("a face by a box has no detection's figures", "neighbors" not in found["images"][0]["faces"][0])
    finished = run("read_faces", "--model", model, "--boxes", boxes, work + "/photos", "--json")
    results.check("a picture without a box is said to be one", finished.status == 0 and "1 of 4 pictures" in finished.err)
    for name, bad in (("no column", "file,x,y,w\na,1,2,3\n"), ("letters", "file,x,y,w,h\na,1,2,3,x\n"),
                      ("a hole", "file,x,y,w,h\na,1,,3,4\n"), ("no size", "file,x,y,w,h\na,1,1,0,4\n"),
                      ("empty", ""), ("short", "file,x,y,w,h\na,1\n")):
        finished = run("read_faces", "--model", model, "--boxes", write(work + "/bad.csv", bad.encode()), face_pgm)
        results.check("boxes: " + name, finished.status == 2 and "bad.csv" in finished.err and not finished.out)
    # A box that is not of this picture, and one for a name that two pictures have.
    outside = write(work + "/outside.csv", ("file,x,y,w,h\nface.pgm,%d,5,20,20\n" % width).encode())
    found = answer("--boxes", outside, face_pgm, status=1)
    results.check("boxes: outside of the picture", found["images"] == [] and "outside" in found["broken"][0]["error"])
    write(work + "/names/face.pgm", read(face_pgm))
    write(work + "/names/a/face.pgm", read(face_pgm))
    one = write(work + "/one.csv", b"file,x,y,w,h\nface.pgm,5.0,5,20,20\n")
    finished = run("read_faces", "--model", model, "--boxes", one, work + "/names", "--json")
    results.check("boxes: a name that two pictures have", "1 of 2 pictures" in finished.err and
                  {os.path.relpath(i["file"], work + "/names"): len(i["faces"]) for i in finished.json()["images"]} ==
                  {"a/face.pgm": 0, "face.pgm": 1})
    # What --csv writes can be given as --boxes.
    table = must(run("read_faces", "--model", model, "--csv", work + "/photos"))
    again = must(run("read_faces", "--model", model, "--csv", "--boxes",
                     write(work + "/again.csv", table.out.encode()), work + "/photos"))
    results.check("--csv goes round by --boxes", again.out == table.out and "warning" not in again.err)


def name_cases(face):
    """File names that are more than letters."""
    write(work + "/[2024]/face.pgm", read(face_pgm))
    write(work + "/[a,b]/face.pgm", read(face_pgm))
    found = answer("[2024]", "[a,b]/face.pgm", cwd=work)
    results.check("names in brackets", [os.path.normpath(i["file"]) for i in found["images"]] == [
        "[2024]/face.pgm", "[a,b]/face.pgm"])
    found = must(run("detect_faces", "--json", "[2024]", "[a,b]/face.pgm", cwd=work)).json()
    results.check("detect_faces: names in brackets", len(found["images"]) == 2)
    write(work + "/lines/a\nb.pgm", read(face_pgm))
    table = must(run("read_faces", "--model", model, "--csv", work + "/lines"))
    again = run("read_faces", "--model", model, "--csv", "--boxes", write(work + "/lines.csv", table.out.encode()),
                work + "/lines")
    results.check("--csv goes round by --boxes, a name of two lines",
                  again.out == table.out and again.status == 0 and "warning" not in again.err)
    wrong = run("read_faces", "--model", model, "--boxes",
                write(work + "/bad.csv", b'file,x,y,w,h\n"a\nb",1,2,3,4\nc,1,2,3,x\n'), face_pgm)
    results.check("boxes: the line of a mistake behind a name of two", "bad.csv:4: 'x'" in wrong.err)
    write(work + "/a", b"no picture at all")
    wrong = run("read_faces", "--model", model, "a", cwd=work)
    results.check("a broken picture is named, however short its name", "read_faces: a: " in wrong.err)


def output_cases():
    """Nothing is lost in silence when standard output cannot be written."""
    for program, options in (("read_faces", ["--model", model, "--json"]), ("read_faces", ["--model", model, "--csv"]),
                             ("detect_faces", ["--json"])):
        full = run(program, *options, face_pgm, wrapper=["sh", "-c", 'exec "$0" "$@" >/dev/full'])
        results.check(" ".join([program, options[-1]]) + ": a full disk behind standard output",
                      [] if full.status == 2 and "standard output" in full.err else [full.words()])


def csv_cases(face):
    finished = must(run("read_faces", "--model", model, "--csv", work + "/photos"))
    rows = list(csv.reader(io.StringIO(finished.out)))
    results.check("CSV: header", rows[0] == ["file", "face", "x", "y", "w", "h", "label"] + CLASSES)
    by_name = {os.path.relpath(row[0], work + "/photos"): row for row in rows[1:]}
    results.check("CSV: a row for every face, and for every picture without one",
                  sorted(by_name) == ["empty.png", "face.pgm", "odd, name.png", "sub/b.png"] and
                  [row[0] for row in rows[1:]] == sorted(row[0] for row in rows[1:]))
    row = by_name["face.pgm"]
    results.check("CSV: a face", row[1:7] == ["1"] + [str(face[k]) for k in ("x", "y", "w", "h")] + [face["label"]] and
                  all(abs(float(a) - face["probabilities"][k]) < 1e-5 for a, k in zip(row[7:], CLASSES)))
    results.check("CSV: no face", by_name["empty.png"][1:] == ["0"] + [""] * 12)


def broken_cases():
    folder = work + "/mixed"
    for i in range(3):
        write(folder + "/good%d.pgm" % i, read(face_pgm))
    write(folder + "/cut.png", read(work + "/forms/RGB_PNG.png")[:5000])
    write(folder + "/text.jpg", b"no picture at all")
    write(folder + "/nothing.png", b"")
    write(folder + "/notes.txt", b"passed over")
    missing = work + "/missing.png"
    finished = run("read_faces", "--model", model, "--json", folder, missing)
    found = finished.json()
    results.check("broken pictures do not stop the rest", finished.status == 1 and
                  [os.path.basename(i["file"]) for i in found["images"]] == ["good0.pgm", "good1.pgm", "good2.pgm"])
    results.check("broken pictures are listed", [os.path.basename(b["file"]) for b in found["broken"]] == [
        "cut.png", "nothing.png", "text.jpg", "missing.png"] and all(b["error"] for b in found["broken"]))
    last = finished.err.splitlines()[-4:]
    results.check("broken pictures stand at the end of standard error", [
        line for line, name in zip(last, ("cut.png", "nothing.png", "text.jpg", "missing.png"))
        if not line.startswith("read_faces: ") or name not in line] + ["count"] * ("4 could not be read" not in finished.err))
    results.check("threads change nothing", [
        n for n in (1, 4) if [i["faces"] for i in run("read_faces", "--model", model, "--json", folder, missing, "--threads",
                                                      n).json()["images"]] != [i["faces"] for i in found["images"]]])
    write(work + "/phone/a.pgm", read(face_pgm))
    write(work + "/phone/IMG_1.HEIC", b"no matter what")
    for program, options in (("read_faces", ["--model", model]), ("detect_faces", [])):
        finished = run(program, *options, work + "/phone")
        results.check(program + ": pictures of other kinds are counted", finished.status == 0 and
                      "warning" in finished.err and "IMG_1.HEIC" in finished.err)
    found = run("detect_faces", "--json", folder, missing)
    results.check("detect_faces: broken pictures", found.status == 1 and len(found.json()["images"]) == 3 and
                  len(found.err.splitlines()) == 4)


def usage_cases():
    other = write(work + "/other.xml", b"<opencv_storage></opencv_storage>")
    for name, arguments, words in (
            ("nothing to read", [], "pictures"), ("an unknown option", [face_pgm, "--wrong"], "--wrong"),
            ("JSON and CSV", [face_pgm, "--json", "--csv"], "--csv"), ("threads", [face_pgm, "--threads", "-1"], "--threads"),
            ("size", [face_pgm, "--min-size", "x"], "--min-size"), ("an empty path", [face_pgm, "--boxes", ""], "--boxes"),
            ("scale", [face_pgm, "--scale-factor", "1"], "--scale-factor"),
            ("neighbours", [face_pgm, "--min-neighbors", "-1"], "--min-neighbors"),
            ("sizes", [face_pgm, "--min-size", "100", "--max-size", "50"], "--max-size"),
            ("an empty cascade", [face_pgm, "--cascade", ""], "--cascade"),
            ("--draw-side alone", [face_pgm, "--draw-side", "100"], "--draw"),
            ("no such cascade", [face_pgm, "--cascade", "/no/such.xml"], "/no/such.xml"),
            ("no cascade", [face_pgm, "--cascade", other], "other.xml"),
            ("no such delta", [face_pgm, "--personal", "/no/such"], "/no/such"),
            ("no delta", [face_pgm, "--personal", model], "delta"),
            ("no such model", [face_pgm, "--model", "/no/such"], "/no/such"),
            ("no model", [face_pgm, "--model", face_pgm], "face.pgm"),
            ("a folder without pictures", [work + "/trained"], "no pictures"),
            ("a drawing that cannot be written", [face_pgm, "--draw", "/no/such/folder/a.png"], "/no/such/folder")):
        first = [] if "--model" in arguments else ["--model", model]
        finished = run("read_faces", *first, *arguments)
        lines = [line for line in finished.err.splitlines() if line.startswith("read_faces: ")]
        results.check("usage: " + name, ["status %s" % finished.status] * (finished.status != 2) + [
            finished.words()] * (len(lines) != 1 or words not in lines[0]))
    shown = run("read_faces", "--help")
    results.check("--help", ["status"] * (shown.status != 0) + [
        o for o in ("model personal boxes cascade scale-factor min-neighbors min-size max-size ten-crop threads json csv draw"
                    " draw-side").split() if "--" + o not in shown.out])
    # The default model is the one that comes with mien, seen from where the program is run or was built.
    place = work + "/checkout"
    write(place + "/examples/models/mien-s.safetensors", read(model))
    finished = run("read_faces", "--json", face_pgm, cwd=place)
    results.check("the default model", finished.status == 0 and finished.json()["images"][0]["faces"] == faces_in(face_pgm))


def drawing_cases(face):
    out = work + "/out.png"
    colour = write(work + "/forms/colour.png", png(width, [b"".join(bytes((v, v, 255 - v)) for v in row) for row in gray], 8, 2))
    must(run("read_faces", "--model", model, colour, "--draw", out))
    w, h, channels, rows = read_png(out)
    results.check("--draw: a picture in colour, of the same size", (w, h, channels) == (width, height, 3))
    changed = [(x, y) for y in range(h) for x in range(w)
               if tuple(rows[y][3 * x:3 * x + 3]) != (gray[y][x], gray[y][x], 255 - gray[y][x])]
    # Where the box's four sides are.
    sides = {(face["x"] + i * face["w"] // 8, y) for i in range(1, 8) for y in (face["y"], face["y"] + face["h"] - 1)} | {
        (x, face["y"] + i * face["h"] // 8) for i in range(1, 8) for x in (face["x"], face["x"] + face["w"] - 1)}
    drawn = set(changed)
    results.check("--draw: the box is there", [p for p in sides if p[0] < w and p[1] < h and p not in drawn])
    inside = [p for p in changed if face["x"] + 12 < p[0] < face["x"] + face["w"] - 12 and
              face["y"] + face["h"] // 3 < p[1] < face["y"] + face["h"] * 2 // 3]
    results.check("--draw: the face itself stays free", [] if len(inside) == 0 else ["%d pixels" % len(inside)])
    must(run("read_faces", "--model", model, colour, "--draw", out, "--draw-side", 100))
    results.check("--draw-side", max(read_png(out)[:2]) == 100)
    # Several pictures: a folder, each under its own name.
    write(work + "/two/a/face.pgm", read(face_pgm))
    write(work + "/two/b/face.pgm", read(face_pgm))
    for program in ("read_faces", "detect_faces"):
        options = ["--model", model] if program == "read_faces" else []
        folder = work + "/drawings_" + program
        finished = run(program, *options, work + "/two", face_pgm, work + "/two/a/face.pgm", work + "/forms/no.png", "--draw",
                       folder)
        names = sorted(os.path.relpath(p, folder) for p in glob.glob(folder + "/**/*.png", recursive=True))
        results.check(program + " --draw: a folder for several", finished.status == 1 and
                      names == ["a/face.pgm.png", "b/face.pgm.png", "face.pgm-2.png", "face.pgm.png"])
    # Into the folder of the pictures: none of them is written over.
    original = png(width, gray)
    write(work + "/over/a.pgm", read(face_pgm))
    write(work + "/over/a.pgm.png", original)
    must(run("read_faces", "--model", model, work + "/over", "--draw", work + "/over"))
    results.check("--draw: no picture is written over", read(work + "/over/a.pgm.png") == original and
                  sorted(os.listdir(work + "/over")) == ["a.pgm", "a.pgm-2.png", "a.pgm.png", "a.pgm.png.png"])
    # Nor is a photograph that stands where a drawing should go.
    for program, options in (("read_faces", ["--model", model]), ("detect_faces", []), ("draw_cascade", [])):
        draw = "--scan" if program == "draw_cascade" else "--draw"
        for name, path in (("the photograph itself", colour), ("another photograph", face_pgm)):
            before = read(path)
            finished = run(program, *options, colour, draw, path)
            results.check("%s %s %s" % (program, draw, name), finished.status == 2 and path in finished.err and
                          read(path) == before)
    finished = run("draw_cascade", colour)
    results.check("draw_cascade: nothing to draw", finished.status == 2 and "--features" in finished.err)
    # A drawing whose name is too long for the disk costs itself alone.
    long_name = write(work + "/long/" + 248 * "a" + ".pgm", read(face_pgm))
    write(work + "/long/b.pgm", read(face_pgm))
    finished = run("read_faces", "--model", model, "--json", work + "/long", "--draw", work + "/long_drawn")
    found = finished.json()
    results.check("read_faces: a drawing that cannot be written", finished.status == 1 and
                  [len(i["faces"]) for i in found["images"]] == [1, 1] and os.listdir(work + "/long_drawn") == ["b.pgm.png"] and
                  [b["file"] for b in found["broken"]] == [long_name] and "its drawing" in found["broken"][0]["error"])
    finished = run("detect_faces", "--json", work + "/long", "--draw", work + "/long_drawn")
    results.check("detect_faces: a drawing that cannot be written", finished.status == 1 and
                  len(finished.json()["images"]) == 2 and long_name[-20:] in finished.err)
    must(run("detect_faces", colour, "--draw", out))
    w, h, channels, rows = read_png(out)
    results.check("detect_faces --draw: in colour", (w, h, channels) == (width, height, 3) and
                  tuple(rows[h - 1][0:3]) == (gray[h - 1][0], gray[h - 1][0], 255 - gray[h - 1][0]))


def terminal_cases():
    """A bar on a terminal, and none elsewhere."""
    leader, follower = pty.openpty()
    command = [os.path.join(BIN, "read_faces"), "--model", model, "--json", work + "/mixed"]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, stdin=subprocess.DEVNULL)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    out = done.stdout.read()
    done.wait()
    os.close(leader)
    results.check("a progress bar on a terminal", b"6/6 [########################] 100%" in shown and b"pictures/s" in shown)
    results.check("nothing of it in the results", len(out.splitlines()) == 1 and len(json.loads(out)["images"]) == 3)
    results.check("no progress bar elsewhere", "[#" not in run("read_faces", "--model", model, work + "/mixed").err)


# Hostile pictures ----------------------------------------------------------------------------------------------------
MEASURE = """
import json, os, resource, subprocess, sys, time
start = time.time()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, done.stderr.decode()[-300:]]))
"""


def measured(path):
    """(status, processor seconds, kB, standard error) of reading it."""
    command = [sys.executable, "-c", MEASURE, os.path.join(BIN, "read_faces"), "--model", model, path]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, timeout=300).stdout)


def zeros(count):
    """Zlib data of so many zeros, without holding them."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)] + [packer.compress(bytes(count & 0xfffff)), packer.flush()]
    return b"".join(parts)


def jpeg_of_scans(side, scans):
    """Progressive, one scan of the means and then empty ones: seconds of work for each megabyte of file."""
    def bits(text):
        text += "1" * (-len(text) % 8)
        out = bytearray()
        for i in range(0, len(text), 8):
            out.append(int(text[i:i + 8], 2))
            if out[-1] == 255:
                out.append(0)
        return bytes(out)
    def table(kind, value):
        return b"\xff\xc4" + struct.pack(">HB", 20, kind) + bytes([1] + [0] * 15) + bytes([value])
    def scan(first, last, planes, data):
        return b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, first, last, planes]) + data
    blocks = (side // 8) ** 2
    empty_scan = bits(("0" + "1" * 14) * -(-blocks // 32767))
    body = scan(0, 0, 0, bits("0" * blocks))
    for i in range(scans - 1):
        level = i // 63
        body += scan(1 + i % 63, 1 + i % 63, 13 if level == 0 else (14 - level) << 4 | (13 - level), empty_scan)
    return (b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + b"\1" * 64 + b"\xff\xc2" +
            struct.pack(">HBHHB", 11, 8, side, side, 1) + bytes([1, 0x11, 0]) + table(0, 0) + table(0x10, 0xe0) + body +
            b"\xff\xd9")


def hostile_cases():
    sanitized = b"__asan_init" in read(os.path.join(BIN, "read_faces")) or b"__tsan_init" in read(
        os.path.join(BIN, "read_faces"))
    small = [struct.pack("B", i) * 16 for i in range(16)]
    cases = {
        "20000x20000 claimed": png_file(20000, 20000, 8, 0, zlib.compress(b"\0" * 100)),
        "16 million square claimed": png_file(16000000, 16000000, 8, 0, zlib.compress(b"\0" * 100)),
        "12000x12000 gray": png_file(12000, 12000, 8, 0, zeros(12001 * 12000)),
        "8000x8000 in 16 bits": png_file(8000, 8000, 16, 2, zeros(48001 * 8000)),
        "48x48 with 300 MB": png_file(48, 48, 8, 0, zeros(300_000_000)),
        "4096x4096 with 3 GB": png_file(4096, 4096, 8, 0, zeros(3_000_000_000)),
        "palette of one": png(16, small, 8, 3, chunk(b"PLTE", b"\0\0\0")),
        "over-full Huffman table": b"\xff\xd8\xff\xc4" + struct.pack(">HB", 4099, 0x10) + b"\xff" * 16 + bytes(4080) +
                                   b"\xff\xd9",
        "880 scans of 4096x4096": jpeg_of_scans(4096, 880),
        "100 scans of 4096x4096": jpeg_of_scans(4096, 100),
        "800 scans of 2048x2048": jpeg_of_scans(2048, 800),
        "a profile of 200 MB": png(16, small, 8, 0, chunk(b"iCCP", b"a\0\0" + zeros(200_000_000))) [:-20],
    }
    paths = {name: write(work + "/hostile/" + name.replace(" ", "_"), data) for name, data in cases.items()}
    given = os.environ.get("MIEN_HOSTILE") or os.environ.get("MIEN_DATA", "") + "/hostile"
    for path in sorted(glob.glob(given + "/*.png") + glob.glob(given + "/*.jpg")):
        paths[os.path.basename(path)] = path
    base = measured(face_pgm)
    # Processor time, as other tests run beside this one; a slow machine is slow with the good picture too.
    limit = 0.5 + max(0.0, base[1] - 0.1) * 3
    worst = [0, 0]
    for name, path in paths.items():
        status, seconds, kilobytes, text = measured(path)
        worst = [max(worst[0], seconds), max(worst[1], kilobytes)]
        problems = [] if status == 1 and "read_faces: " in text else ["status %s, %r" % (status, text)]
        if not sanitized:
            problems += ["%.2f s" % seconds] * (seconds > limit) + ["%d kB" % kilobytes] * (kilobytes > 120_000)
        results.check("hostile: " + name, problems)
    print("hostile: at most %.2f s and %.0f MB; the portrait %.2f s and %.0f MB" % (
        worst[0], worst[1] / 1000, base[1], base[2] / 1000), flush=True)


face = usual_case()
form_cases(face)
model_cases(face)
box_cases(face)
name_cases(face)
output_cases()
csv_cases(face)
broken_cases()
usage_cases()
drawing_cases(face)
terminal_cases()
hostile_cases()
results.finish()
