#!/usr/bin/env bash
# Fuzzes every reader (tests/fuzz/fuzz.cpp) under AddressSanitizer and UndefinedBehaviorSanitizer, from the seeds in
# tests/fuzz/seeds/READER.
#   tests/fuzz/run.sh [SECONDS [READER...]]   default: 30 s each; three at a time
# What breaks a reader is kept in build-asan/fuzz/. The last line is "N passed, N failed": readers.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
seconds=${1:-30}
shift || true
readers=("$@")
[ ${#readers[@]} -gt 0 ] ||
  readers=(safetensors checkpoint state config run tokens tokenizer merges tiktoken text lines gzip ranks hf
    hf_tokenizer metrics)
if ! { cmake --preset asan > /dev/null && cmake --build build-asan --target glint_fuzz; }; then
  echo "0 passed, 1 failed"
  exit 1
fi
mkdir -p build-asan/fuzz
export OMP_NUM_THREADS=1
fuzz() {
  local found=build-asan/fuzz/$1
  mkdir -p "$found"
  GLINT_FUZZ=$1 build-asan/glint_fuzz -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=3000 \
    -print_final_stats=1 -artifact_prefix="$found-" "$found" "tests/fuzz/seeds/$1" > "$found.log" 2>&1
}
passed=0 failed=0
for ((i = 0; i < ${#readers[@]}; i += 3)); do
  pids=()
  for reader in "${readers[@]:i:3}"; do
    fuzz "$reader" &
    pids+=($!)
  done
  for ((k = 0; k < ${#pids[@]}; ++k)); do
    reader=${readers[i + k]}
    if wait "${pids[k]}"; then
      passed=$((passed + 1))
      echo "$reader: $(awk '/number_of_executed_units/ { print $2 }' "build-asan/fuzz/$reader.log") inputs"
    else
      failed=$((failed + 1))
      echo "$reader failed:"
      tail -n 40 "build-asan/fuzz/$reader.log"
    fi
  done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
