#!/usr/bin/env bash
# Compiles the CUDA kernels and checks what ptxas reports: no spills, no local memory, no wgmma that it serialises, and
# for a .cu of kernels/cuda/attention/ no more than the limits that it states for all its kernels, in a comment line
#   // ptxas <= 168 registers, 49152 bytes of shared memory
# (or "// ptxas HS 64 <= ...", for one head size). ptxas reports static shared memory only; the code asserts the size
# of dynamic shared memory. Also that no host code calls a __device__ function. Then prints what dropout costs in SASS.
# The last line is "N passed, N failed" (kernels).
#   tests/kernels/cuda/ptxas.sh [BUILD_FOLDER]   default: build/, configured and built first
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1

folder=${1:-build}
if [ $# -eq 0 ]; then
  if ! cmake --preset release -DGLINT_CUDA=ON ${CI:+-DGLINT_WERROR=ON} > /dev/null ||
    ! cmake --build "$folder" --target glint_kernels_cuda; then
    echo "0 passed, 1 failed"
    exit 1
  fi
fi
objects=$folder/kernels/CMakeFiles
mapfile -t logs < <(find "$objects"/glint_kernels_{cuda,sm90}.dir -name '*.cu.o.log' 2> /dev/null | sort)
if [ ${#logs[@]} -eq 0 ]; then
  echo "no compiled kernels in $folder" >&2
  echo "0 passed, 1 failed"
  exit 1
fi

for log in "${logs[@]}"; do
  source=kernels/${log#"$objects"/*.dir/} source=${source%.o.log}
  awk -f tests/kernels/cuda/ptxas.awk -v source="$source" "$source" "$log"
done | c++filt -p | tee "$folder/ptxas.txt"

# In templates nvcc lets the host call a __device__ function without a word: such a call ends the program by exit(1).
for log in "${logs[@]}"; do
  if nm "${log%.log}" | grep ' U exit$' > /dev/null; then
    echo "FAILED ${log%.o.log}: host code has a __device__ function, which ends in exit(1): mark it inline or host too"
  fi
done | tee -a "$folder/ptxas.txt"

# Some installations of the toolkit lack cuobjdump and nvdisasm.
PATH=$PATH:/usr/local/cuda/bin
if command -v cuobjdump > /dev/null && command -v nvdisasm > /dev/null; then
  for log in "${logs[@]}"; do
    cuobjdump --dump-sass "${log%.log}" | c++filt | awk -f tests/kernels/cuda/sass.awk
  done
else
  echo "dropout's instructions are not counted: cuobjdump and nvdisasm are not on the PATH"
fi

passed=$(grep -c '^ok ' "$folder/ptxas.txt") failed=$(grep -c '^FAILED ' "$folder/ptxas.txt")
if [ "$((passed + failed))" -eq 0 ]; then
  echo "ptxas reported no kernel" >&2
  failed=1
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
