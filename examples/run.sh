#!/usr/bin/env bash
# The main job from end to end: trains an expression network, evaluates it, adapts it to one person after another, and
# reads the expression in a photograph.
#
#   examples/run.sh                    on drawn (synthetic) faces, which need no data
#   FER2013=PATH examples/run.sh       on FER2013: its folder, fer2013.csv or icml_face_data.csv
#   FER2013=PATH FACES=DIR ...         adapts to pictures of your own: DIR/<class>/<take>-<n>.jpg
#   PHOTO=FILE examples/run.sh         reads that photograph instead of a public-domain portrait
#
# Installs what is missing first and builds in build/. Results lie in out/. MODEL and EPOCHS change what is trained on
# FER2013 (a few epochs of the plainest network, to stay within minutes); train_fer --help says what else there is.
set -eu
for path in FER2013 FACES PHOTO; do # relative to where this was called
  [ -z "${!path:-}" ] || export "$path=$(realpath -m -- "${!path}")"
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
result=out/synthetic
[ -z "${FER2013:-}" ] || result=out/fer2013
for path in FER2013 FACES PHOTO; do
  for folder in out/drawn "$result"; do
    case "${!path:-}/" in "$(pwd -P)/$folder"/*)
      echo "$path=${!path} lies in $folder, which is made anew each time: move it" >&2
      exit 2
      ;;
    esac
  done
done
. third_party/install.sh
need_build_tools
cascade=/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml
portrait=/usr/share/matplotlib/mpl-data/sample_data/grace_hopper.jpg
need_file "$cascade" opencv-data
[ -n "${PHOTO:-}" ] || need_file "$portrait" python-matplotlib-data
install_missing

say() { printf '\n== %s\n' "$*"; }

say "Building the example programs"
cmake --preset default >/dev/null
cmake --build --preset default -j "$(nproc)" --target train_fer evaluate_fer personalize read_faces
bin=build/examples

mkdir -p out
rm -rf out/drawn
"$bin/train_fer" --export-synthetic out/drawn
if [ -n "${FER2013:-}" ]; then
  data=$FER2013
  training=(--data "$data" --model "${MODEL:-atulapra}" --epochs "${EPOCHS:-3}")
  # Three epochs at its published rate, a tenth of this, would show little.
  [ -n "${MODEL:-}" ] || training+=(--learning-rate 1e-3)
  say "Training on FER2013"
else
  data=out/drawn/fer
  training=()
  say "Training on drawn faces (set FER2013=PATH for real ones)"
fi
rm -rf "$result"
"$bin/train_fer" "${training[@]}" --out "$result"

say "Evaluating on faces that were not trained on"
"$bin/evaluate_fer" --data "$data" --split PublicTest --model "$result/model.safetensors"

faces=${FACES:-out/drawn/persons}
if [ -n "${FACES:-}" ]; then say "Adapting to the pictures in $faces"; else say "Adapting to drawn persons"; fi
"$bin/personalize" --model "$result/model.safetensors" --faces "$faces" --out "$result/personal.safetensors" --shots 3

shipped=examples/models/mien-s.safetensors
reader=$result/model.safetensors
if [ -f "$shipped" ]; then
  reader=$shipped
  if [ -n "${FER2013:-}" ]; then
    say "Evaluating the network that comes with mien"
    "$bin/evaluate_fer" --data "$FER2013" --split PublicTest --model "$shipped" --ten-crop
  fi
  say "Adapting the network that comes with mien"
  "$bin/personalize" --model "$shipped" --faces "$faces" --out "$result/personal-mien-s.safetensors" --shots 3
fi
say "Reading a photograph"
"$bin/read_faces" --model "$reader" --cascade "$cascade" "${PHOTO:-$portrait}" --draw out/read_faces.png

say "Done"
echo "Report:         $PWD/$result/report.html"
echo "Model:          $PWD/$result/model.safetensors"
echo "Personal delta: $PWD/$result/personal.safetensors"
echo "Photograph:     $PWD/out/read_faces.png"
