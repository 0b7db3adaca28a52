#!/usr/bin/env bash
# Measures mien beside its peers, and rewrites the report of this kind of processor, bench/RESULTS-KIND.md, and the
# overview of all kinds, bench/RESULTS.md.
#
#   bench/run.sh [--quick] [--output FILE] [PART...]
#
# Parts: convolution layers eigen (beside oneDNN and Eigen), training inference memory epoch augmentation threads flags
# (bench/peers/compare.py), compile (bench/compile_time.sh), cascade (beside OpenCV, where that is installed). All of
# them without arguments, on a machine that has nothing else to do. What a part has measured is kept in
# build-bench/results, for each kind of processor, so parts can be repeated one by one; the file is made of all that lies
# there.
#
# --output names another file, seen from the project's root.
#
# --quick takes 3 turns instead of 15, and shorter ones, and writes build-bench/RESULTS-quick.md: to see whether everything
# works, not for its figures.
#
# Installs what is missing: Debian packages through apt-get, and PyTorch and ONNX Runtime from PyPI in a folder of their
# own, build-bench/python. MIEN_PYTHON names a Python that has them already (torch, onnx, onnxscript, onnxruntime).
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
field() { awk -F ': *' -v name="$1" '$1 ~ "^" name "[ \t]*$" { print $2; exit }' /proc/cpuinfo; }
has() { field flags | grep -qw "$1"; }
quick=0 output=
results=build-bench/results/$(field 'cpu family')-$(field model)
parts=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 results=build-bench/results/quick ;;
    --output) output=${2:?"--output FILE"} && shift ;;
    convolution | layers | eigen | training | inference | memory | epoch | augmentation | threads | flags | compile | cascade)
      parts+=("$1") ;;
    *) sed -n '2,/^set/{/^#/p}' bench/run.sh >&2 && exit 2 ;;
  esac
  shift
done
if [ -n "$output" ]; then
  :
elif [ $quick -eq 1 ]; then
  output=build-bench/RESULTS-quick.md
elif has amx_bf16; then
  output=bench/RESULTS-amx.md
elif has avx512_bf16 && grep -q GenuineIntel /proc/cpuinfo; then # whose dot products are slow
  output=bench/RESULTS-avx512-bf16-intel.md
elif has avx512_bf16; then
  output=bench/RESULTS-avx512-bf16.md
elif has avx512f; then
  output=bench/RESULTS-avx512.md
else
  output=bench/RESULTS-avx2.md
fi
[ ${#parts[@]} -gt 0 ] ||
  parts=(convolution layers eigen training inference memory epoch augmentation threads flags compile cascade)
wanted() {
  local part
  for part in "${parts[@]}"; do
    [[ " $* " == *" $part "* ]] && return
  done
  return 1
}
say() { printf '\n== %s\n' "$*"; }

. third_party/install.sh
need_build_tools
need_file /usr/{,local/}include/benchmark/benchmark.h libbenchmark-dev
need_file /usr/{,local/}include/eigen3/Eigen/Core libeigen3-dev
need_file /usr/{,local/}include/oneapi/dnnl/dnnl.hpp libdnnl-dev
need_command python3 python3
# For orientation: how long dlib takes to find faces, and to compile.
if wanted cascade compile; then
  need_file /usr/{,local/}include/dlib/dnn.h libdlib-dev
  # dlib's own package leaves the choice of a BLAS to the user.
  need_file '/usr/lib/*/openblas*/libblas.so' libopenblas-dev
fi
if wanted compile; then
  # mlpack is not in every release of Debian.
  apt-cache show libmlpack-dev >/dev/null 2>&1 && need_file /usr/{,local/}include/mlpack.hpp libmlpack-dev
fi
python=${MIEN_PYTHON:-build-bench/python/bin/python3}
if wanted training inference memory && [ ! -x "$python" ] && [ -z "${MIEN_PYTHON:-}" ]; then
  need_file '/usr/lib/python3*/ensurepip/__init__.py' python3-venv
fi
install_missing || exit 2
if wanted training inference memory && ! "$python" -c 'import torch, onnx, onnxscript, onnxruntime' 2>/dev/null; then
  if [ -n "${MIEN_PYTHON:-}" ]; then
    echo "$MIEN_PYTHON lacks one of torch, onnx, onnxscript, onnxruntime" >&2
    exit 2
  fi
  say "Installing PyTorch and ONNX Runtime in build-bench/python"
  python3 -m venv build-bench/python &&
    build-bench/python/bin/pip install --quiet --disable-pip-version-check torch numpy onnx onnxscript onnxruntime ||
    exit 2
fi

say "Building"
build() { # FOLDER [ARGUMENTS OF CMAKE]
  cmake --preset bench -B "$@" >/dev/null && cmake --build "$1" -j "${MIEN_JOBS:-$(nproc)}" --target "${targets[@]}" || exit 2
}
mkdir -p "$results"
revision=$(git describe --always --dirty 2>/dev/null || echo unknown)
targets=(step_bench onednn_bench onednn_layers_bench conv2d_bench)
has_cascade=0
if wanted cascade && cmake --preset bench 2>/dev/null | grep "cascade_bench left out" >/dev/null; then
  echo "cascade_bench left out: OpenCV is not installed (libopencv-dev)"
elif wanted cascade; then
  has_cascade=1
  targets+=(cascade_bench)
fi
build build-bench
if wanted eigen flags; then
  targets=(step_bench conv2d_bench)
  # g++ 12 takes undefined vectors in its own headers for uninitialized ones.
  build build-bench/native "-DCMAKE_CXX_FLAGS_RELEASE=-O3 -march=native -Wno-uninitialized -Wno-maybe-uninitialized"
fi

{
  package() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo unknown; }
  printf 'processor\t%s, family %s, model %s\n' "$(field 'model name')" "$(field 'cpu family')" "$(field model)"
  printf 'cores\t%s\n' "$(nproc)"
  isas=$(field flags | tr ' ' '\n' | grep -xE 'avx2|fma|avx512(f|bw|dq|vl|_bf16|_fp16)|amx_(tile|bf16|int8)' | tr '\n' ' ')
  printf 'instruction sets\t%s\n' "$isas"
  printf 'memory\t%s GB\n' "$(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)"
  printf 'system\t%s, Linux %s\n' "$(. /etc/os-release && echo "$PRETTY_NAME")" "$(uname -r | cut -d- -f1)"
  printf 'compiler\t%s, `-O2`\n' "$("${CXX:-c++}" --version | head -n 1)"
  printf 'peers\toneDNN %s, Eigen %s' "$(package libdnnl-dev)" "$(package libeigen3-dev)"
  if [ -x "$python" ]; then
    "$python" -c 'import torch, onnxruntime
print(", PyTorch %s, ONNX Runtime %s" % (torch.__version__, onnxruntime.__version__), end="")' 2>/dev/null
  fi
  printf '\n'
  printf 'date\t%s\n' "$(date -u +%Y-%m-%d)"
  printf 'load when it began\t%s\n' "$(cut -d ' ' -f 1 /proc/loadavg)"
  if [ $quick -eq 1 ]; then printf '**quick**\tfewer and shorter turns: these figures mean little\n'; fi
} >"$results/machine.tsv"

turns=15 seconds=1 repeat=3
if [ $quick -eq 1 ]; then turns=3 seconds=0.2 repeat=1; fi
export MIEN_BENCH_TURNS=$turns
status=0
failed() {
  echo "$1 failed" >&2
  status=1
}
keep() { # RESULT: RESULT.new takes its place, of this revision
  mv "$results/$1.new" "$results/$1" && echo "$revision" >"$results/$1.revision"
}
benchmark() { # RESULT PROGRAM [ARGUMENTS]
  local name=$1
  shift
  "$@" --benchmark_out="$results/$name.new" --benchmark_out_format=json >/dev/null 2>"$results/errors" &&
    keep "$name" || { cat "$results/errors" >&2 && failed "$1"; }
  rm -f "$results/errors"
}
# A group of 21 and a portrait, where Debian's libdlib19.1 and python3-skimage put them; otherwise the cascade gets
# pictures without faces.
pictures=()
group=$(compgen -G '/usr/share/doc/libdlib*/examples/faces/bald_guys.jpg' | head -n 1)
[ -z "$group" ] || pictures+=(--group "$group" --large "$group")
portrait=/usr/lib/python3/dist-packages/skimage/data/astronaut.png
[ ! -e "$portrait" ] || pictures+=(--single "$portrait")
bin=build-bench/bench
native=build-bench/native/bench
for part in "${parts[@]}"; do
  say "$part"
  case $part in
    convolution)
      benchmark onednn.json $bin/onednn_bench
      MIEN_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 benchmark onednn_avx2.json $bin/onednn_bench --benchmark_filter='^fp32/'
      ;;
    layers)
      benchmark layers.json $bin/onednn_layers_bench
      MIEN_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 benchmark layers_avx2.json $bin/onednn_layers_bench \
        --benchmark_filter='^fp32/'
      ;;
    eigen)
      benchmark eigen.json $bin/conv2d_bench --benchmark_filter='^fp32/'
      benchmark eigen_native.json $native/conv2d_bench --benchmark_filter='^fp32/'
      ;;
    compile)
      rm -f "$results/compile.tsv.new"
      bench/compile_time.sh --tsv "$results/compile.tsv.new" --repeat $repeat && keep compile.tsv || failed compile
      ;;
    cascade)
      [ $has_cascade -eq 0 ] || benchmark cascade.json $bin/cascade_bench "${pictures[@]}"
      ;;
    *)
      options=(--turns $turns --seconds $seconds --mien $bin/step_bench --python "$python")
      [ "$part" != flags ] || options+=(--native $native/step_bench)
      rm -f "$results/peers-$part.json.new"
      # One that fails half way has rows all the same, and the report says that it is not complete.
      python3 bench/peers/compare.py "${options[@]}" --output "$results/peers-$part.json.new" "$part" || failed "$part"
      [ ! -e "$results/peers-$part.json.new" ] || keep "peers-$part.json"
      ;;
  esac
  python3 bench/peers/report.py "$results" "$output" || failed report
done
reports=()
for kind in amx avx512-bf16 avx512-bf16-intel avx512 avx2; do
  [ ! -e bench/RESULTS-$kind.md ] || reports+=("bench/RESULTS-$kind.md")
done
python3 bench/peers/overview.py bench/RESULTS.md "${reports[@]}" || failed overview
say "Results: $output"
exit $status
