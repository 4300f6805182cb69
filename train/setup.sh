#!/usr/bin/env bash
# Installs the Debian packages that glint builds from, those that are missing; says nothing when all are there.
#   train/setup.sh        what a build and its tests need
#   train/setup.sh --ci   and what .ci/run needs: clang with its OpenMP and sanitizer runtimes
# Without root rights it prints the one line to run, and fails.
set -euo pipefail

needed=(cmake ninja-build g++ libeigen3-dev libcli11-dev nlohmann-json3-dev libxxhash-dev doctest-dev)
wanted=(libdnnl-dev libgloo-dev)  # faster matrix products; several ranks on CPUs; glint builds without them
case "${1:-}" in
  "") ;;
  # llvm: line numbers in sanitizers' reports
  --ci) needed+=(clang libomp-dev libclang-rt-dev llvm) ;;
  *) echo "usage: train/setup.sh [--ci]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  cat >&2 <<'TEXT'
setup: this is not a Debian system, so nothing is installed for you. glint needs: a C++20 compiler with OpenMP
setup: (g++ 12 or clang 14), CMake 3.25, Ninja, Eigen 3.4, CLI11 2.1, nlohmann-json 3.10, xxHash 0.8, doctest 2.4;
setup: and, for speed, oneDNN 2.6; for several ranks on CPUs, Gloo.
TEXT
  exit 0  # CMake names what it does not find
fi

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]; }

# A tool counts as there when it can be run, wherever it came from.
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
    echo "setup: glint will be faster, or train with several ranks on CPUs, with: sudo apt-get install -y ${all[*]}" >&2
    exit 0
  fi
  echo "setup: packages are missing. Run this, then try again:" >&2
  echo "  sudo apt-get install -y ${all[*]}" >&2
  exit 1
fi

echo "setup: installing ${all[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" < /dev/null > /dev/null; }
apt-get update -qq < /dev/null || echo "setup: going on with the package lists as they are" >&2
if [ ${#missing[@]} -gt 0 ] && ! install "${missing[@]}"; then
  echo "setup: could not install ${missing[*]}: see apt-get's message above" >&2
  exit 1
fi
if [ ${#missing_wanted[@]} -gt 0 ] && ! install "${missing_wanted[@]}"; then
  echo "setup: going on without ${missing_wanted[*]}: matrix products will be slower, or several ranks on CPUs not be there" >&2
fi
