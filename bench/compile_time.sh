#!/usr/bin/env bash
# What a user pays to compile the README's first program: seconds (on the clock, and of the processor, to which other work
# on the machine does not count) and peak memory at -O2, best of three, without ccache, and the size of the stripped
# program: from the headers alone, and with the library mien::precompiled (whose own
# compilation, once per project, is a row too). The goals are 3 s, 400 MB, 400 kB. Beside it an empty program and one
# with the standard headers that mien includes, to tell a slow machine from a slow library; and the same network and
# training written for dlib and mlpack (bench/peers/readme_*.cpp), where these are installed: libdlib-dev, libmlpack-dev.
# Their libraries are linked dynamically, so that a size is that of the program alone.
#
#   bench/compile_time.sh [--tsv FILE] [--repeat N] [COMPILER...]      (default: g++ and clang++, where installed)
#
# --tsv writes the figures to FILE as well, separated by tabs.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tsv=/dev/null repeat=3
while [ $# -gt 0 ]; do
  case $1 in
    --tsv) tsv=$2 && shift 2 ;;
    --repeat) repeat=$2 && shift 2 ;;
    *) break ;;
  esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake -DREADME="$PWD/README.md" -DOUTPUT="$work/readme.cpp" -P third_party/cmake/ReadmeProgram.cmake
echo 'int main() {}' >"$work/empty.cpp"
grep -rhoE '^#include <[a-z_]+>' include/mien --include='*.hpp' | sort -u | grep -v intrin >"$work/standard.cpp"
echo 'int main() {}' >>"$work/standard.cpp"
programs=(empty standard readme library precompiled)
cp bench/peers/readme_dlib.cpp "$work/dlib.cpp"
cp bench/peers/readme_mlpack.cpp "$work/mlpack.cpp"
for peer in dlib/dnn.h mlpack.hpp; do
  name=${peer%%[/.]*}
  if [ -e "/usr/include/$peer" ] || [ -e "/usr/local/include/$peer" ]; then
    programs+=("$name")
  else
    echo "$name left out: lib$name-dev is not installed"
  fi
done

compilers=("$@")
if [ $# -eq 0 ]; then
  for name in g++ clang++; do command -v "$name" >/dev/null && compilers+=("$name"); done
fi
printf '%-12s %-28s %8s %9s %8s %12s\n' compiler program seconds processor MB 'stripped kB'
for compiler in "${compilers[@]}"; do
  for program in "${programs[@]}"; do
    python3 - "$compiler" "$work/$program" "$PWD/include" "$tsv" "$repeat" <<'PYTHON'
import os, resource, subprocess, sys, time

compiler, program, include, tsv, repeat = sys.argv[1:]
environment = dict(os.environ, CCACHE_DISABLE="1")
folder, name = os.path.split(program)
command = [compiler, "-std=c++20", "-O2", "-pthread"]
library = os.path.join(folder, "library.o")
if name == "library":
    command += ["-ffunction-sections", "-fdata-sections", "-I" + include]
    command += ["-c", os.path.join(include, "mien/precompiled.cpp"), "-o", library]
elif name == "precompiled":
    command += ["-I" + include, "-DMIEN_PRECOMPILED", os.path.join(folder, "readme.cpp"), library]
    command += ["-Wl,--gc-sections", "-o", program]
elif name == "dlib":
    command += [program + ".cpp", "-o", program, "-ldlib", "-lblas", "-llapack"]
elif name == "mlpack":
    command += ["-fopenmp", program + ".cpp", "-o", program, "-larmadillo"]
else:
    command += ["-I" + include, program + ".cpp", "-o", program]
def processor():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


clock, busy = [], []
for _ in range(1 if name == "library" else int(repeat)):
    start, before = time.monotonic(), processor()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    clock.append(time.monotonic() - start)
    busy.append(processor() - before)
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-4000:])
        if name in ("dlib", "mlpack"):
            print("%-12s %-28s could not be compiled" % (os.path.basename(compiler), name))
            sys.exit(0)
        sys.exit("could not compile " + name)
# Of the largest process that the compiler driver started.
megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
size = 0
if name != "library":
    subprocess.run(["strip", program], check=True)
    size = os.path.getsize(program) / 1000
names = {"empty": "empty", "standard": "standard headers only", "readme": "the README's first program",
         "precompiled": "... with mien::precompiled", "library": "mien::precompiled, once",
         "dlib": "the same with dlib", "mlpack": "the same with mlpack"}
row = (os.path.basename(compiler), names[name], min(clock), min(busy), megabytes, size)
print("%-12s %-28s %8.2f %9.2f %8.0f %12.0f" % row, flush=True)
with open(tsv, "a", encoding="utf-8") as file:
    print("%s\t%s\t%.2f\t%.2f\t%.0f\t%.0f" % row, file=file)
PYTHON
  done
done
