#!/usr/bin/env bash
# Writes an SVG picture of the losses of one run or several, from their metrics.jsonl, to standard output.
#   train/plot.sh RUN... > losses.svg
set -euo pipefail
if [ $# -eq 0 ]; then
  echo "usage: train/plot.sh RUN... > losses.svg" >&2
  exit 2
fi
files=()
for run in "$@"; do
  if [ ! -s "$run/metrics.jsonl" ]; then
    echo "plot: $run has no metrics.jsonl: give the folder of a run that has started" >&2
    exit 1
  fi
  files+=("$run/metrics.jsonl")
done

LC_ALL=C awk '
function number(key,    quoted) {
  quoted = length(key) + 3
  return match($0, "\"" key "\":-?[0-9.eE+-]+") ? substr($0, RSTART + quoted, RLENGTH - quoted) + 0 : ""
}
function note(kind, value) {
  if (value == "") return
  n = ++count[run, kind]; at[run, kind, n] = step; height[run, kind, n] = value
  if (step > last) last = step
  if (low == "" || value < low) low = value
  if (high == "" || value > high) high = value
}
FNR == 1 { ++run; name[run] = FILENAME; sub("/metrics.jsonl$", "", name[run]); sub(".*/", "", name[run])
  gsub("&", "\\&amp;", name[run]); gsub("<", "\\&lt;", name[run]); gsub(">", "\\&gt;", name[run])
  gsub(/[\001-\037]/, "?", name[run]) }
{ step = number("step"); note("train", number("loss")); note("val", number("val_loss")) }

function x(value) { return 60 + 600 * value / (last > 0 ? last : 1) }
function y(value) { return 340 - 300 * (value - bottom) / (top - bottom) }
# A step for about five marks over a range: 1, 2 or 5 times a power of ten.
function mark_step(range,    unit) {
  unit = 10 ^ int(log(range / 5) / log(10) - (range < 5 ? 1 : 0))
  return range / unit > 25 ? 10 * unit : range / unit > 10 ? 5 * unit : range / unit > 5 ? 2 * unit : unit
}
function line(kind, style,    n) {
  if (!count[run, kind]) return
  printf "<polyline fill=\"none\" stroke=\"%s\" %s points=\"", colour[(run - 1) % 5 + 1], style
  for (n = 1; n <= count[run, kind]; ++n) printf "%.1f,%.1f ", x(at[run, kind, n]), y(height[run, kind, n])
  print "\"/>"
}
END {
  if (low == "") { print "plot: no losses in these runs yet" > "/dev/stderr"; exit 1 }
  split("#1f6fb4 #c8542b #3a8f4d #7a4fa3 #8a6d1f", colour, " ")
  unit = mark_step(high > low ? high - low : 1)
  bottom = int(low / unit) * unit; top = (int(high / unit) + 1) * unit
  print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 700 390\" font-family=\"sans-serif\" font-size=\"13\">"
  print "<rect width=\"700\" height=\"390\" fill=\"white\"/>"
  for (v = bottom; v <= top + unit / 2; v += unit) {
    printf "<path d=\"M60 %.1fH660\" stroke=\"#e3e3e3\"/>", y(v)
    printf "<text x=\"52\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", y(v) + 4, v
  }
  unit = mark_step(last > 0 ? last : 1)
  for (v = 0; v <= last; v += unit) printf "<text x=\"%.1f\" y=\"360\" text-anchor=\"middle\">%d</text>\n", x(v), v
  print "<text x=\"360\" y=\"380\" text-anchor=\"middle\">step</text>"
  print "<text x=\"60\" y=\"24\">loss, nats per token</text>"
  for (run = 1; run in name; ++run) {
    line("train", "stroke-opacity=\"0.35\"")
    line("val", "stroke-width=\"2\"")
    printf "<text x=\"655\" y=\"%d\" text-anchor=\"end\" fill=\"%s\">%s: training, validation (bold)</text>\n",
      44 + 18 * run, colour[(run - 1) % 5 + 1], name[run]
  }
  print "</svg>"
}' "${files[@]}"
