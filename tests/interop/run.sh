#!/usr/bin/env bash
# What glint writes, opened by the programs it is for, and what they write, read by glint.
#   tests/interop/run.sh [JUDGE...]                    all, or hf, gguf, ...: tests/interop/JUDGE_judges.py
#   PYTHON=venv/bin/python tests/interop/run.sh        with the packages that this Python has
# Without PYTHON a venv is made in build/interop, with the packages that pip finds. A judge without its packages is
# skipped, with a word; the status is 1 if one has failed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

if [ -z "${PYTHON:-}" ]; then
  PYTHON=build/interop/bin/python
  [ -x "$PYTHON" ] || python3 -m venv build/interop || { echo "skipped: python3 has no venv"; exit 0; }
  for package in numpy safetensors tokenizers tiktoken gguf tensorboard torch transformers llama-cpp-python; do
    "$PYTHON" -m pip install --quiet "$package" > /dev/null 2>&1 || echo "pip finds no $package"
  done
fi
cmake --preset release > /dev/null && cmake --build build --target glint glint_logits || exit 1

export GLINT=$PWD/build/glint GLINT_LOGITS=$PWD/build/glint_logits OMP_WAIT_POLICY=passive
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TOKENIZERS_PARALLELISM=false
status=0
[ $# -gt 0 ] || set -- $(cd tests/interop && ls ./*_judges.py | sed 's|./||; s|_judges.py||')
for judge in "$@"; do
  "$PYTHON" "tests/interop/${judge}_judges.py" || status=1
done
exit $status
