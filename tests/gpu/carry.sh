#!/usr/bin/env bash
# Copies the libraries that a build needs (headers, their CMake files, one small static library) from Debian's packages
# into a folder, for a machine without packages and internet: about 12 MB.
#   tests/gpu/carry.sh [FOLDER [TEXT]]   default: .carry, which git ignores and tests/gpu/check.sh looks for
# A build finds it with -DCMAKE_PREFIX_PATH=FOLDER. check.sh trains on TEXT (tinyshakespeare).
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-.carry}
packages=(libeigen3-dev libcli11-dev nlohmann-json3-dev libtomlplusplus-dev doctest-dev libxxhash-dev
  libpcre2-dev zlib1g-dev)
rm -rf "$folder"
mkdir -p "$folder"
for package in "${packages[@]}"; do
  if ! dpkg-query -L "$package" > /dev/null 2>&1; then
    echo "carry: $package is not installed: run train/setup.sh first" >&2
    exit 1
  fi
  while read -r path; do
    case "$path" in
      /usr/share/doc/*) continue ;;
      # not the shared libraries, whose folder depends on the machine
      */libxxhash.a | */libpcre2-8.a | */libz.a) to=$folder/lib/${path##*/} ;;
      */cmake/tomlplusplus/*) continue ;; # names the shared library, which is not used
      /usr/include/* | */cmake/*) to=$folder/${path#/usr/} ;;
      *) continue ;;
    esac
    if [ ! -f "$path" ]; then continue; fi
    mkdir -p "$(dirname "$to")"
    cp -L "$path" "$to"
  done < <(dpkg-query -L "$package")
done
# doctest's CMake files name /usr; the others find their own folder.
# shellcheck disable=SC2016 # CMake's variable
own='get_filename_component(_IMPORT_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)'
sed -i "s|set(_IMPORT_PREFIX \"/usr\")|$own|" "$folder/lib/cmake/doctest/doctestTargets.cmake"
if grep -rn --include='*.cmake' '"/usr' "$folder"; then
  echo "carry: these CMake files still name /usr" >&2
  exit 1
fi
if [ $# -ge 2 ]; then cp "$2" "$folder/text.txt"; fi
echo "carry: $(du -sm "$folder" | cut -f 1) MB in $folder"
