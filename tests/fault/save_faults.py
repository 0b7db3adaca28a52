#!/usr/bin/env python3
"""Saving under faults: whatever fails, the old or the new file loads, bit for bit.

    save_faults.py PROGRAM        # PROGRAM: tests/fault/save_program.cpp, compiled

Every call that saving makes is made to fail (strace injection), once and for ever, or to kill the process; the disk is
made too small (a tmpfs), the file size limited, and the process killed at random moments. Afterwards

- the file is the old version or the new one; the new one if saving reported success;
- saving reported success, or an error by its exit status and on standard error;
- nothing lies beside the file, except after a kill, and then the next save removes it.

What this machine does not allow is skipped and said so. Ends with "N passed, M failed, K skipped".
"""
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1])
CALLS = ["openat", "fallocate", "write", "fsync", "close", "rename", "fchmod", "lseek"]
ERRORS = ["EIO", "ENOSPC", "EDQUOT", "EINTR"]
passed, failed, skipped = 0, 0, 0


def result(name, problems):
    global passed, failed
    if problems:
        failed += 1
        print("FAILED %s: %s" % (name, "; ".join(problems)))
    else:
        passed += 1


def skip(name, why):
    global skipped
    skipped += 1
    print("skipped %s: %s" % (name, why))


def save(path, version, elements=2000, wrapper=(), **options):
    command = [*wrapper, PROGRAM, "save", path, str(version), str(elements)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def version_of(path):
    """The version in a file; "none" if there is no file; None if it is neither old nor new."""
    if not os.path.lexists(path):
        return "none"
    run = subprocess.run([PROGRAM, "check", path], capture_output=True, text=True, timeout=60)
    return run.stdout.strip() if run.returncode == 0 else None


def judge(path, run, old, new, killed=False, mute=False):
    """What is wrong after a save of `new` over `old` (both as strings). `mute`: it cannot even write its error."""
    problems = []
    version = version_of(path)
    if version not in (old, new):
        problems.append("the file is neither old nor new")
    if run.returncode == 0 and version != new:
        problems.append("success was reported, but the file is version %s" % version)
    if run.returncode != 0 and not killed and not mute and not run.stderr.strip():
        problems.append("failed without a word")
    rest = [name for name in os.listdir(os.path.dirname(path)) if name != os.path.basename(path)]
    if rest and not killed:
        problems.append("left behind: %s" % rest)
    if killed:
        if save(path, new).returncode != 0 or version_of(path) != new:
            problems.append("the next save failed")
        rest = [name for name in os.listdir(os.path.dirname(path)) if name != os.path.basename(path)]
        if rest:
            problems.append("not removed by the next save: %s" % rest)
    return problems


def with_folder(body):
    folder = tempfile.mkdtemp(prefix="mien_faults_")
    try:
        body(os.path.join(folder, "model.safetensors"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def strace_works():
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-qq", "-o", os.devnull, "-e", "trace=write", "-e", "inject=write:error=EIO:when=1", "true"]
    return subprocess.run(probe, capture_output=True).returncode == 0


def inject(call, what):
    return ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=" + call, "-e", "inject=%s:%s" % (call, what)]


def count_calls(path, call, replaces):
    """How often one save makes this call (starting the program included)."""
    if not replaces and os.path.exists(path):
        os.unlink(path)
    log = path + ".log"
    save(path, 1, wrapper=["strace", "-f", "-qq", "-o", log, "-e", "trace=" + call])
    with open(log) as lines:
        count = sum(1 for line in lines if re.search(r"\b%s\(" % call, line))
    os.unlink(log)
    return count


def strace_matrix(path):
    for replaces in (True, False):
        old = "1" if replaces else "none"

        def prepare():
            for name in os.listdir(os.path.dirname(path)):
                os.unlink(os.path.join(os.path.dirname(path), name))
            if replaces:
                assert save(path, 1).returncode == 0

        for call in CALLS:
            prepare()
            count = count_calls(path, call, replaces)
            for error in ERRORS:
                for when in [str(n) for n in range(1, count + 1)] + ["1+"]:
                    prepare()
                    run = save(path, 2, wrapper=inject(call, "error=%s:when=%s" % (error, when)))
                    problems = judge(path, run, old, "2", mute=call == "write" and when == "1+")
                    # An interrupted call is no failure (of the calls that starting a program does not make).
                    if error == "EINTR" and when == "1" and call in ("fallocate", "fsync", "write"):
                        if run.returncode != 0:
                            problems.append("gave up when interrupted: " + run.stderr.strip())
                    if error != "EINTR" and call in ("fallocate", "write") and run.returncode == 0:
                        problems.append("did not report the error")
                    if error != "EINTR" and call == "fsync" and when == "1" and version_of(path) != old:
                        problems.append("replaced the file though flushing failed")
                    result("%s %s %s (%s)" % (call, error, when, "replacing" if replaces else "new"), problems)
            for when in range(1, count + 1):
                prepare()
                run = save(path, 2, wrapper=inject(call, "signal=KILL:when=%d" % when))
                problems = judge(path, run, old, "2", killed=True)
                if run.returncode == 0:
                    problems.append("was not killed")
                result("%s kill %d (%s)" % (call, when, "replacing" if replaces else "new"), problems)


def order(path):
    """Durable means: all bytes are written, then the file flushed, then renamed, then the folder flushed."""
    save(path, 1)
    log = path + ".log"
    save(path, 2, wrapper=["strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=write,fsync,rename"])
    with open(log) as lines:
        calls = [re.search(r"\b(write|fsync|rename)\((.*)", line).groups() for line in lines]
    os.unlink(log)
    names = [call for call, _ in calls]
    problems = [] if names == ["write"] * (len(names) - 3) + ["fsync", "rename", "fsync"] else ["order: %s" % names]
    if not problems and not (".tmp>" in calls[-3][1] and os.path.dirname(path) + ">" in calls[-1][1]):
        problems = ["flushed: %s, %s" % (calls[-3][1], calls[-1][1])]
    result("order of the calls", problems)


def random_kills(path):
    started = time.time()
    save(path, 1, elements=1_000_000)
    seconds = time.time() - started
    generator = random.Random(1)
    for i in range(20):
        for name in os.listdir(os.path.dirname(path)):
            os.unlink(os.path.join(os.path.dirname(path), name))
        save(path, 1)
        process = subprocess.Popen([PROGRAM, "save", path, "2", "1000000"], stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(0, 1.2 * seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        run = subprocess.CompletedProcess([], process.returncode, "", "killed")
        result("kill at a random moment %d" % i, judge(path, run, "1", "2", killed=True))


def small_disk(path):
    folder = os.path.dirname(path)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode != 0:
        return skip("small disk", "mounting a tmpfs is not permitted here")
    try:
        # 120 kB stand; 160 kB do not fit beside them (though they would fit instead).
        save(path, 1, elements=30_000)
        run = save(path, 2, elements=40_000)
        problems = judge(path, run, "1", "2")
        if run.returncode == 0 or "free some space" not in run.stderr:
            problems.append("no fitting error: " + run.stderr.strip())
        result("small disk", problems)
        run = save(path, 3, elements=20_000)
        result("small disk, fitting", judge(path, run, "1", "3") + ([] if run.returncode == 0 else [run.stderr.strip()]))
        # Full to the last page by another's file: not even the temporary's first page can be had.
        with open(os.path.join(folder, "full"), "wb", buffering=0) as other:
            try:
                while True:
                    other.write(b"x" * 4096)
            except OSError:
                pass
        run = save(path, 4, elements=1000)
        problems = [p for p in judge(path, run, "3", "4") if p != "left behind: ['full']"]
        result("full disk", problems + ([] if run.returncode else ["reported success"]))
    finally:
        subprocess.run(["umount", folder], capture_output=True)


def size_limit(path):
    save(path, 1, elements=1000)

    def limit(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    for size in (0, 1, 1024, 65536, 80_000):
        run = save(path, 2, elements=20_000, preexec_fn=limit(size))
        problems = judge(path, run, "1", "2")
        if run.returncode != 1 or "ulimit -f" not in run.stderr:
            problems.append("status %d, %s" % (run.returncode, run.stderr.strip()))
        result("file size limit %d" % size, problems)
    run = save(path, 2, elements=20_000, preexec_fn=limit(100_000))
    result("file size limit that fits", judge(path, run, "1", "2") + ([] if run.returncode == 0 else [run.stderr.strip()]))


with_folder(size_limit)
with_folder(random_kills)
with_folder(small_disk)
if strace_works():
    with_folder(order)
    with_folder(strace_matrix)
else:
    skip("injected faults", "strace is missing or may not trace here")
print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
sys.exit(1 if failed or not passed else 0)
