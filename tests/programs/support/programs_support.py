"""What the tests of the programs share: running a program, counting, faces, and safetensors files in plain Python.

The folder with the built programs is the first argument of each test, or stands in $MIEN_BIN.
"""
import json
import os
import resource
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

SKIPPED = 77  # ctest's exit status for a test that could not run
CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
SIDE = 48


def skip_all(why):
    print("skipped: " + why)
    sys.exit(SKIPPED)


def bin_folder():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MIEN_BIN", "")
    for name in ("train_fer", "evaluate_fer", "personalize"):
        if not os.path.isfile(os.path.join(folder, name)):
            skip_all("no program %s in '%s'; give the folder with the built programs" % (name, folder))
    return os.path.abspath(folder)


BIN = bin_folder()


class Results:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.started = time.time()

    def check(self, name, problems):
        """`problems`: a list of what is wrong, or a truth value."""
        if problems is True:
            problems = []
        elif problems is False:
            problems = ["is not so"]
        if problems:
            self.failed += 1
            print("FAILED %s: %s" % (name, "; ".join(problems)), flush=True)
        else:
            self.passed += 1
        return not problems

    def skip(self, name, why):
        self.skipped += 1
        print("skipped: %s: %s" % (name, why), flush=True)

    def finish(self):
        print("%.0f s" % (time.time() - self.started))
        skipped = ", %d skipped" % self.skipped if self.skipped else ""
        print("%d passed, %d failed%s" % (self.passed, self.failed, skipped))
        sys.exit(1 if self.failed or not self.passed else 0)


class Run:
    """One finished run of a program."""

    def __init__(self, status, out, err, seconds, processor, command):
        self.status, self.out, self.err, self.command = status, out, err, command
        self.seconds, self.processor = seconds, processor  # on the clock; of the processor, which other work leaves alone

    def json(self):
        """The last line of standard output, which must be one JSON object."""
        value = json.loads(self.out.splitlines()[-1])
        assert isinstance(value, dict)
        return value

    def words(self):
        return "`%s` gave status %s and %r" % (" ".join(self.command), self.status, self.err.strip()[-600:])


def run(program, *arguments, wrapper=(), timeout=1200, folder=None, **options):
    path = os.path.join(folder or BIN, program)
    command = [*wrapper, path, *(str(a) for a in arguments)]
    started, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              timeout=timeout, **options)
        status, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        status, out, err = "no end after %d s" % timeout, late.stdout or b"", late.stderr or b""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(status, out.decode(errors="replace"), err.decode(errors="replace"), time.time() - started,
               after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, [program, *command[len(wrapper) + 1:]])


def must(finished):
    """Ends the test when a run that the others stand on has failed."""
    if finished.status != 0:
        print("FAILED: " + finished.words())
        print("0 passed, 1 failed")
        sys.exit(1)
    return finished


def work_folder():
    """A new folder that is removed at the end of the test."""
    import atexit
    folder = tempfile.mkdtemp(prefix="mien_programs_")
    os.chmod(folder, 0o755)  # others may look: some runs are another user's
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# Faces ---------------------------------------------------------------------------------------------------------------

def read_pgm(path):
    with open(path, "rb") as file:
        data = file.read()
    header = re.match(rb"P5\n(#[^\n]*\n)*48 48\n255\n", data)
    assert header and len(data) == header.end() + SIDE * SIDE, path
    return data[header.end():]


def pgm(pixels, width=SIDE, height=SIDE):
    return b"P5\n%d %d\n255\n" % (width, height) + bytes(pixels)


def faces_of(folder):
    """All faces of a FER2013-like folder of PGM files: (label, split, pixels)."""
    faces = []
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            label = CLASSES.index(os.path.basename(base))
            faces.append((label, name.split("_")[0], read_pgm(os.path.join(base, name))))
    return faces


def few(faces, training, validation):
    """The first so many faces of each class and split."""
    kept, counts = [], {}
    for label, split, pixels in faces:
        n = counts[label, split] = counts.get((label, split), 0) + 1
        if n <= (training if split == "Training" else validation):
            kept.append((label, split, pixels))
    return kept


def write_folder(faces, folder):
    for i, (label, split, pixels) in enumerate(faces):
        where = os.path.join(folder, "train" if split == "Training" else "test", CLASSES[label])
        os.makedirs(where, exist_ok=True)
        with open(os.path.join(where, "%s_%d.pgm" % (split, i)), "wb") as file:
            file.write(pgm(pixels))


def csv_rows(faces, columns=("emotion", "pixels", "Usage")):
    rows = [",".join(columns)]
    for label, split, pixels in faces:
        values = {"emotion": str(label), "pixels": " ".join(map(str, pixels)), "usage": split}
        rows.append(",".join(values[name.strip().lower()] for name in columns))
    return rows


def write_csv(path, rows, end="\n", mark=b""):
    with open(path, "wb") as file:
        file.write(mark + "".join(row + end for row in rows).encode())


def synthetic(folder, persons=40):
    """Drawn faces: folder/fer and folder/persons. Returns those of fer."""
    must(run("train_fer", "--export-synthetic", folder, "--persons", persons, "--seed", 5))
    return faces_of(os.path.join(folder, "fer"))


# safetensors ---------------------------------------------------------------------------------------------------------

def read_safetensors(path):
    """(metadata, {name: (dtype, shape, bytes)})."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    body = data[8 + size:]
    return metadata, {name: (t["dtype"], t["shape"], body[t["data_offsets"][0]:t["data_offsets"][1]])
                      for name, t in header.items()}


def write_safetensors(path, metadata, tensors):
    header, body = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def floats(data):
    return struct.unpack("<%df" % (len(data) // 4), data)
