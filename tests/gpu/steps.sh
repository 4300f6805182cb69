#!/usr/bin/env bash
# One step of tests/gpu/check.sh, which sets the variables used here, limits the time and keeps the output.
#   steps.sh NAME      the last line is the result; status 0: passed, 77: skipped, anything else: failed
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/gpu/libraries.sh
. tests/gpu/libraries.sh

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
  if [ -n "$PREBUILT" ]; then
    check_prebuilt
    return
  fi
  local options=(-DCMAKE_BUILD_TYPE=Release -DGLINT_ONEDNN=OFF)
  if [ "$EMULATED" = yes ]; then
    options+=(-DGLINT_CUDA=OFF)
  else
    local architectures=$ARCHITECTURE-real
    if [ "$ARCHITECTURE" = 90 ]; then architectures+=";90a-real"; fi
    # A host compiler that CI does not have may warn; that must not stop the build of a .cu file.
    options+=(-DGLINT_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$architectures" -DCMAKE_CUDA_FLAGS=-Xcompiler=-w)
    local nccl # PyTorch's
    nccl=$("$PYTHON" -c 'import nvidia.nccl as n; print(list(n.__path__)[0])' 2> /dev/null)
    if [ -f "$nccl/include/nccl.h" ] && [ -f "$nccl/lib/libnccl.so.2" ]; then
      options+=("-DNCCL_INCLUDE_DIR=$nccl/include" "-DNCCL_LIBRARY=$nccl/lib/libnccl.so.2")
    fi
  fi
  if [ -d .carry ]; then options+=("-DCMAKE_PREFIX_PATH=$PWD/.carry"); fi
  if command -v ninja > /dev/null; then options+=(-G Ninja); fi
  cmake -S . -B "$BUILD" "${options[@]}" || fail "cmake failed"
  cmake --build "$BUILD" --parallel "$(nproc)" --target "${TARGETS[@]}" || fail "the build failed"
  echo "built ${TARGETS[*]}"
}
# Whole, for this GPU, and able to start.
check_prebuilt() {
  local manifest=$PREBUILT/manifest.txt missing name
  [ -f "$manifest" ] || fail "$manifest is not there: tests/gpu/prebuild.sh writes it"
  cat "$manifest"
  if [ "$EMULATED" = no ] && ! grep -qE "^architectures (.*[ ;])?$ARCHITECTURE(-|;| |$)" "$manifest"; then
    fail "the programs are not for sm_$ARCHITECTURE: $(grep '^architectures' "$manifest")"
  fi
  (cd "$PREBUILT" && sed -n 's/^sha256 //p' manifest.txt | sha256sum --check --quiet) || fail "not what was built"
  for name in "${TARGETS[@]}"; do
    [ -f "$PREBUILT/${name/#glint_attention/libglint_attention.so.1}" ] || fail "$name is not in $PREBUILT"
  done
  missing=$(missing_libraries "$PREBUILT"/* | tr '\n' ' ')
  [ -z "$missing" ] || fail "libraries not found: $missing(looked in: $(library_folders | tr '\n' ' '))"
  "$PREBUILT/$GLINT" info || fail "glint does not start"
  "$PREBUILT/$TESTS" --count || fail "the tests do not start"
  echo "the programs start; libraries beside PyTorch or in a toolkit: ${LD_LIBRARY_PATH:-none needed}"
}

# run_tests NAME [COMMAND...] PROGRAM ARGUMENTS...: runs the test program, possibly under a tool.
run_tests() {
  local log counts
  log=$WORK/tests-$1.log
  shift
  "$@" --no-colors > "$log" 2>&1 < /dev/null
  local status=$?
  cat "$log"
  counts=$(sed -nE 's/^\[doctest\] test cases:[^|]*\| *([0-9]+) passed \| *([0-9]+) failed.*/\1 passed, \2 failed/p' \
    "$log" | tail -n 1)
  if [ "$status" -ne 0 ]; then
    fail "status $status, ${counts:-no result}; $(grep -oE '(ERROR|RACECHECK) SUMMARY.*' "$log" | tail -n 1)"
  fi
  case "$counts" in
    "" | "0 passed"*) fail "no test ran" ;;
  esac
  echo "$counts"
}

# Small enough for the sanitizers and for the emulated device.
readonly SMALL='-tc=*small shapes*,*small masks*,*ptx*'
tests() {
  local what=()
  if [ "$EMULATED" = yes ]; then what=("$SMALL"); fi
  run_tests all "$PROGRAMS/$TESTS" "${what[@]}"
}

find_sanitizer() { command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null; }
sanitizer() {
  if [ "$EMULATED" = yes ]; then skip "nothing runs on a GPU"; fi
  local program
  program=$(find_sanitizer) || skip "no compute-sanitizer here"
  run_tests "$1" "$program" --tool "$1" --error-exitcode 86 "$PROGRAMS/$TESTS" "$SMALL"
}
memcheck() { sanitizer memcheck; }
# racecheck follows neither mbarriers nor bar.arrive: it takes an mbarrier's initialisation and first arrival, by one
# and the same thread, for a race (ptx_sm90_kernels.cu), and reports the wrapper of named barriers, which have a warp
# arrive and another wait. Of attention's backward it names the number of an item, and lse and D of the queries: what
# warps read before lane 0 arrives for all of its warp. What it says of kernels that are built on mbarriers, those for
# Hopper, is counted and no failure: the emulator checks their order.
racecheck() {
  local said status others hopper
  said=$(sanitizer racecheck)
  status=$?
  echo "$said"
  local known=' at (void )?glint::(attention::sm90|test)::'
  others=$(grep 'Race reported' <<< "$said" | grep -cvE "$known")
  hopper=$(grep 'Race reported' <<< "$said" | grep -cE "$known")
  if [ "$status" -eq 1 ] && [ "$others" -eq 0 ] && [ "$hopper" -gt 0 ] && grep -qE '\| 0 failed \|' <<< "$said"; then
    echo "nothing beside $hopper reports of kernels with mbarriers, which racecheck does not follow"
    return 0
  fi
  return "$status"
}
initcheck() { sanitizer initcheck; }
synccheck() { sanitizer synccheck; }

ptx() {
  "$PROGRAMS/ptx_check_simt" write "$WORK/ptx" || fail "the emulated wrappers failed"
  "$PROGRAMS/$PTX_CHECK" compare "$WORK/ptx"
}

emulate_hopper() { export SIMT_DEVICE="capability=90"; } # so that an emulated device runs Hopper's kernels

# The masks that the device's kernels apply against the definition on the CPU: printed, and as a picture.
masks() {
  local rows=1000 cols=1037 same=0 flags
  if [ "$EMULATED" = yes ]; then rows=65 cols=100; fi
  emulate_hopper
  for flags in "--p 0.1 --seed 0x1234567890abcdef" \
    "--p 0.1 --seed 7 --offset 0xfffffff0 --batch-index 3 --heads 5 --head 2" \
    "--p 0.5 --seed 1 --offset 0xffffffffffffffc0 --heads 3 --head 1" "--p 0.9 --seed 99 --batch-index 1"; do
    # shellcheck disable=SC2086 # several words
    set -- $flags --rows "$rows" --cols "$cols"
    "$PROGRAMS/$GLINT" mask "$@" --out "$WORK/defined.pbm" > "$WORK/defined.txt" || fail "glint mask $* failed"
    for kernel in "fp32 flash" "bf16 flash" "bf16 flash-sm80"; do
      read -r dtype attention <<< "$kernel"
      "$PROGRAMS/$GLINT" mask "$@" --device cuda --dtype "$dtype" --attention "$attention" \
        --out "$WORK/real.pbm" > "$WORK/real.txt" ||
        fail "glint mask $* --device cuda failed"
      if ! cmp "$WORK/defined.pbm" "$WORK/real.pbm" ||
        ! diff <(head -n 2 "$WORK/defined.txt") <(head -n 2 "$WORK/real.txt"); then
        fail "the mask of $kernel differs from the definition: glint mask $*"
      fi
      same=$((same + 1))
    done
  done
  echo "$same masks of $rows x $cols equal the CPU's bit for bit"
}

# Skips the step if $PYTHON lacks what it needs.
with_torch() {
  command -v "$PYTHON" > /dev/null || skip "$PYTHON is not here (set PYTHON to another)"
  "$PYTHON" -c 'import sys; import numpy, torch; sys.exit(0 if torch.cuda.is_available() else 3)' 2> /dev/null
  case $? in
    0) ;;
    3) [ "$EMULATED" = yes ] || skip "$PYTHON's torch sees no GPU" ;;
    *) skip "$PYTHON has no torch and numpy (set PYTHON to another)" ;;
  esac
}
torch() {
  with_torch
  emulate_hopper
  "$PYTHON" -u tests/gpu/against_torch.py --attention-case "$PROGRAMS/$ATTENTION_CASE" --glint "$PROGRAMS/$GLINT" \
    --json "$WORK/torch.json" --markdown "$WORK/torch.md" 2>&1
}
# run_library checks|times
run_library() {
  with_torch
  local device=cuda
  if [ "$EMULATED" = yes ]; then device=cpu; fi # the library of this build has no CUDA
  "$PYTHON" -u tests/gpu/library_against_torch.py --library "$PROGRAMS/libglint_attention.so.1" --device "$device" \
    --only "$1" 2>&1
}
library() { run_library checks; }
bench_library() {
  if [ "$EMULATED" = yes ]; then skip "nothing runs on a GPU"; fi
  run_library times
}
bench() {
  with_torch
  local rehearse=()
  if [ "$EMULATED" = yes ]; then rehearse=(--rehearse); fi
  "$PYTHON" -u tests/gpu/bench_torch.py --glint "$PROGRAMS/$GLINT" --seconds "$((LIMIT * 2 / 3))" \
    --json "$WORK/bench.json" --markdown "$WORK/bench.md" "${rehearse[@]}" 2>&1
}

# Nsight Compute's figures of one forward and one backward of GPT-2 124M's attention. The clocks are left alone.
profile() {
  if [ "$EMULATED" = yes ]; then skip "nothing runs on a GPU"; fi
  local ncu p kernels count figures
  ncu=$(command -v ncu || ls /usr/local/cuda/bin/ncu 2> /dev/null) || skip "no Nsight Compute (ncu) here"
  for p in 0.1 0.0; do
    for count in "forward 1" "backward 2"; do # kernels of that name in one call
      read -r kernels count <<< "$count"
      figures=$OUT/ncu-$kernels-$p.txt
      "$ncu" --clock-control none --kernel-name "regex:$kernels" --launch-count "$count" \
        --section SpeedOfLight --section LaunchStats --section Occupancy --section WarpStateStats \
        "$PROGRAMS/$GLINT" bench attention --device cuda --dtype bf16 --batch 32 --heads 12 --head-size 64 \
        --context 1024 --dropout "$p" --causal true --repeats 1 > "$figures" 2>&1 ||
        fail "ncu: $(grep -E '==ERROR==|glint:' "$figures" | head -n 1)"
      grep -E 'Context [0-9]|Duration|Compute \(SM\) Throughput|Registers Per' "$figures" ||
        fail "ncu saw no kernel that is named $kernels"
    done
  done
  echo "in ncu-forward-*.txt and ncu-backward-*.txt"
}

# tiny_training DTYPE GRAPH [COMMAND...]: few steps of a tiny model, with dropout, GQA and micro-batches, under COMMAND.
tiny_training() {
  local dtype=$1 graph=$2
  shift 2
  "$@" "$PROGRAMS/$GLINT" train --device cuda --dtype "$dtype" --graph "$graph" --out "$(mktemp -d -p "$WORK")/run" \
    --layers 1 --heads 4 --kv-heads 2 --embd 32 --context 12 --batch 4 --micro-batch 2 --dropout 0.2 \
    --steps 4 --log-every 2 --eval-every 2 --eval-batches 1
}
training() { # under the sanitizers; the test program checks the results
  local program tool dtype graph runs=0
  if [ "$EMULATED" = yes ]; then
    tiny_training bf16 true env SIMT_DEVICE="late guarded" || fail "a tiny run failed"
    skip "no compute-sanitizer for the emulated device; the tiny run works"
  fi
  program=$(find_sanitizer) || skip "no compute-sanitizer here"
  while read -r tool dtype graph; do
    tiny_training "$dtype" "$graph" "$program" --tool "$tool" --error-exitcode 86 ||
      fail "$tool, $dtype, --graph $graph: status $?"
    runs=$((runs + 1))
  done < <(printf '%s\n' "memcheck bf16 true" "memcheck bf16 false" "memcheck fp32 true" "racecheck bf16 false")
  echo "$runs tiny runs: memcheck and racecheck find nothing, bf16 and fp32, as a graph and plainly"
}

# Memory that a thousand steps leave behind.
growth() {
  local steps=1000 flags=(--layers 4 --heads 4 --embd 256 --context 256 --batch 16) found device host
  if [ "$EMULATED" = yes ]; then steps=20 flags=(--layers 1 --heads 2 --embd 32 --context 12 --batch 2); fi
  flags+=(--device cuda --dtype bf16 --dropout 0.1 --steps "$steps")
  found=$("$PROGRAMS/$GLINT" bench step --json "${flags[@]}") ||
    fail "bench step failed"
  echo "$found"
  device=$(sed -nE 's/.*"device_growth_bytes":(-?[0-9]+).*/\1/p' <<< "$found")
  host=$(sed -nE 's/.*"host_growth_bytes":(-?[0-9]+).*/\1/p' <<< "$found")
  if [ -z "$device" ] || [ "$device" -gt 0 ] || [ "$host" -gt 4000000 ]; then
    fail "after $steps steps: $device bytes more on the device, $host on the host"
  fi
  echo "$steps steps: $device bytes more on the device, $host on the host"
}

# nanoGPT's character model with dropout 0.2 and without, for the time that there is: on the text of .carry/, or the
# built-in corpus.
shakespeare() {
  local p name state runs=() each=$(((LIMIT - 10) / 2)) more=() best steps
  [ "$each" -ge 5 ] || skip "no time left"
  state="the built-in corpus: .carry/text.txt is not there"
  if [ -s .carry/text.txt ]; then state="the carried text" more=(--data .carry/text.txt); fi
  if [ "$EMULATED" = yes ]; then
    more+=(--layers 1 --heads 2 --embd 32 --context 12 --batch 4 --steps 6 --log-every 1 --eval-every 3)
    more+=(--eval-batches 1)
  fi
  for p in 0.2 0.0; do
    name=$WORK/dropout-$p
    timeout --signal=INT --kill-after=20 "$each" \
      "$PROGRAMS/$GLINT" train --config train/recipes/shakespeare-char-gpu.toml --out "$name" --dropout "$p" \
      "${more[@]}"
    case $? in 0 | 124 | 130) ;; *) fail "training with dropout $p failed" ;; esac
    runs+=("$name")
    best=$(sed -nE 's/.*"val_loss":([0-9.]+).*/\1/p' "$name/metrics.jsonl" | sort -n | head -n 1)
    steps=$(sed -nE 's/.*"step":([0-9]+).*/\1/p' "$name/metrics.jsonl" | tail -n 1)
    state+="; dropout $p: best validation loss $(printf %.4f "$best"), $steps steps"
  done
  "$PROGRAMS/$GLINT" report "${runs[@]}" --svg "$OUT/shakespeare.svg" || fail "report failed"
  echo "$state (aim: 1.4897 with dropout 0.2, on tinyshakespeare)"
}

bench_training() {
  with_torch
  local rehearse=()
  if [ "$EMULATED" = yes ]; then rehearse=(--rehearse); fi
  "$PYTHON" -u tests/gpu/bench_training.py --glint "$PROGRAMS/$GLINT" \
    --seconds "$((LIMIT * 2 / 3))" \
    --json "$WORK/training.json" --markdown "$WORK/training.md" "${rehearse[@]}" 2>&1
}

# GPT-2 124M's tokens per second, of one text and of 16 side by side.
bench_sample() {
  local more found rates=() rows=()
  local model=(--layers 12 --heads 12 --embd 768 --context 1024 --vocab 50304 --activation tanh)
  if [ "$EMULATED" = yes ]; then
    model=(--layers 1 --heads 2 --embd 32 --context 12 --prompt 3 --tokens 5 --repeats 1)
  fi
  for more in "--count 1" "--count 1 --graph false" "--count 1 --top-k 40 --top-p 0.9" "--count 16"; do
    # shellcheck disable=SC2086 # several words
    found=$("$PROGRAMS/$GLINT" bench sample --json --device cuda --dtype bf16 "${model[@]}" $more) ||
      fail "bench sample $more failed"
    echo "$more: $found"
    rates+=("$(sed -nE 's/.*"tokens_per_s":([0-9.e+]+).*/\1/p' <<< "$found")")
    rows+=("{\"flags\":\"$more\",${found#\{}")
  done
  (IFS=, && printf '{"rows":[%s]}\n' "${rows[*]}" > "$WORK/sample.json")
  printf '%.0f tokens/s, %.0f without a graph, %.0f with top-k and top-p, %.0f each of 16 (aim: 1500)\n' "${rates[@]}"
}

ranks_one_gpu() { bash tests/gpu/ranks_one_gpu.sh; }

# As many ranks as there are GPUs against one: the losses are equal; what NCCL moves, and what it costs.
ranks() {
  local gpus ranks each=8 to_mb=512 tiny rates=() losses=() found
  local model=(--layers 12 --heads 12 --embd 768 --context 1024 --vocab 50304)
  tiny=(--layers 2 --heads 4 --kv-heads 2 --embd 64 --context 48 --dropout 0.2 --steps 6 --log-every 1 --eval-every 0)
  "$PROGRAMS/$GLINT" info | grep -E '^ranks.*NCCL [0-9]' > /dev/null || skip "this build has no NCCL"
  gpus=$(nvidia-smi -L 2> /dev/null | grep -c '^GPU')
  if [ "$EMULATED" = yes ]; then
    export SIMT_DEVICE="devices=2"
    gpus=2 each=2 to_mb=1 model=(--layers 1 --heads 2 --embd 32 --context 12)
  fi
  if [ "$gpus" -lt 2 ]; then skip "one GPU: see the step ranks_one_gpu"; fi
  "$PROGRAMS/$GLINT" bench comm --device cuda --ranks "$gpus" --to-mb "$to_mb" || fail "bench comm failed"
  for ranks in 1 "$gpus"; do
    "$PROGRAMS/$GLINT" train --device cuda --ranks "$ranks" --batch $((2 * gpus)) --out "$WORK/ranks-$ranks" \
      "${tiny[@]}" ||
      fail "training with $ranks ranks failed"
    losses+=("$(sed -nE 's/.*"loss":([0-9.]+).*/\1/p' "$WORK/ranks-$ranks/metrics.jsonl" | tail -n 1)")
    found=$("$PROGRAMS/$GLINT" bench step --device cuda --dtype bf16 --dropout 0.1 --ranks "$ranks" \
      --batch $((each * ranks)) --steps 5 --json "${model[@]}") || fail "bench step with $ranks ranks failed"
    echo "$found"
    rates+=("$(sed -nE 's/.*"tokens_per_s":([0-9.e+]+).*/\1/p' <<< "$found")")
  done
  awk -v a="${losses[0]}" -v b="${losses[1]}" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (1e-4 * a) ^ 2) }' ||
    fail "losses differ: ${losses[*]}"
  awk -v n="$gpus" -v a="${rates[0]}" -v b="${rates[1]}" -v l="${losses[1]}" 'BEGIN {
    printf "%d GPUs: %.2f times the tokens/s of one, %.0f%% of %d; the same loss, %s\n", n, b / a, 100 * b / a / n, n, l
  }'
}

read -ra TARGETS <<< "$TARGETS"
"$1"
