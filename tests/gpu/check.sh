#!/usr/bin/env bash
# Checks and times glint on a real GPU, in five minutes behind the build and without internet. Side by side: the CUDA
# tests on the device (kernels, and whole training runs against the CPU), every PTX wrapper against its emulation, the
# compute-sanitizer's tools, masks against the CPU's, results against PyTorch's flash attention, the attention library
# in PyTorch, and two ranks over NCCL on the one GPU. Then, one at a time, what measures: speed beside PyTorch's
# (attention, and the step of GPT-2 124M), the tokens that it draws a second, Nsight Compute's figures, memory over a
# thousand steps; where there are several GPUs, all of them over NCCL against one; the Shakespeare recipe with and
# without dropout, for the time that is left.
# Needs an NVIDIA GPU (sm_80 or later), the CUDA toolkit, CMake, a C++ compiler; the libraries of train/setup.sh, or
# .carry/ with their headers (tests/gpu/carry.sh); for PyTorch a Python with torch and numpy (PYTHON=..., default
# python3): without it these steps are skipped.
#   tests/gpu/check.sh [--prebuilt DIR] [--jobs N] [--only STEP,STEP...] [--out DIR] [--build DIR] [--emulated]
# The report, in build-gpu/report or --out, is summary.md, summary.json, check.log and pictures. --prebuilt takes the
# programs that tests/gpu/prebuild.sh built, on whatever machine: then neither toolkit nor compiler is needed. --jobs:
# how many steps run side by side (half of the cores, at most 8). What is expected of an H100 or H200
# (expectations.json) is printed beside what was measured. --only runs the build and the steps named:
# racecheck tests torch ranks_one_gpu memcheck training initcheck synccheck library masks ptx, and of those that
# measure: bench profile growth bench_library bench_sample bench_training ranks shakespeare. The last line is "N passed,
# N failed" (steps); a step that fails or runs out of time does not stop another. A missed speed target is reported and
# does not fail.
# --emulated tries the script on the emulated device, with small shapes: nothing then runs on a GPU.
set -uo pipefail

export EMULATED=no PYTHON=${PYTHON:-python3} PYTHONDONTWRITEBYTECODE=1 PREBUILT="" BUILD=""
out="" only="" jobs=""
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --build | --prebuilt | --only | --jobs)
      [ $# -ge 2 ] || { echo "check.sh: $1 needs a value" >&2; exit 2; }
      case $1 in
        --out) out=$(realpath -m "$2") ;;
        --build) BUILD=$(realpath -m "$2") ;;
        --prebuilt) PREBUILT=$(realpath -m "$2") ;;
        --only) only=,$2, ;;
        --jobs) jobs=$2 ;;
      esac
      shift 2 ;;
    --emulated) EMULATED=yes; shift ;;
    *)
      echo "usage: tests/gpu/check.sh [--prebuilt DIR] [--jobs N] [--only STEPS] [--out DIR] [--build DIR]" \
        "[--emulated]" >&2
      exit 2 ;;
  esac
done
cd "$(dirname "$0")/../.." || exit 1
for name in ${only//,/ }; do
  if ! grep -q "^$name() {" tests/gpu/steps.sh; then
    echo "check.sh: there is no step $name: see the top of tests/gpu/check.sh" >&2
    exit 2
  fi
done
jobs=${jobs:-$(($(nproc) / 2 < 8 ? $(nproc) / 2 : 8))}
if ! [[ "$jobs" =~ ^[0-9]{1,3}$ ]] || [ "$jobs" -lt 1 ]; then jobs=1; fi

# Seconds: of all steps behind the build together, and of the build. Nothing is in a hurry where it is emulated.
budget=300 build_limit=300 slower=1
if [ "$EMULATED" = yes ]; then
  budget=3600 build_limit=1800 slower=4
  BUILD=${BUILD:-build-gpu-emulated}
  export CUDA_VISIBLE_DEVICES="" ARCHITECTURE=none
  export GLINT=glint_simt TESTS=glint_tests_simt PTX_CHECK=ptx_check_simt ATTENTION_CASE=attention_case_simt
  gpu="none: emulated device" driver=none toolkit=none
else
  BUILD=${BUILD:-build-gpu}
  export GLINT=glint TESTS=glint_tests_gpu PTX_CHECK=ptx_check ATTENTION_CASE=attention_case ARCHITECTURE
  found=$(nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader 2> /dev/null | head -n 1)
  if [ -z "$found" ]; then
    echo "check.sh: no NVIDIA GPU here: nvidia-smi finds none (--emulated tries the script without one)" >&2
    exit 1
  fi
  IFS=, read -r gpu driver ARCHITECTURE <<< "$found"
  driver=${driver# } ARCHITECTURE=${ARCHITECTURE//[ .]/}
  nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
  toolkit=$("$nvcc" --version 2> /dev/null | sed -nE 's/.*release .*, V([0-9.]+).*/\1/p')
  toolkit=${toolkit:-not found}
fi
export TARGETS="$GLINT $TESTS $PTX_CHECK $ATTENTION_CASE glint_attention"
if [ "$EMULATED" = no ]; then TARGETS+=" ptx_check_simt"; fi
export PROGRAMS=${PREBUILT:-$BUILD}
commit=${GLINT_COMMIT:-$(git describe --always --dirty 2> /dev/null || echo unknown)}
if [ -n "$PREBUILT" ]; then
  commit+=", programs of $(sed -n 's/^commit //p' "$PREBUILT/manifest.txt" 2> /dev/null)"
fi
out=${out:-$BUILD/report}
export WORK=$BUILD/check OUT=$out
rm -rf "$WORK"
mkdir -p "$out" "$WORK" || exit 1
log=$out/check.log
: > "$log"
# shellcheck source=tests/gpu/libraries.sh
. tests/gpu/libraries.sh
if [ -n "$PREBUILT" ]; then find_libraries; fi

names=() titles=() states=() durations=() notes=()
passed=0 failed=0 skipped=0 steps_start=0

# What a step is called and how many seconds it may take; steps.sh has the steps themselves.
declare -A title limit
step() { title[$1]=$3 limit[$1]=$(($2 * slower)); }
step build "$build_limit" "build"
step racecheck 150 "compute-sanitizer racecheck, small shapes"
step tests 150 "CUDA tests on the device"
step torch 120 "masks, outputs and gradients against PyTorch"
step ranks_one_gpu 120 "two ranks over NCCL on one GPU"
step memcheck 120 "compute-sanitizer memcheck, small shapes"
step training 120 "compute-sanitizer, tiny training runs"
step initcheck 120 "compute-sanitizer initcheck, small shapes"
step synccheck 120 "compute-sanitizer synccheck, small shapes"
step library 60 "libglint_attention against PyTorch"
step masks 60 "masks: the kernels against the CPU"
step ptx 60 "PTX wrappers against their emulation"
step bench 75 "attention beside PyTorch"
step bench_library 20 "libglint_attention beside PyTorch"
step bench_training 90 "training beside PyTorch"
step profile 40 "attention under Nsight Compute"
step bench_sample 25 "drawing tokens from GPT-2 124M"
step growth 30 "memory over 1000 steps"
step shakespeare 60 "the Shakespeare recipe, with and without dropout"
step ranks 60 "several GPUs over NCCL"

# run STEP: in the background of this script; its output is WORK/STEP.log, its status and seconds WORK/STEP.result.
run() {
  local name=$1 start=$SECONDS left status=124
  export LIMIT=${limit[$name]} # the step's scripts read it
  left=$((budget - (SECONDS - steps_start)))
  if [ "$name" != build ] && [ "$LIMIT" -gt "$left" ]; then LIMIT=$left; fi
  if [ "$LIMIT" -lt 5 ]; then
    echo "not started: no time left" > "$WORK/$name.log"
    if [ "$name" = shakespeare ]; then status=77; else status=1; fi
  else
    timeout --kill-after=5 "$LIMIT" bash tests/gpu/steps.sh "$name" > "$WORK/$name.log" 2>&1 < /dev/null &
    local child=$!
    trap 'kill "$child" 2> /dev/null' TERM
    wait "$child"
    status=$?
  fi
  echo "$status $((SECONDS - start)) $LIMIT" > "$WORK/$name.result.new"
  mv "$WORK/$name.result.new" "$WORK/$name.result"
}
report() { # STEP, which has ended
  local name=$1 status seconds limit state note
  read -r status seconds limit < "$WORK/$name.result"
  { printf '\n=== %s\n' "${title[$name]}"; cat "$WORK/$name.log"; } >> "$log"
  note=$(tail -n 1 "$WORK/$name.log" | cut -c 1-200)
  case $status in
    0) state=passed passed=$((passed + 1)) ;;
    77) state=skipped skipped=$((skipped + 1)) ;;
    *) state=failed failed=$((failed + 1)) ;;
  esac
  case $status in 124 | 137) note="not finished in $limit s; last line: $note" ;; esac
  names+=("$name") titles+=("${title[$name]}") states+=("$state") durations+=("$seconds") notes+=("$note")
  printf '%s: %s, %d s: %s\n' "${title[$name]}" "$state" "$seconds" "$note"
}
# side_by_side N STEP...: at most N at a time, begun and reported in this order.
side_by_side() {
  local most=$1 name running=0 wanted=() told=0
  shift
  for name in "$@"; do
    if [ -z "$only" ] || [ "$name" = build ] || [[ "$only" == *",$name,"* ]]; then wanted+=("$name"); fi
  done
  for name in "${wanted[@]}" ""; do
    while [ "$running" -ge "$most" ] || { [ -z "$name" ] && [ "$running" -gt 0 ]; }; do
      wait -n
      running=$((running - 1))
      while [ "$told" -lt "${#wanted[@]}" ] && [ -f "$WORK/${wanted[told]}.result" ]; do
        report "${wanted[told]}"
        told=$((told + 1))
      done
    done
    if [ -n "$name" ]; then
      run "$name" &
      running=$((running + 1))
    fi
  done
}
trap 'kill $(jobs -p) 2> /dev/null; wait; exit 130' INT TERM

quoted() { # a JSON string
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "$(tr -d '\000-\037' <<< "$text")"
}
write_json() {
  printf '{"gpu": %s, "driver": %s, "toolkit": %s, "commit": %s, "emulated": %s, "seconds": %d,\n' \
    "$(quoted "$gpu")" "$(quoted "$driver")" "$(quoted "$toolkit")" "$(quoted "$commit")" \
    "$([ "$EMULATED" = yes ] && echo true || echo false)" "$SECONDS"
  printf '"passed": %d, "failed": %d, "skipped": %d,\n"steps": [' "$passed" "$failed" "$skipped"
  local i separator=
  for i in "${!names[@]}"; do
    printf '%s\n{"name": %s, "state": "%s", "seconds": %d, "note": %s}' "$separator" "$(quoted "${names[i]}")" \
      "${states[i]}" "${durations[i]}" "$(quoted "${notes[i]}")"
    separator=,
  done
  printf ']'
  local part
  for part in torch bench training sample; do
    if [ -s "$WORK/$part.json" ]; then printf ',\n"%s": %s' "$part" "$(< "$WORK/$part.json")"; fi
  done
  printf '}\n'
}
write_markdown() {
  printf '# glint on a GPU\n\n%s, driver %s, CUDA toolkit %s, commit %s, %s, %d s.\n' \
    "$gpu" "$driver" "$toolkit" "$commit" "$(date -u +%Y-%m-%d)" "$SECONDS"
  if [ "$EMULATED" = yes ]; then printf 'Emulated: nothing here ran on a GPU, and the times mean nothing.\n'; fi
  printf '\n| step | | s | |\n|---|---|---|---|\n'
  local i
  for i in "${!names[@]}"; do
    printf '| %s | %s | %d | %s |\n' "${titles[i]}" "${states[i]}" "${durations[i]}" "${notes[i]//|//}"
  done
  for i in "${!names[@]}"; do
    if [ "${states[i]}" = failed ] && [ -s "$WORK/${names[i]}.log" ]; then
      # shellcheck disable=SC2016 # the quotes are Markdown's
      printf '\n## %s: first errors, and the end of its output\n\n```\n%s\n...\n%s\n```\n' "${titles[i]}" \
        "$(grep -m 20 -iE 'error|failed|=========' "$WORK/${names[i]}.log" | cut -c 1-300)" \
        "$(tail -n 20 "$WORK/${names[i]}.log" | cut -c 1-300)"
    fi
  done
  if [ -s "$WORK/bench.md" ]; then printf '\n## Speed\n\n%s\n' "$(< "$WORK/bench.md")"; fi
  if [ -s "$WORK/training.md" ]; then printf '\n## Training\n\n%s\n' "$(< "$WORK/training.md")"; fi
  if [ -s "$WORK/expectations.md" ]; then
    printf '\n## Expected of an H100 or H200\n\n%s\n' "$(< "$WORK/expectations.md")"
  fi
  if [ -s "$WORK/torch.md" ]; then printf '\n## Against PyTorch\n\n%s\n' "$(< "$WORK/torch.md")"; fi
}

side_by_side 1 build
steps_start=$SECONDS
side_by_side "$jobs" racecheck tests torch ranks_one_gpu memcheck training initcheck synccheck library masks ptx
side_by_side 1 bench profile growth bench_library bench_sample bench_training ranks shakespeare

if command -v "$PYTHON" > /dev/null; then "$PYTHON" tests/gpu/expectations.py "$WORK" > "$WORK/expectations.md"; fi
write_json > "$out/summary.json"
write_markdown > "$out/summary.md"
printf '\n'
for part in training bench expectations; do
  if [ -s "$WORK/$part.md" ]; then cat "$WORK/$part.md"; fi
done
echo "$out: summary.md, summary.json, check.log"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
