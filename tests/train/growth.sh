#!/usr/bin/env bash
# Whether memory or open files grow over 10,000 tiny steps with evaluations and checkpoints.
#   tests/train/growth.sh [STEPS]   the program: $GLINT, or build/glint
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
glint=${GLINT:-build/glint} steps=${1:-10000}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMP_WAIT_POLICY=passive
"$glint" train --out "$folder/run" --layers 1 --heads 2 --embd 32 --context 16 --batch 2 --steps "$steps" \
  --threads 1 --device cpu --eval-every 20 --eval-batches 1 --checkpoint-every 50 --log-every 100 2> "$folder/err" &
process=$!
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$process/status"; }
files() { find "/proc/$process/fd" -mindepth 1 2> /dev/null | wc -l; }
until grep -q "^step $((steps / 10))/" "$folder/err" || [ ! -d "/proc/$process" ]; do sleep 0.05; done
first_kb=$(resident) first_files=$(files)
until grep -q "^step $((steps * 98 / 100))/" "$folder/err" || [ ! -d "/proc/$process" ]; do
  last_kb=$(resident) last_files=$(files)
  sleep 0.02
done
wait "$process" || { cat "$folder/err"; exit 1; }
echo "growth: $first_kb kB and $first_files files after a tenth of $steps steps," \
  "$last_kb kB and $last_files files at the end"
[ $((last_kb - first_kb)) -le 1024 ] && [ "$last_files" -le $((first_files + 1)) ]
status=$?
echo "$((1 - status)) passed, $status failed"
exit $status
