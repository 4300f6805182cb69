#!/usr/bin/env bash
# Kills training runs at random moments (start, tokenising, steps, evaluations, checkpoints), goes on with them, and
# compares every finished one with a run straight through, byte for byte.
#   tests/train/kill_loop.sh KILLS [RANKS [SEED]]   the program: $GLINT, or build/glint
# With several ranks one of them is killed, or the launcher. The last line is "N passed, N failed": finished runs.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
glint=$(realpath "${GLINT:-build/glint}")
kills=$1 ranks=${2:-1} seed=${3:-$RANDOM}
RANDOM=$seed
echo "kill_loop: $kills kills, ranks $ranks, seed $seed"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMP_WAIT_POLICY=passive
"$glint" data corpus --bytes 1000000 --out "$folder/text" 2> "$folder/err" || { cat "$folder/err"; exit 1; }

flags=(--data "$folder/text" --layers 1 --heads 2 --embd 32 --context 16 --batch 4 --dropout 0.1 --steps 2000)
flags+=(--threads 1 --device cpu --eval-every 50 --eval-batches 2 --checkpoint-every 30 --log-every 20)
flags+=(--ranks "$ranks" --quiet)
"$glint" train --out "$folder/straight" "${flags[@]}" || exit 1

go_on() { # starts the run or continues it, in the background
  if [ -f "$folder/run/config.json" ]; then
    "$glint" train --resume "$folder/run" 2> "$folder/err" &
  else
    "$glint" train --out "$folder/run" "${flags[@]}" 2> "$folder/err" &
  fi
  process=$!
}
fails=0 finished=0 killed=0
while [ "$killed" -lt "$kills" ] || [ -d "$folder/run" ]; do
  go_on
  victim=$process
  if [ "$killed" -lt "$kills" ]; then
    sleep "0.$(printf '%03d' $((RANDOM % (250 * ranks))))"
    { read -ra children < "/proc/$process/task/$process/children"; } 2> /dev/null || children=()
    if [ ${#children[@]} -gt 0 ] && [ $((RANDOM % 3)) -gt 0 ]; then victim=${children[RANDOM % ${#children[@]}]}; fi
    kill -9 "$victim" 2> /dev/null || victim=0
  fi
  wait "$process" 2> /dev/null
  status=$?
  if [ "$victim" != 0 ] && [ "$status" -ne 0 ]; then killed=$((killed + 1)); fi
  for child in "${children[@]:-}"; do # of a killed launcher: they end by themselves
    for ((i = 0; i < 1000; ++i)); do [ -n "$child" ] && [ -d "/proc/$child" ] && sleep 0.01 || break; done
  done
  if [ "$status" -eq 0 ]; then
    finished=$((finished + 1))
    for file in last/model.safetensors last/optimizer.safetensors best/model.safetensors; do
      cmp "$folder/straight/$file" "$folder/run/$file" && continue
      fails=$((fails + 1))
      break
    done
    if find "$folder/run" | grep -E 'partial|former'; then fails=$((fails + 1)); fi
    rm -rf "$folder/run"
  elif { [ "$victim" = "$process" ] && [ "$killed" -ge "$kills" ] && [ "$status" -ne 137 ]; } ||
    { [ "$ranks" -eq 1 ] && [ "$status" -ne 137 ]; }; then
    echo "a run ended with status $status after $killed kills:"
    cat "$folder/err"
    fails=$((fails + 1))
    rm -rf "$folder/run"
  fi
done
echo "kill_loop: $killed kills, $finished runs finished"
echo "$((finished - fails)) passed, $fails failed"
[ "$fails" -eq 0 ]
