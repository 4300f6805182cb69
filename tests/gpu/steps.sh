#!/usr/bin/env bash
# One step of tests/gpu/check.sh, which sets the variables used here, limits the time and keeps what is printed.
#   steps.sh NAME      the last line says what came out; status 0: passed, 77: skipped, anything else: failed
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

readonly SKIPPED=77
skip() {
  echo "$1"
  exit "$SKIPPED"
}
fail() {
  echo "$1"
  exit 1
}

build() {
  local options=(-DCMAKE_BUILD_TYPE=Release -DGLINT_ONEDNN=OFF)
  if [ "$EMULATED" = yes ]; then
    options+=(-DGLINT_CUDA=OFF)
  else
    # Warnings of a host compiler that CI does not have must not stop the build of a .cu file.
    options+=(-DGLINT_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$ARCHITECTURE-real" -DCMAKE_CUDA_FLAGS=-Xcompiler=-w)
  fi
  if [ -d .carry ]; then options+=("-DCMAKE_PREFIX_PATH=$PWD/.carry"); fi
  if command -v ninja > /dev/null; then options+=(-G Ninja); fi
  cmake -S . -B "$BUILD" "${options[@]}" || fail "cmake failed"
  cmake --build "$BUILD" --parallel "$(nproc)" --target "${TARGETS[@]}" || fail "the build failed"
  echo "built ${TARGETS[*]}"
}

# Runs the test program with these arguments, and with what stands before it.
run_tests() {
  local log counts
  log=$WORK/tests-$1.log
  shift
  "$@" --no-colors > "$log" 2>&1 < /dev/null
  local status=$?
  cat "$log"
  counts=$(sed -nE 's/^\[doctest\] test cases:[^|]*\| *([0-9]+) passed \| *([0-9]+) failed.*/\1 passed, \2 failed/p' "$log" | tail -n 1)
  if [ "$status" -ne 0 ]; then
    fail "status $status, ${counts:-no test was finished}; $(grep -oE '(ERROR|RACECHECK) SUMMARY.*' "$log" | tail -n 1)"
  fi
  case "$counts" in
    "" | "0 passed"*) fail "no test was run" ;;
  esac
  echo "$counts"
}

# Small enough for the sanitizers, and for a rehearsal on the emulated device.
readonly SMALL='-tc=*small shapes*,*small masks*,*ptx*'
tests() {
  local what=()
  if [ "$EMULATED" = yes ]; then what=("$SMALL"); fi
  run_tests all "$BUILD/$TESTS" "${what[@]}"
}

sanitizer() {
  if [ "$EMULATED" = yes ]; then skip "nothing runs on a GPU"; fi
  local program
  program=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null) || skip "no compute-sanitizer here"
  run_tests "$1" "$program" --tool "$1" --error-exitcode 86 "$BUILD/$TESTS" "$SMALL"
}
memcheck() { sanitizer memcheck; }
racecheck() { sanitizer racecheck; }
initcheck() { sanitizer initcheck; }
synccheck() { sanitizer synccheck; }

ptx() {
  "$BUILD/ptx_check_simt" write "$WORK/ptx" || fail "the emulated wrappers failed"
  "$BUILD/$PTX_CHECK" compare "$WORK/ptx"
}

# The mask that the kernels of the device really apply against the definition on the CPU: what is printed, and the picture.
masks() {
  local rows=1000 cols=1037 same=0 flags
  if [ "$EMULATED" = yes ]; then rows=65 cols=100; fi
  for flags in "--p 0.1 --seed 0x1234567890abcdef" "--p 0.1 --seed 7 --offset 0xfffffff0 --batch-index 3 --heads 5 --head 2" \
    "--p 0.5 --seed 1 --offset 0xffffffffffffffc0 --heads 3 --head 1" "--p 0.9 --seed 99 --batch-index 1"; do
    # shellcheck disable=SC2086 # several words
    set -- $flags --rows "$rows" --cols "$cols"
    "$BUILD/$GLINT" mask "$@" --out "$WORK/defined.pbm" > "$WORK/defined.txt" || fail "glint mask $* failed"
    for dtype in fp32 bf16; do
      "$BUILD/$GLINT" mask "$@" --device cuda --dtype "$dtype" --out "$WORK/real.pbm" > "$WORK/real.txt" || fail "glint mask $* --device cuda failed"
      if ! cmp "$WORK/defined.pbm" "$WORK/real.pbm" || ! diff <(head -n 2 "$WORK/defined.txt") <(head -n 2 "$WORK/real.txt"); then
        fail "the $dtype kernel drops something else than is defined: glint mask $*"
      fi
      same=$((same + 1))
    done
  done
  echo "$same masks of $rows x $cols are what the CPU defines, bit for bit"
}

# Goes on where $PYTHON has what is needed.
with_torch() {
  command -v "$PYTHON" > /dev/null || skip "no $PYTHON here (PYTHON names another)"
  "$PYTHON" -c 'import sys; import numpy, torch; sys.exit(0 if torch.cuda.is_available() else 3)' 2> /dev/null
  case $? in
    0) ;;
    3) [ "$EMULATED" = yes ] || skip "$PYTHON's torch sees no GPU" ;;
    *) skip "$PYTHON has no torch and numpy (PYTHON names another)" ;;
  esac
}
torch() {
  with_torch
  "$PYTHON" -u tests/gpu/against_torch.py --attention-case "$BUILD/$ATTENTION_CASE" --glint "$BUILD/$GLINT" \
    --json "$WORK/torch.json" --markdown "$WORK/torch.md" 2>&1
}
bench() {
  with_torch
  local rehearse=()
  if [ "$EMULATED" = yes ]; then rehearse=(--rehearse); fi
  "$PYTHON" -u tests/gpu/bench_torch.py --glint "$BUILD/$GLINT" --seconds "$((LIMIT > 60 ? LIMIT - 30 : LIMIT / 2))" \
    --json "$WORK/bench.json" --markdown "$WORK/bench.md" "${rehearse[@]}" 2>&1
}

read -ra TARGETS <<< "$TARGETS"
"$1"
