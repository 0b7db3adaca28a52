#!/usr/bin/env bash
# Reads every header alone with a compiler, without making code: check.sh COMPILER SOURCE_FOLDER
set -u
export compiler=$1 source=$2
check() {
  flags=(-std=c++20 -Wall -Wextra -Wconversion -Wshadow -Werror -fsyntax-only)
  if output=$("$compiler" "${flags[@]}" -I"$source/include" -I"$source/examples" -include "$1" -x c++ /dev/null 2>&1); then
    echo passed
  else
    echo "FAILED $1"
    echo "$output" | head -20
  fi
}
export -f check
result=$(cd "$source" && find include examples -name '*.hpp' -print0 | sort -z |
  xargs -0 -n 1 -P "$(nproc)" bash -c 'check "$source/$0"')
grep -v '^passed$' <<<"$result"
passed=$(grep -c '^passed$' <<<"$result")
failed=$(grep -c '^FAILED' <<<"$result")
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
