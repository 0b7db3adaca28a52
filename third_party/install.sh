# Sourced by tests/run.sh and examples/run.sh: sees what is missing and installs it through apt-get (Debian 12 and its
# relatives). Needs no network when all is there.
#
#   need_command NAME... PACKAGE      one of the commands, or the package
#   need_file PATH... PACKAGE         one of the files, or the package
#   install_missing                   installs what was noted; status 2 if that is impossible
missing_packages=()

need_command() {
  local package=${*: -1} name
  for name in "${@:1:$#-1}"; do
    command -v "$name" >/dev/null 2>&1 && return
  done
  missing_packages+=("$package")
}

need_file() {
  local package=${*: -1} path
  for path in "${@:1:$#-1}"; do
    compgen -G "$path" >/dev/null && return
  done
  missing_packages+=("$package")
}

# What every build needs. A compiler named by CXX is the caller's business.
need_build_tools() {
  [ -n "${CXX:-}" ] || need_command g++ c++ g++
  need_command cmake cmake
  need_command ninja ninja-build
  need_file /usr/{,local/}include/CLI/CLI.hpp libcli11-dev
  need_file /usr/{,local/}include/stb{,/stb}_image.h libstb-dev
  need_file /usr/{,local/}include/pugixml.hpp libpugixml-dev
  # Without these two mien's own decoder serves, which reads fewer kinds of pictures.
  need_file /usr/{,local/}include/jpeglib.h libjpeg62-turbo-dev
  need_file /usr/{,local/}include/png.h libpng-dev
}

install_missing() {
  [ ${#missing_packages[@]} -eq 0 ] && return
  local as_root=()
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "Please install first (Debian's names): ${missing_packages[*]}" >&2
    return 2
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "Neither root nor sudo. Please run: apt-get install ${missing_packages[*]}" >&2
      return 2
    fi
    as_root=(sudo)
  fi
  echo "Installing with apt-get: ${missing_packages[*]}"
  local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q --no-install-recommends "${missing_packages[@]}")
  local log
  log=$(mktemp)
  if ! "${install[@]}" </dev/null >"$log" 2>&1; then
    echo "Updating the package lists"
    if ! { "${as_root[@]}" apt-get update -q && "${install[@]}"; } </dev/null >"$log" 2>&1; then
      cat "$log" >&2
      echo "apt-get could not install: ${missing_packages[*]}" >&2
      rm -f "$log"
      return 2
    fi
  fi
  rm -f "$log"
  missing_packages=()
}
