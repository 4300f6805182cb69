#!/usr/bin/env bash
# Installs the Debian packages that glint needs and that are missing; prints nothing if none is.
#   train/setup.sh        for the build and its tests
#   train/setup.sh --ci   and for .ci/run: clang with its OpenMP and sanitizer runtimes, clang-format
# Without root rights it prints the command to run, and fails.
set -euo pipefail

needed=(cmake ninja-build g++ libeigen3-dev libcli11-dev nlohmann-json3-dev libtomlplusplus-dev libxxhash-dev
  libpcre2-dev zlib1g-dev doctest-dev)
wanted=(libdnnl-dev libgloo-dev)  # optional: faster matrix products; several ranks on CPUs
case "${1:-}" in
  "") ;;
  # llvm: line numbers in the sanitizers' reports
  --ci) needed+=(clang libomp-dev libclang-rt-dev llvm iproute2 clang-format-14) ;;
  *) echo "usage: train/setup.sh [--ci]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  cat >&2 <<'TEXT'
setup: this is not a Debian system, so nothing is installed for you. glint needs: a C++20 compiler with OpenMP
setup: (g++ 12 or clang 14), CMake 3.25, Ninja, Eigen 3.4, CLI11 2.1, nlohmann-json 3.10, toml++ 3, xxHash 0.8,
setup: PCRE2 10.32, zlib, doctest 2.4; and, for speed, oneDNN 2.6; for several ranks on CPUs, Gloo.
TEXT
  exit 0  # CMake names what it does not find
fi

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]; }

# A tool counts as present if it runs, wherever it came from.
present() {
  case "$1" in
    cmake | g++) command -v "$1" > /dev/null ;;
    ninja-build) command -v ninja > /dev/null ;;
    *) installed "$1" ;;
  esac
}

missing=() missing_wanted=()
for package in "${needed[@]}"; do present "$package" || missing+=("$package"); done
for package in "${wanted[@]}"; do present "$package" || missing_wanted+=("$package"); done
all=("${missing[@]}" "${missing_wanted[@]}")
[ ${#all[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  if [ ${#missing[@]} -eq 0 ]; then
    echo "setup: for faster matrix products or several ranks on CPUs: sudo apt-get install -y ${all[*]}" >&2
    exit 0
  fi
  echo "setup: packages are missing. Run this, then try again:" >&2
  echo "  sudo apt-get install -y ${all[*]}" >&2
  exit 1
fi

echo "setup: installing ${all[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" < /dev/null > /dev/null; }
apt-get update -qq < /dev/null || echo "setup: using the package lists as they are" >&2
if [ ${#missing[@]} -gt 0 ] && ! install "${missing[@]}"; then
  echo "setup: could not install ${missing[*]}: see apt-get's message above" >&2
  exit 1
fi
if [ ${#missing_wanted[@]} -gt 0 ] && ! install "${missing_wanted[@]}"; then
  echo "setup: continuing without ${missing_wanted[*]}: slower matrix products, or no several ranks on CPUs" >&2
fi
