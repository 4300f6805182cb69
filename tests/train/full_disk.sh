#!/usr/bin/env bash
# Trains on file systems of random size (tmpfs) that get full inside a checkpoint, gives them more room, goes on, and
# compares with a run straight through. Needs the right to mount; without it, a user namespace.
#   tests/train/full_disk.sh TIMES [SEED]   the program: $GLINT, or build/glint
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
if [ -z "${GLINT_DISK:-}" ] && ! mount -t tmpfs tmpfs /mnt 2> /dev/null; then
  GLINT_DISK=1 exec unshare -rm "$0" "$@"
fi
[ -n "${GLINT_DISK:-}" ] || umount /mnt
glint=$(realpath "${GLINT:-build/glint}")
times=$1 seed=${2:-$RANDOM}
RANDOM=$seed
echo "full_disk: $times times, seed $seed"
folder=$(mktemp -d)
disk=$folder/disk
mkdir "$disk"
trap 'umount "$disk" 2> /dev/null; rm -rf "$folder"' EXIT
export OMP_WAIT_POLICY=passive
"$glint" data corpus --bytes 20000 --out "$folder/text" 2> "$folder/err" || { cat "$folder/err"; exit 1; }
flags=(--data "$folder/text" --layers 1 --heads 2 --embd 64 --context 16 --batch 2 --steps 40 --threads 1 --quiet)
flags+=(--eval-every 10 --eval-batches 1 --checkpoint-every 5 --device cpu)
"$glint" train --out "$folder/straight" "${flags[@]}" 2> "$folder/err" || { cat "$folder/err"; exit 1; }
whole=$(du -sk "$folder/straight" | cut -f 1)

fails=0 full=0
for ((i = 0; i < times; ++i)); do
  size=$((whole / 3 + RANDOM % (2 * whole)))
  mount -t tmpfs -o size=${size}k tmpfs "$disk" || exit 1
  if ! "$glint" train --out "$disk/run" "${flags[@]}" 2> "$folder/err"; then
    full=$((full + 1))
    [ "$(grep -c '^glint: ' "$folder/err")" -eq 1 ] || { echo "$size KiB:"; cat "$folder/err"; fails=$((fails + 1)); }
    mount -o remount,size=100m "$disk"
    if [ -d "$disk/run/last" ]; then
      "$glint" eval "$disk/run" --checkpoint last > /dev/null || fails=$((fails + 1))
    fi
    go_on=(--out "$disk/run" "${flags[@]}")
    if [ -f "$disk/run/config.json" ]; then go_on=(--resume "$disk/run"); fi
    "$glint" train "${go_on[@]}" 2> "$folder/err" || { cat "$folder/err"; fails=$((fails + 1)); }
  fi
  for file in last/model.safetensors last/optimizer.safetensors best/model.safetensors; do
    cmp "$folder/straight/$file" "$disk/run/$file" || fails=$((fails + 1))
  done
  umount "$disk"
done
echo "full_disk: full $full of $times times"
echo "$((times - fails)) passed, $fails failed"
[ "$fails" -eq 0 ]
