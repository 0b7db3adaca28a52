#!/usr/bin/env bash
# Form and lint of every file: tests/lint.sh [format|tidy]   (default: both)
# Form is clang-format 14's (Debian 12); tests/lint.sh fix rewrites the files. Lint is clang-tidy's over the test and
# example programs, which include every header.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
what=${1:-all}
status=0

tool() {
  command -v "$1-14" || command -v "$1" || { echo "$1 is not installed (Debian: apt-get install $1)" >&2; exit 2; }
}

mapfile -d '' files < <(find include examples tests bench \( -name '*.hpp' -o -name '*.cpp' \) -print0 | sort -z)
if [ "$what" = fix ]; then
  format=$(tool clang-format) || exit 2
  "$format" -i "${files[@]}"
fi
if [ "$what" = all ] || [ "$what" = format ]; then
  format=$(tool clang-format) || exit 2
  for file in "${files[@]}"; do
    "$format" --dry-run --Werror "$file" >/dev/null 2>&1 || { echo "not in form: $file"; status=1; }
  done
fi
if [ "$what" = all ] || [ "$what" = tidy ]; then
  tidy=$(tool clang-tidy) || exit 2
  # Configured only: without precompiled headers, which clang-tidy cannot read from another compiler.
  build=${MIEN_BUILD:-build-tidy}
  cmake --preset dev -B "$build" -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null || exit 2
  find examples tests -maxdepth 1 -name '*.cpp' -print0 | sort -z |
    xargs -0 -n 1 -P "${MIEN_JOBS:-$(nproc)}" "$tidy" -p "$build" --quiet || status=1
fi
[ "$status" -eq 0 ] && echo "lint: nothing found"
exit "$status"
