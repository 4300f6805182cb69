#!/usr/bin/env bash
# Sets up, builds and runs the tests, then those of the emulated CUDA kernels. The last line is "N passed, N failed"
# (test cases); the status is 0 if all passed.
#   tests/run.sh [--preset NAME] [--target NAME] [doctest options]
#   tests/run.sh -tc='*attention*'                            the tests whose names match
#   tests/run.sh --preset tsan --target glint_tests_kernels   one layer's tests, in another build of CMakePresets.json
#   tests/run.sh --target glint_tests_simt                    the emulated tests
# On a machine with an NVIDIA GPU and a CUDA toolkit the CUDA tests run on the GPU too (tests/gpu/check.sh does more).
# With CI set in the environment, warnings are errors.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

preset=release targets=()
while [ $# -gt 0 ]; do
  case "$1" in
    --preset) preset=$2; shift 2 ;;
    --target) targets=("$2"); shift 2 ;;
    *) break ;;
  esac
done
folder=build-$preset
[ "$preset" != release ] || folder=build

fail() { # no test could run: a failure too
  echo "$1" >&2
  echo "0 passed, 1 failed"
  exit 1
}
train/setup.sh || fail "set-up failed"
cmake --preset "$preset" ${CI:+-DGLINT_WERROR=ON} > /dev/null || fail "cmake --preset $preset failed"
if [ ${#targets[@]} -eq 0 ]; then
  targets=(glint_tests glint_tests_simt)
  if nvidia-smi -L > /dev/null 2>&1 && cmake --build "$folder" --target help | grep glint_tests_gpu > /dev/null; then
    targets+=(glint_tests_gpu)
  fi
fi

# clang's OpenMP runtime does not free its threads' memory.
export LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt print_suppressions=0 ${LSAN_OPTIONS:-}"
# clang's OpenMP runtime loads Archer, which tells ThreadSanitizer about its barriers; other libraries are not
# instrumented, and what happens inside them is not reported.
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}"

# Most tests use one core, and some wait: several processes each take a random part of the cases. Their threads do not
# spin.
processes=3
export OMP_WAIT_POLICY=passive
# doctest ends with "[doctest] test cases:  12 |  11 passed | 1 failed | 0 skipped", unless it crashes.
failures='s/^\[doctest\] test cases:.*\| *([0-9]+) failed.*/\1/p'
total_passed=0 total_failed=0
for target in "${targets[@]}"; do
  start=$SECONDS
  cmake --build "$folder" --target "$target" || fail "the build failed"
  built=$SECONDS
  program=("$folder/$target" --no-colors --order-by=rand --rand-seed=1 "$@")
  cases=$("${program[@]}" --count | grep -oE '[0-9]+$' | tail -n 1)
  echo "$target: running $cases test cases"
  logs=() pids=() failed=0
  for ((i = 0; i < processes; ++i)); do
    first=$((cases * i / processes + 1)) last=$((cases * (i + 1) / processes))
    if [ "$first" -gt "$last" ]; then continue; fi
    logs+=("$folder/$target.$i.log")
    "${program[@]}" --first="$first" --last="$last" < /dev/null > "${logs[-1]}" 2>&1 &
    pids+=($!)
  done
  for i in "${!pids[@]}"; do
    wait "${pids[i]}"
    status=$?
    cat "${logs[i]}"
    some=$(sed -nE "$failures" "${logs[i]}" | tail -n 1)
    if [ "$status" -ne 0 ] && [ "${some:-0}" -eq 0 ]; then
      echo "$target ended with status $status" >&2
      some=1
    fi
    failed=$((failed + ${some:-0}))
  done
  total_passed=$((total_passed + cases - failed)) total_failed=$((total_failed + failed))
  echo "$target: $((cases - failed)) passed, $failed failed; built in $((built - start)) s, ran $((SECONDS - built)) s"
done
if [ "$((total_passed + total_failed))" -eq 0 ]; then
  echo "no test ran" >&2
  total_failed=1
fi
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" -eq 0 ]
