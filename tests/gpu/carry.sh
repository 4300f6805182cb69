#!/usr/bin/env bash
# Copies what glint builds from, headers and CMake's descriptions of them and one small static library, out of Debian's
# packages into a folder that can be carried to a machine without them and without internet: about 12 MB.
#   tests/gpu/carry.sh [FOLDER [TEXT]]   default: .carry, which git ignores and tests/gpu/check.sh looks for
# A build finds it by -DCMAKE_PREFIX_PATH=FOLDER. TEXT (tinyshakespeare) is what check.sh then trains on.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-.carry}
packages=(libeigen3-dev libcli11-dev nlohmann-json3-dev doctest-dev libxxhash-dev)
rm -rf "$folder"
mkdir -p "$folder"
for package in "${packages[@]}"; do
  dpkg-query -L "$package" > /dev/null 2>&1 || { echo "carry: $package is not installed: run train/setup.sh first" >&2; exit 1; }
  while read -r path; do
    case "$path" in
      /usr/share/doc/*) continue ;;
      */libxxhash.a) to=$folder/lib/libxxhash.a ;; # not the shared library: its folder has another name elsewhere
      /usr/include/* | */cmake/*) to=$folder/${path#/usr/} ;;
      *) continue ;;
    esac
    if [ ! -f "$path" ]; then continue; fi
    mkdir -p "$(dirname "$to")"
    cp -L "$path" "$to"
  done < <(dpkg-query -L "$package")
done
# Debian's description of doctest alone names /usr instead of its own place.
# shellcheck disable=SC2016 # CMake's variable
sed -i 's|set(_IMPORT_PREFIX "/usr")|get_filename_component(_IMPORT_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)|' \
  "$folder/lib/cmake/doctest/doctestTargets.cmake"
if grep -rn --include='*.cmake' '"/usr' "$folder"; then
  echo "carry: these files would be looked for in /usr" >&2
  exit 1
fi
if [ $# -ge 2 ]; then cp "$2" "$folder/text.txt"; fi
echo "carry: $(du -sm "$folder" | cut -f 1) MB in $folder"
