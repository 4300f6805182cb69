#!/usr/bin/env bash
# Sets up, builds, trains a small GPT on the built-in corpus, and prints text by it.
# The run is kept in runs/demo (or demo-2, demo-3, ...).
set -euo pipefail
cd "$(dirname "$0")/.."

train/setup.sh
cmake --preset release > /dev/null
cmake --build build --target glint

run=runs/demo
for ((n = 2; ; ++n)); do
  [ -e "$run" ] || break
  run=runs/demo-$n
done
build/glint train --config train/recipes/demo.toml --out "$run"
echo
echo "--- 400 characters by the model just trained: build/glint sample $run ---"
build/glint sample "$run" --prompt $'\n' --tokens 400 --temperature 0.8 --seed 1
echo
