#!/usr/bin/env bash
# Compiles the CUDA kernels and holds what ptxas says of them against what the sources allow: no spill, no local memory,
# and in a .cu of kernels/cuda/attention/ no more than the limits noted in it for all its kernels, in a comment line
#   // ptxas <= 168 registers, 49152 bytes of shared memory
# (or "// ptxas HS 64 <= ...", for those of one head size). ptxas knows static shared memory only; the code asserts the
# sizes of what it takes dynamically. Then prints what dropout costs in SASS. The last line is "N passed, N failed" (kernels).
#   tests/kernels/cuda/ptxas.sh [BUILD_FOLDER]   default: build/, configured and built first
set -uo pipefail
cd "$(dirname "$0")/../../.."

folder=${1:-build}
if [ $# -eq 0 ]; then
  cmake --preset release -DGLINT_CUDA=ON ${CI:+-DGLINT_WERROR=ON} > /dev/null && cmake --build "$folder" --target glint_kernels_cuda || {
    echo "0 passed, 1 failed"
    exit 1
  }
fi
objects=$folder/CMakeFiles/glint_kernels_cuda.dir
mapfile -t logs < <(find "$objects" -name '*.cu.o.log' | sort)
if [ ${#logs[@]} -eq 0 ]; then
  echo "no compiled kernels in $folder" >&2
  echo "0 passed, 1 failed"
  exit 1
fi

for log in "${logs[@]}"; do
  source=${log#"$objects"/} source=${source%.o.log}
  awk -f tests/kernels/cuda/ptxas.awk -v source="$source" "$source" "$log"
done | c++filt -p | tee "$folder/ptxas.txt"

# cuobjdump and nvdisasm belong to the toolkit, but some installations leave them out.
PATH=$PATH:/usr/local/cuda/bin
if command -v cuobjdump > /dev/null && command -v nvdisasm > /dev/null; then
  for log in "${logs[@]}"; do
    cuobjdump --dump-sass "${log%.log}" | c++filt | awk -f tests/kernels/cuda/sass.awk
  done
else
  echo "dropout's instructions are not counted: no cuobjdump and nvdisasm on the PATH"
fi

passed=$(grep -c '^ok ' "$folder/ptxas.txt") failed=$(grep -c '^FAILED ' "$folder/ptxas.txt")
if [ "$((passed + failed))" -eq 0 ]; then
  echo "ptxas said nothing of any kernel" >&2
  failed=1
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
