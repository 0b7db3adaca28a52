#!/usr/bin/env bash
# What a user pays to compile the README's first program: seconds and peak memory at -O2, best of three, without ccache,
# and the size of the stripped program: from the headers alone, and with the library mien::precompiled (whose own
# compilation, once per project, is the last row). The goal is 3 s. Beside it an empty program and one with the standard
# headers that mien includes, to tell a slow machine from a slow library.
#
#   bench/compile_time.sh [COMPILER...]      (default: g++ and clang++, where installed)
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake -DREADME="$PWD/README.md" -DOUTPUT="$work/readme.cpp" -P third_party/cmake/ReadmeProgram.cmake
echo 'int main() {}' >"$work/empty.cpp"
grep -rhoE '^#include <[a-z_]+>' include/mien --include='*.hpp' | sort -u | grep -v intrin >"$work/standard.cpp"
echo 'int main() {}' >>"$work/standard.cpp"

compilers=("$@")
if [ $# -eq 0 ]; then
  for name in g++ clang++; do command -v "$name" >/dev/null && compilers+=("$name"); done
fi
printf '%-12s %-28s %8s %8s %12s\n' compiler program seconds MB 'stripped kB'
for compiler in "${compilers[@]}"; do
  for program in empty standard readme library precompiled; do
    python3 - "$compiler" "$work/$program" "$PWD/include" <<'PYTHON'
import os, resource, subprocess, sys, time

compiler, program, include = sys.argv[1:]
environment = dict(os.environ, CCACHE_DISABLE="1")
folder, name = os.path.split(program)
command = [compiler, "-std=c++20", "-O2", "-pthread", "-I" + include]
library = os.path.join(folder, "library.o")
if name == "library":
    command += ["-c", os.path.join(include, "mien/precompiled.cpp"), "-o", library]
elif name == "precompiled":
    command += ["-DMIEN_PRECOMPILED", os.path.join(folder, "readme.cpp"), library, "-o", program]
else:
    command += [program + ".cpp", "-o", program]
best = None
for _ in range(1 if name == "library" else 3):
    start = time.monotonic()
    subprocess.run(command, check=True, env=environment)
    seconds = time.monotonic() - start
    best = seconds if best is None else min(best, seconds)
# Of the largest process that the compiler driver started.
megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
size = 0
if name != "library":
    subprocess.run(["strip", program], check=True)
    size = os.path.getsize(program) / 1000
names = {"empty": "empty", "standard": "standard headers only", "readme": "the README's first program",
         "precompiled": "... with mien::precompiled", "library": "mien::precompiled, once"}
print("%-12s %-28s %8.2f %8.0f %12.0f" % (os.path.basename(compiler), names[name], best, megabytes, size))
PYTHON
  done
done
