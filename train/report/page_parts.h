// The style and the script of a report.
#pragma once

namespace glint {

inline constexpr const char* kReportStyle = R"(
:root{color-scheme:light dark;--page:#fff;--ink:#1f2328;--dim:#59636e;--line:#d1d9e0;--head:#f6f8fa;--mark:#fff3c4}
@media (prefers-color-scheme:dark){
:root{--page:#0d1117;--ink:#e6edf3;--dim:#9198a1;--line:#2f3742;--head:#161b22;--mark:#3d3200}}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:1440px;margin:auto;padding:8px 20px 40px}
h1{font-size:1.5em;overflow-wrap:anywhere}
h2{font-size:1.15em;margin:1.8em 0 .5em}
h3{font-size:1em;margin:.5em 0;overflow-wrap:anywhere}
.dim,figcaption{color:var(--dim)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.92em}
th,td{border-bottom:1px solid var(--line);padding:3px 14px 3px 6px;text-align:left;vertical-align:top;max-width:32em;
overflow-wrap:break-word}
td{font-variant-numeric:tabular-nums}
tbody th{font-weight:400;color:var(--dim);white-space:nowrap}
@media (max-width:600px){tbody th{white-space:normal}}
thead th{white-space:nowrap}
thead th,.group th{background:var(--head);color:var(--ink);font-weight:600}
.differs>*{background:var(--mark);color:var(--ink)}
#differences:checked~.settings .differs>*{background:none}
#differences:checked~.settings tr:not(.differs):not(:first-child),#differences:checked~.settings .group{display:none}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:16px;margin-top:8px}
figure{margin:0;position:relative}
figure svg.picture{display:block;width:100%;height:auto}
.log,#logarithmic:checked~.charts .linear{display:none}
#logarithmic:checked~.charts .log{display:block}
.tip{position:absolute;pointer-events:none;background:var(--head);border:1px solid var(--line);border-radius:4px;
padding:4px 8px;font-size:12px;line-height:1.4;white-space:pre;z-index:1}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:8px 20px}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--head);padding:8px;margin:4px 0 10px;font-size:.88em}
)";

// Shows the values of all lines at the step nearest to the pointer. The path of a line has a point for each value.
// Without the characters that XML reserves.
inline constexpr const char* kReportScript = R"(
for (const figure of document.querySelectorAll('figure')) {
  const lines = JSON.parse(figure.querySelector('script').textContent);
  for (const title of figure.querySelectorAll('path > title')) title.remove();
  const tip = figure.appendChild(document.createElement('div'));
  tip.className = 'tip';
  tip.hidden = true;
  figure.onpointerleave = () => { tip.hidden = true; };
  figure.onpointermove = event => {
    const svg = event.target.closest('svg.picture');
    tip.hidden = !svg;
    if (!svg) return;
    const all = lines.flatMap(line => line.x.map((step, i) => ({step, i, line})));
    const first = all.reduce((a, b) => Math.min(a, b.step), Infinity);
    const last = all.reduce((a, b) => Math.max(a, b.step), -Infinity);
    const ends = [...svg.querySelectorAll('path[fill=none]')].map(path => path.getBoundingClientRect());
    const left = Math.min(...ends.map(box => box.left)), right = Math.max(...ends.map(box => box.right));
    const step = first + (last - first) * (event.clientX - left) / Math.max(1, right - left);
    const nearest = xs => xs.reduce((a, x, i) => Math.abs(x - step) >= Math.abs(xs[a] - step) ? a : i, 0);
    const rows = lines.map(line => {
      const i = nearest(line.x);
      return line.name + ': ' + Number(line.y[i].toPrecision(5)) + ' at ' + line.x[i];
    });
    tip.textContent = rows.join('\n');
    const place = figure.getBoundingClientRect();
    const x = event.clientX - place.left;
    const over = Math.max(0, x + 14 + tip.offsetWidth - place.width);
    tip.style.left = Math.max(0, x + 14 - over) + 'px';
    tip.style.top = event.clientY - place.top + 16 + 'px';
  };
}
)";

}  // namespace glint
