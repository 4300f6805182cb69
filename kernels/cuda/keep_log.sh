#!/usr/bin/env bash
# Runs a compiler, writes its output to OBJECT.log (OBJECT: the argument of -o), and shows errors and warnings only.
set -uo pipefail
object=
for ((i = 1; i < $#; ++i)); do
  if [ "${!i}" = -o ]; then
    next=$((i + 1))
    object=${!next}
  fi
done
[ -n "$object" ] || exec "$@" # not a compilation
"$@" > "$object.log" 2>&1
status=$?
if [ "$status" -ne 0 ]; then
  cat "$object.log" >&2
else
  grep -E 'warning|error' "$object.log" >&2
fi
exit "$status"
