#!/usr/bin/env bash
# Sets up, builds and runs the tests, then those of the emulated CUDA kernels. The last line is "N passed, N failed" (test
# cases); the status is 0 if all passed.
#   tests/run.sh [--preset NAME] [--target NAME] [doctest options]
#   tests/run.sh -tc='*attention*'                        the tests whose names match
#   tests/run.sh --preset tsan --target glint_tests_kernels   one floor's tests, in another build of CMakePresets.json
#   tests/run.sh --target glint_tests_simt                the emulated ones alone
# With CI set in the environment, warnings are errors.
set -uo pipefail
cd "$(dirname "$0")/.."

preset=release targets=(glint_tests glint_tests_simt)
while [ $# -gt 0 ]; do
  case "$1" in
    --preset) preset=$2; shift 2 ;;
    --target) targets=("$2"); shift 2 ;;
    *) break ;;
  esac
done
folder=build-$preset
[ "$preset" != release ] || folder=build

give_up() { # nothing could be run: that is a failure too
  echo "$1" >&2
  echo "0 passed, 1 failed"
  exit 1
}
train/setup.sh || give_up "set-up failed"
cmake --preset "$preset" ${CI:+-DGLINT_WERROR=ON} > /dev/null || give_up "cmake --preset $preset failed"

# What clang's OpenMP runtime keeps of its threads is its own affair.
export LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt print_suppressions=0 ${LSAN_OPTIONS:-}"
# clang's OpenMP runtime loads Archer by itself, which tells ThreadSanitizer of the barriers that it cannot see in a
# runtime that is not instrumented; what happens inside other libraries is not reported.
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}"

# doctest's last word: "[doctest] test cases:  12 |  11 passed | 1 failed | 0 skipped". A crash may leave none.
counts='s/^\[doctest\] test cases:.*\| *([0-9]+) passed \| *([0-9]+) failed.*/\1 \2/p'
total_passed=0 total_failed=0
for target in "${targets[@]}"; do
  start=$SECONDS
  cmake --build "$folder" --target "$target" || give_up "the build failed"
  built=$SECONDS
  log=$folder/$target.log
  "$folder/$target" --no-colors "$@" < /dev/null 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  read -r passed failed <<< "$(sed -nE "$counts" "$log" | tail -n 1)"
  passed=${passed:-0} failed=${failed:-0}
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "$target ended with status $status" >&2
    failed=1
  fi
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
  echo "$target: built in $((built - start)) s, ran $((SECONDS - built)) s"
done
if [ "$((total_passed + total_failed))" -eq 0 ]; then
  echo "no test was run" >&2
  total_failed=1
fi
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" -eq 0 ]
