#!/usr/bin/env bash
# Builds what tests/gpu/check.sh --prebuilt runs, to be taken to a machine with a GPU: machine code for one
# architecture, stripped, with the CUDA runtime and the C++ runtime inside and OpenMP's beside. Such a machine needs
# NVIDIA's driver, and libcublasLt and libnccl, which PyTorch brings along.
#   tests/gpu/prebuild.sh [--arch 90] [--build DIR] [--emulated] DIR
# DIR gets the programs and manifest.txt: commit, architectures, versions, libraries needed and loaded later, sizes and
# hashes.
# --emulated builds those for the emulated device instead, to rehearse.
set -euo pipefail

arch=90 build="" folder="" emulated=no
usage() {
  echo "usage: tests/gpu/prebuild.sh [--arch 90] [--build DIR] [--emulated] DIR" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case "$1" in
    --arch | --build)
      [ $# -ge 2 ] || usage
      if [ "$1" = --arch ]; then arch=$2; else build=$(realpath -m "$2"); fi
      shift 2 ;;
    --emulated) emulated=yes; shift ;;
    -*) usage ;;
    *)
      [ -z "$folder" ] || usage
      folder=$(realpath -m "$1")
      shift ;;
  esac
done
[ -n "$folder" ] || usage
cd "$(dirname "$0")/../.."
# shellcheck source=tests/gpu/libraries.sh
. tests/gpu/libraries.sh

# x86-64-v3: AVX2, which every server of the last ten years has.
options=(-DCMAKE_BUILD_TYPE=Release -DGLINT_ONEDNN=OFF -DGLINT_GLOO=OFF -DGLINT_NATIVE=OFF)
if [ "$(uname -m)" = x86_64 ]; then options+=(-DCMAKE_CXX_FLAGS=-march=x86-64-v3); fi
options+=("-DCMAKE_EXE_LINKER_FLAGS=-static-libstdc++ -static-libgcc"
  "-DCMAKE_SHARED_LINKER_FLAGS=-static-libstdc++ -static-libgcc" "-DCMAKE_BUILD_RPATH=\$ORIGIN"
  -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON)
static() { realpath "$("${CXX:-g++}" -print-file-name="$1")"; }
options+=("-DXXHASH_LIBRARY=$(static libxxhash.a)" "-DPCRE2_LIBRARY=$(static libpcre2-8.a)"
  "-DZLIB_LIBRARY_RELEASE=$(static libz.a)")
architectures=none
if [ "$emulated" = yes ]; then
  build=${build:-build-prebuild-emulated}
  options+=(-DGLINT_CUDA=OFF)
  programs=(glint_simt glint_tests_simt ptx_check_simt attention_case_simt libglint_attention.so.1)
else
  build=${build:-build-prebuild}
  architectures=$arch-real
  if [ "$arch" = 90 ]; then architectures="90-real;90a-real"; fi
  options+=(-DGLINT_CUDA=ON -DGLINT_NCCL=ON "-DCMAKE_CUDA_ARCHITECTURES=$architectures")
  programs=(glint glint_tests_gpu ptx_check ptx_check_simt attention_case libglint_attention.so.1)
fi
if command -v ninja > /dev/null; then options+=(-G Ninja); fi
cmake -S . -B "$build" "${options[@]}"
cmake --build "$build" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" \
  --target "${programs[@]/libglint_attention.so.1/glint_attention}"

rm -rf "$folder"
mkdir -p "$folder"
for name in "${programs[@]}"; do strip -o "$folder/$name" "$build/$name"; done
cp "$(realpath "$("${CXX:-g++}" -print-file-name=libgomp.so.1)")" "$folder/libgomp.so.1"
programs+=(libgomp.so.1)
commit=$(git describe --always --dirty 2> /dev/null || echo unknown)
nvcc=$(sed -nE 's/^CMAKE_CUDA_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")
cd "$folder"
{
  echo "commit $commit"
  echo "architectures $architectures"
  if [ -n "$nvcc" ]; then echo "compiler $("$nvcc" --version | tail -n 1)"; fi
  echo "needs $(objdump -p "${programs[@]}" | sed -nE 's/^ *NEEDED +//p' | sort -u | tr '\n' ' ')"
  echo "loads $(loaded_libraries "${programs[@]}" | tr '\n' ' ')"
  for name in "${programs[@]}"; do echo "bytes $(stat -c %s "$name") $name"; done
  sha256sum "${programs[@]}" | sed 's/^/sha256 /'
} > manifest.txt
cat manifest.txt
megabytes=$(du -sm . | cut -f 1)
echo "prebuild: $megabytes MB in $folder"
[ "$megabytes" -le 64 ] || { echo "prebuild: more than 64 MB" >&2; exit 1; }
