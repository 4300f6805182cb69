#!/usr/bin/env bash
# `glint plan --device here` against measured runs on this machine's CPU: step times of models of several depths and
# widths, and of two ranks, within 25%. It takes half a minute on an idle machine. A case that disagrees is repeated,
# five times at most, as other programs may have used the cores. The last line is "N passed, N failed".
#   tests/train/plan_check.sh [GLINT]      default: build/glint
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
glint=${1:-build/glint}
passed=0 failed=0

number() { sed -nE "s/.*\"$1\":([0-9.e+-]+).*/\1/p"; }
# check TITLE DEVICES BATCH MODEL...: one thread per rank
check() {
  local title=$1 devices=$2 batch=$3 predicted measured ratio
  shift 3
  for _ in 1 2 3 4 5; do
    predicted=$("$glint" plan --device here --dtype fp32 --threads 1 --devices "$devices" --batch "$batch" \
      --micro-batch $((batch / devices)) "$@" --json | number step_ms)
    measured=$("$glint" bench step --device cpu --threads 1 --ranks "$devices" --batch "$batch" "$@" --steps 3 --json |
      number median_ms)
    ratio=$(awk -v p="$predicted" -v m="$measured" 'BEGIN { print (m > 0 ? p / m : 0) }')
    printf '%s: predicted %.1f ms, measured %.1f ms, ratio %.2f\n' "$title" "$predicted" "$measured" "$ratio"
    if awk -v r="$ratio" 'BEGIN { exit !(r > 0.75 && r < 1.25) }'; then
      passed=$((passed + 1))
      return
    fi
  done
  failed=$((failed + 1))
}
check "4 layers of 128, T 64" 1 12 --layers 4 --heads 4 --embd 128 --context 64 --vocab 65
check "6 layers of 384, T 256" 1 4 --layers 6 --heads 6 --embd 384 --context 256 --vocab 65
if "$glint" info | grep -E '^ranks .*(by Gloo|Gloo between)' > /dev/null; then
  check "6 layers of 384, T 256, two ranks" 2 8 --layers 6 --heads 6 --embd 384 --context 256 --vocab 65
else
  echo "two ranks: this build has no Gloo"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
