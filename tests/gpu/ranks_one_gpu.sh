#!/usr/bin/env bash
# Two ranks over NCCL on one GPU, against one process: the losses, inside and outside of the CUDA graph, with and
# without --zero 1; a rank that is killed and one that is stopped; a resume by one process. A step of check.sh
# (steps.sh), which sets the variables used here.
#
# NCCL refuses two ranks on one GPU of one host: src/init.cc compares the hash of the host and the GPU's bus number. The
# hash is of NCCL_HOSTID where that is set (getHostHash in src/misc/utils.cc), so that with one each the ranks are two
# hosts to it. Peer-to-peer and shared memory are for one host only (src/transport/p2p.cc and shm.cc compare the same
# hash), which leaves the network: sockets on the loopback interface. The two processes take turns on the GPU, a
# collective takes tens of milliseconds, and no speed measured this way means anything.
# Others have run NCCL 2.29 so, on one RTX 5090.
set -uo pipefail

export NCCL_NET=Socket NCCL_IB_DISABLE=1 NCCL_SOCKET_IFNAME=lo
export NCCL_RAS_ENABLE=0 NCCL_MNNVL_ENABLE=0 # neither a monitor's port, nor NVLink between hosts
export NCCL_DEBUG=WARN
export OMP_NUM_THREADS=1
export SIMT_DEVICE="late guarded" # an emulated device that, like a real one, works behind the host
folder=$WORK/one-gpu steps=12 timeout=10
mkdir -p "$folder"
fail() {
  echo "$1"
  exit 1
}
"$PROGRAMS/$GLINT" info | grep -E '^ranks.*NCCL [0-9]' > /dev/null || {
  echo "this build has no NCCL"
  exit 77
}

model=(--device cuda --layers 1 --heads 4 --kv-heads 2 --embd 32 --context 12 --batch 4 --micro-batch 2 --threads 1
  --lr-decay-steps 20 --eval-every 0 --log-every 1 --checkpoint-every 3 --comm-timeout "$timeout")
undropped=("${model[@]}" --dropout 0)
model+=(--dropout 0.2)

free_port() { # and the next one, which NCCL takes
  local port
  while port=$((20000 + 2 * (RANDOM % 5000))) && (exec 3<> "/dev/tcp/127.0.0.1/$((port + 1))") 2> /dev/null; do :; done
  echo "$port"
}
# start NAME WORDS...: `glint train WORDS...` as two ranks, in the background: their processes are in `ranks`, what they
# say is in NAME-0.log and NAME-1.log.
ranks=()
start() {
  local name=$1 rank port
  shift
  port=$(free_port)
  ranks=()
  for rank in 0 1; do
    env RANK=$rank WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT="$port" NCCL_HOSTID="glint-$rank" \
      "$PROGRAMS/$GLINT" train "$@" > "$folder/$name-$rank.log" 2>&1 &
    ranks+=($!)
  done
}
trap 'kill -KILL "${ranks[@]}" 2> /dev/null' EXIT
said() { # NAME: the first complaint of either rank, NCCL's own first
  cat "$folder/$1-0.log" "$folder/$1-1.log" > "$folder/$1.log"
  { grep -h -E 'NCCL WARN' "$folder/$1.log" || grep -h -E '^glint: ' "$folder/$1.log" || tail -n 1 "$folder/$1.log"; } |
    head -n 1
}
two() { # NAME WORDS...: two ranks, to their end
  local name=$1 status=0 rank
  start "$@"
  for rank in 0 1; do wait "${ranks[rank]}" || status=$?; done
  [ "$status" -eq 0 ] || fail "two ranks, $name: status $status: $(said "$name")"
}
one() { # NAME WORDS...: one process
  local name=$1
  shift
  "$PROGRAMS/$GLINT" train "$@" > "$folder/$name.log" 2>&1 ||
    fail "one process, $name: $(tail -n 1 "$folder/$name.log")"
}
losses() { sed -nE 's/.*"loss":([0-9.e+-]+).*/\1/p' "$folder/$1/metrics.jsonl" 2> /dev/null; }
# differ A B TOLERANCE: true unless A and B have the same number of losses, each equal but for the tolerance.
differ() {
  ! paste <(losses "$1") <(losses "$2") | awk -v tolerance="$3" -v wanted="$steps" '
    { d = ($1 - $2) / $1; if (NF != 2 || d > tolerance || d < -tolerance) bad = 1 }
    END { exit !(NR == wanted && !bad) }'
}
same() { # A B TOLERANCE
  if differ "$1" "$2" "$3"; then
    fail "losses differ: $1: $(losses "$1" | tr '\n' ' '), $2: $(losses "$2" | tr '\n' ' ')"
  fi
  echo "$2: the losses of $1 within $3"
}

# Equal losses mean equal masks: without dropout they differ by far more.
tolerance=1e-4
one one "${model[@]}" --out "$folder/one" --steps "$steps"
one undropped "${undropped[@]}" --out "$folder/undropped" --steps "$steps"
differ one undropped 1e-3 || fail "losses with and without dropout do not differ"
two two "${model[@]}" --out "$folder/two" --steps "$steps"
same one two $tolerance
for graph in true false; do
  two "zero-$graph" "${model[@]}" --out "$folder/zero-$graph" --steps "$steps" --graph "$graph" --zero 1 \
    --bucket-mb 0.05
  same one "zero-$graph" $tolerance
done
one one-bf16 "${model[@]}" --dtype bf16 --out "$folder/one-bf16" --steps "$steps"
two zero-bf16 "${model[@]}" --dtype bf16 --out "$folder/zero-bf16" --steps "$steps" --zero 1
same one-bf16 zero-bf16 1e-2

# Two ranks stop at step 6, and one process goes on.
two cut "${model[@]}" --out "$folder/cut" --steps 6 --zero 1
one cut --resume "$folder/cut" --ranks 1 --zero 0 --steps "$steps"
same one cut $tolerance

# Rank 1 is killed, then stopped, in the middle of a run: rank 0 ends with code 3 and a line that names its step, in
# time: NCCL sees a closed connection, and a rank that is silent for the timeout is given up.
for signal in KILL STOP; do
  name=rank-$signal
  start "$name" "${model[@]}" --out "$folder/$name" --steps 1000000 --zero 1
  for _ in {1..600}; do
    if [ "$(losses "$name" | wc -l)" -ge 4 ] || ! kill -0 "${ranks[0]}" 2> /dev/null; then break; fi
    sleep 0.05
  done
  kill -s "$signal" "${ranks[1]}" || fail "$name: no rank 1 any more: $(said "$name")"
  begin=$SECONDS
  (sleep $((timeout + 15)) && kill -KILL "${ranks[0]}") 2> /dev/null &
  guard=$!
  wait "${ranks[0]}" 2> /dev/null
  status=$?
  kill "$guard" 2> /dev/null
  took=$((SECONDS - begin))
  kill -KILL "${ranks[1]}" 2> /dev/null
  wait "${ranks[1]}" 2> /dev/null
  [ "$status" -eq 3 ] || fail "rank 1 got SIG$signal: rank 0 ended with status $status after $took s: $(said "$name")"
  grep -E '^glint: rank 0: step ' "$folder/$name-0.log" || fail "$name: rank 0 does not name its step: $(said "$name")"
  echo "rank 1 got SIG$signal: rank 0 ended $took s later"
done

# The killed run's checkpoint is whole: one process resumes it.
last=$(sed -nE 's/.*"step":([0-9]+).*/\1/p' "$folder/rank-KILL/metrics.jsonl" | tail -n 1)
one rank-KILL --resume "$folder/rank-KILL" --ranks 1 --zero 0 --steps $((last + 4))
echo "two ranks on one GPU: the losses and masks of one process, inside and outside the graph, --zero 1; killed," \
  "stopped, resumed by one"
