#!/usr/bin/env bash
# Installs what is missing, builds everything (preset dev unless another is named) and runs all tests.
#
#   tests/run.sh [dev|asan|tsan] [arguments of ctest, such as -R conv2d]
#
# Closes with "N passed, N failed[, N skipped]". Test cases are counted where a test tells how many it has, else the test.
# Exit status 0 only if nothing failed. CXX names another compiler, MIEN_BUILD another build folder, MIEN_PYTHON a Python
# that has PyTorch; MIEN_FER2013 and MIEN_DATA are data sets outside the repository that some tests use.
set -u
for path in MIEN_FER2013 MIEN_DATA MIEN_HOSTILE; do # relative to where this was called
  [ -z "${!path:-}" ] || export "$path=$(realpath -m -- "${!path}")"
done
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
preset=dev
case "${1:-}" in
  dev | asan | tsan) preset=$1 && shift ;;
  -h | --help) sed -n '2,/^set/{/^#/p}' tests/run.sh && exit ;;
esac
build=${MIEN_BUILD:-build-$preset}
jobs=${MIEN_JOBS:-$(nproc)}
started=$SECONDS

fail_early() {
  echo "$1" >&2
  echo "0 passed, 1 failed"
  exit 1
}

. third_party/install.sh
need_build_tools
need_file /usr/{,local/}include/doctest/doctest.h doctest-dev
need_file /usr/{,local/}include/eigen3/Eigen/Core libeigen3-dev
need_file /usr/{,local/}include/benchmark/benchmark.h libbenchmark-dev
need_file /usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml opencv-data
need_command pkg-config pkgconf pkg-config
need_file /usr/share/matplotlib/mpl-data/sample_data/grace_hopper.jpg python-matplotlib-data
need_command python3 python3
need_command strace strace
install_missing || fail_early "could not install what is missing"

cmake --preset "$preset" -B "$build" ${MIEN_PYTHON:+-DMIEN_PYTHON="$MIEN_PYTHON"} >/dev/null </dev/null || fail_early "could not configure $build"
# One broken program must not hide what the others have to say.
cmake --build "$build" -j "$jobs" -- -k 0 </dev/null
build_status=$?
[ "$build_status" -eq 0 ] || echo "The build failed: what could not be built counts as failed." >&2
echo "Built in $((SECONDS - started)) s"

# The output of each test is kept, and shown when the test fails; lines "N passed, N failed" in it are its count.
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
ctest --test-dir "$build" --verbose -j "$jobs" "$@" </dev/null 2>&1 | awk -v summary="$summary" '
  /^ *[0-9]+: / {
    id = $1 + 0
    line = $0
    sub(/^ *[0-9]+: /, "", line)
    if (line ~ /^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/) {
      split(line, word, /[ ,]+/)
      counted[id] = 1; passed[id] = word[1]; failed[id] = word[3]; skipped[id] = word[5]
    }
    if (line ~ /^(Test command|Working Directory|Test timeout computed to be): /) next
    if (line ~ /(^|[^a-z])skipped: /) { sub(/.*skipped: /, "", line); why[id] = why[id] "\n      skipped: " line }
    else output[id] = output[id] "      " line "\n"
    next
  }
  /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
    text = $0
    sub(/^.*Test +#/, "", text)
    id = text + 0
    state = "failed"
    if (text ~ /\*\*\*Skipped/) state = "skipped"
    else if (text ~ / Passed +[0-9.]+ sec/) state = "passed"
    if (!counted[id]) { passed[id] = state == "passed"; failed[id] = state == "failed"; skipped[id] = state == "skipped" }
    if (state == "failed" && failed[id] == 0) failed[id] = 1
    all_passed += passed[id]; all_failed += failed[id]; all_skipped += skipped[id]
    gsub(/ +[.][.*]*/, " ", text)
    gsub(/ (Passed|Failed) +/, " ", text)
    sub(/^[0-9]+: /, "", text)
    sub(/Not Run/, "not built", text)
    gsub(/ +/, " ", text)
    print "  " state ": " text why[id]
    if (state == "failed") printf "%s", output[id]
    delete output[id]
    fflush()
    next
  }
  /^No tests were found/ { all_failed += 1; print }
  END { print all_passed + 0, all_failed + 0, all_skipped + 0 > summary }'

read -r passed failed skipped <"$summary"
[ "$build_status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
[ "$((passed + failed))" -gt 0 ] || failed=1
echo "$((SECONDS - started)) s in all"
line="$passed passed, $failed failed"
[ "$skipped" -eq 0 ] || line="$line, $skipped skipped"
echo "$line"
[ "$failed" -eq 0 ]
