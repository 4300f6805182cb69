#!/usr/bin/env bash
# Checks and times glint on a real GPU, in under 9 minutes and without internet: builds, runs the CUDA tests on the
# device (kernels, and whole training runs against the CPU), every PTX wrapper against its emulation, the
# compute-sanitizer's tools, masks against the CPU's, results against PyTorch's flash attention, memory over a thousand
# steps, the Shakespeare recipe with and without dropout, and speed beside PyTorch's: attention, and the step of GPT-2
# 124M; where there are several GPUs, all of them over NCCL against one.
# Needs an NVIDIA GPU (sm_80 or later), the CUDA toolkit, CMake, a C++ compiler; the libraries of train/setup.sh, or
# .carry/ with their headers (tests/gpu/carry.sh); for PyTorch a Python with torch and numpy (PYTHON=..., default
# python3): without it these steps are skipped.
#   tests/gpu/check.sh [--out DIR] [--build DIR] [--only STEP,STEP...] [--emulated]
# DIR (build-gpu/report) gets summary.md, summary.json, check.log and pictures. --only runs the build and the steps
# named: ptx tests masks torch library memcheck synccheck initcheck racecheck training growth shakespeare ranks bench
# bench_training. The last line is "N passed, N failed" (steps); a step that fails or runs out of time does not stop the
# next. A missed speed target is reported and does not fail.
# --emulated tries the script on the emulated device, with small shapes: nothing then runs on a GPU.
set -uo pipefail

export EMULATED=no BUILD="" PYTHON=${PYTHON:-python3} PYTHONDONTWRITEBYTECODE=1
out="" only=""
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --build | --only)
      [ $# -ge 2 ] || { echo "check.sh: $1 needs a value" >&2; exit 2; }
      case $1 in
        --out) out=$(realpath -m "$2") ;;
        --build) BUILD=$(realpath -m "$2") ;;
        --only) only=,$2, ;;
      esac
      shift 2 ;;
    --emulated) EMULATED=yes; shift ;;
    *) echo "usage: tests/gpu/check.sh [--out DIR] [--build DIR] [--only STEPS] [--emulated]" >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/../.." || exit 1
for name in ${only//,/ }; do
  if ! grep -q "^$name() {" tests/gpu/steps.sh; then
    echo "check.sh: there is no step $name: see the top of tests/gpu/check.sh" >&2
    exit 2
  fi
done

budget=530 build_limit=240 # seconds: of all steps together, and of the build
if [ "$EMULATED" = yes ]; then
  budget=3600 build_limit=1800
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
export TARGETS="$GLINT $TESTS $PTX_CHECK ptx_check_simt $ATTENTION_CASE glint_attention"
out=${out:-$BUILD/report}
export WORK=$BUILD/check OUT=$out
commit=${GLINT_COMMIT:-$(git describe --always --dirty 2> /dev/null || echo unknown)}
rm -rf "$WORK"
mkdir -p "$out" "$WORK" || exit 1
log=$out/check.log
: > "$log"

names=() titles=() states=() durations=() notes=()
passed=0 failed=0 skipped=0

# step NAME LIMIT TITLE: runs a step for at most LIMIT seconds, or what is left of the budget.
step() {
  local name=$1 title=$3 start=$SECONDS status state note
  if [ -n "$only" ] && [ "$name" != build ] && [[ "$only" != *",$name,"* ]]; then return; fi
  export LIMIT=$2
  if [ "$LIMIT" -gt $((budget - SECONDS)) ]; then LIMIT=$((budget - SECONDS)); fi
  if [ "$LIMIT" -lt 5 ]; then
    state=failed note="not started: no time left"
  else
    timeout --kill-after=5 "$LIMIT" bash tests/gpu/steps.sh "$name" > "$WORK/$name.log" 2>&1 < /dev/null
    status=$?
    { printf '\n=== %s\n' "$title"; cat "$WORK/$name.log"; } >> "$log"
    note=$(tail -n 1 "$WORK/$name.log" | cut -c 1-200)
    case $status in
      0) state=passed ;;
      77) state=skipped ;;
      124 | 137) state=failed note="not finished in $LIMIT s; last line: $note" ;;
      *) state=failed ;;
    esac
  fi
  case $state in
    passed) passed=$((passed + 1)) ;;
    failed) failed=$((failed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
  esac
  names+=("$name") titles+=("$title") states+=("$state") durations+=($((SECONDS - start))) notes+=("$note")
  printf '%s: %s, %d s: %s\n' "$title" "$state" $((SECONDS - start)) "$note"
}

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
  for part in torch bench training; do
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
  if [ -s "$WORK/training.md" ]; then printf '\n## Training GPT-2 124M\n\n%s\n' "$(< "$WORK/training.md")"; fi
  if [ -s "$WORK/torch.md" ]; then printf '\n## Against PyTorch\n\n%s\n' "$(< "$WORK/torch.md")"; fi
}

step build "$build_limit" "build"
step ptx 40 "PTX wrappers against their emulation"
step tests 120 "CUDA tests on the device"
step masks 40 "masks: the kernels against the CPU"
step torch 90 "masks, outputs and gradients against PyTorch"
step library 60 "libglint_attention against PyTorch"
step growth 40 "memory over 1000 steps"
step memcheck 45 "compute-sanitizer memcheck, small shapes"
step training 60 "compute-sanitizer, tiny training runs"
step bench_training 170 "GPT-2 124M beside PyTorch"
step shakespeare 90 "the Shakespeare recipe, with and without dropout"
step ranks 60 "several GPUs over NCCL"
step bench 100 "attention beside PyTorch"
for tool in racecheck synccheck initcheck; do step "$tool" 45 "compute-sanitizer $tool, small shapes"; done

write_json > "$out/summary.json"
write_markdown > "$out/summary.md"
printf '\n'
for part in training bench; do
  if [ -s "$WORK/$part.md" ]; then cat "$WORK/$part.md"; fi
done
echo "$out: summary.md, summary.json, check.log"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
