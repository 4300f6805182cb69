// glint report, and what a run records for it.
#include <doctest/doctest.h>

#include "tests/train/metrics.h"
#include "train/metrics.h"

using namespace glint;
using namespace glint::test;

namespace {

// What keeps a page or a picture from being XML; "" if nothing.
std::string xml_problem(const std::string& text) {
  std::vector<std::string> open;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '&') {
      const size_t end = text.find(';', at);
      const std::string name = text.substr(at + 1, end - at - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot")
        return "a bare & before " + text.substr(at, 20);
    }
    if (text[at] != '<') continue;
    size_t end = at + 1;
    for (bool quoted = false; end < text.size() && (quoted || text[end] != '>'); ++end) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '<') return "< inside a tag: " + text.substr(at, 40);
    }
    const std::string tag = text.substr(at + 1, end - at - 1);
    at = end;
    if (tag.starts_with('!') || tag.ends_with('/')) continue;
    const std::string name = tag.substr(0, tag.find(' '));
    if (!tag.starts_with('/')) {
      open.push_back(name);
    } else if (open.empty() || "/" + open.back() != name) {
      return "</" + name + " closes " + (open.empty() ? "nothing" : open.back());
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : open.back() + " stays open";
}

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// A small run, by default of one step, whose metrics are then those given.
std::string run_with(const ScratchFolder& folder, const std::string& name, const std::string& metrics,
                     const Arguments& more = {}) {
  const std::string run = folder / name;
  const Arguments tiny = words_of("--layers 1 --heads 2 --embd 16 --context 8 --batch 2 --eval-batches 1 --quiet");
  const Ran ran =
      run_program(join(join({"train", "--out", run}, tiny), more.empty() ? Arguments{"--steps", "1"} : more));
  REQUIRE(ran.err == "");
  if (!metrics.empty()) write_file_for_test(run + "/metrics.jsonl", metrics);
  return run;
}

const std::string kSomeMetrics =
    "{\"step\":0,\"tokens\":0,\"device\":\"a <fast> CPU\",\"dtype\":\"fp32\"}\n"
    "{\"step\":0,\"tokens\":0,\"val_loss\":4.0,\"train_loss\":4.1}\n"
    "{\"step\":10,\"tokens\":160,\"loss\":3.5,\"lr\":0.001,\"grad_norm\":1.5,\"step_ms\":2,\"tokens_per_s\":800}\n"
    "{\"step\":10,\"tokens\":160,\"sample\":\"<script>alert('&')</script>\\n\\\"end\\\"\"}\n"
    "{\"step\":20,\"tokens\":320,\"loss\":2e0,\"val_loss\":2.0}\n"
    "{\"step\":30,\"tokens\":480,\"loss\":null}\n";

}  // namespace

TEST_CASE("report: one page of several runs, without a network, whatever their names and texts") {
  const ScratchFolder folder;
  const std::string a =
      run_with(folder, "a<b>&\"c\"", kSomeMetrics, {"--lr", "0.002", "--dropout", "0.1", "--steps", "1"});
  const std::string b = run_with(folder, "other", kSomeMetrics), page = folder / "report.html";
  const Ran ran = run_program({"report", a, b, "--out", page});
  REQUIRE(ran.err == "");
  REQUIRE(ran.code == 0);
  const std::string html = read_file(page);
  CHECK(xml_problem(html) == "");
  CHECK(occurrences(html, "a&lt;b&gt;&amp;&quot;c&quot;") > 5);
  CHECK(occurrences(html, "http") == occurrences(html, "xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(occurrences(html, "<figure>") == 4);  // losses, throughput, gradient norm, learning rate; no MFU
  CHECK(occurrences(html, "<pre>&lt;script&gt;alert('&amp;')&lt;/script&gt;\n&quot;end&quot;</pre>") == 2);
  CHECK(html.find("a &lt;fast&gt; CPU") != std::string::npos);
  CHECK(html.find("2.0000 at step 20") != std::string::npos);
  // out, lr, min-lr and three rates of dropout differ; the rest is the same.
  CHECK(occurrences(html, "<tr class=\"differs\"") == 6);
  CHECK(html.find("<td>attention weights, each layer</td><td>1</td><td>0.1</td>") != std::string::npos);
  CHECK(html.find("<td>10.16%</td>") != std::string::npos);  // of 26/256
}

TEST_CASE("report: the losses as a picture; errors are one line") {
  const ScratchFolder folder;
  const std::string run = run_with(folder, "x<y&z", kSomeMetrics), svg = folder / "losses.svg";
  REQUIRE(run_program({"report", run, "--svg", svg}).code == 0);
  const std::string picture = read_file(svg);
  CHECK(xml_problem(picture) == "");
  CHECK(picture.starts_with("<svg "));
  CHECK(picture.find("x&lt;y&amp;z: validation") != std::string::npos);
  CHECK(occurrences(picture, "fill=\"none\"") == 2);
  CHECK(picture.find("nan") == std::string::npos);
  const auto fails = [](const Arguments& arguments, const std::string& why) {
    const Ran ran = run_program(join({"report"}, arguments));
    INFO(ran.err);
    CHECK(ran.code == 1);
    CHECK(occurrences(ran.err, "\n") == 1);
    CHECK(ran.err.find(why) != std::string::npos);
  };
  fails({run}, "--out FILE.html");
  fails({folder / "nothing", "--svg", svg}, "there is no run folder");
  fails({run, "--out", folder / "no/folder.html"}, "folder.html");
  const std::string no_losses =
      run_with(folder, "none", "{\"step\":0,\"tokens\":0,\"device\":\"CPU\",\"dtype\":\"fp32\"}\n");
  fails({no_losses, "--svg", svg}, "no losses yet");
  write_file_for_test(no_losses + "/metrics.jsonl", "");
  fails({no_losses, "--out", folder / "page.html"}, "no metrics yet");
  CHECK(read_file(svg) == picture);
}

TEST_CASE("--sample-every: texts in metrics.jsonl, those of `glint sample`; the training has the same bits") {
  const ScratchFolder folder;
  const Arguments flags = {"--steps", "9", "--dropout", "0.2", "--log-every", "3", "--eval-every", "4"};
  const std::string with = run_with(folder, "with", "", join(flags, {"--sample-every", "4"}));
  const std::string without = run_with(folder, "without", "", flags);
  CHECK(read_file(with + "/last/model.safetensors") == read_file(without + "/last/model.safetensors"));
  CHECK(losses_of(with) == losses_of(without));
  std::vector<uint64_t> steps;
  std::string last;
  for (const MetricsLine& line : read_metrics(with + "/metrics.jsonl")) {
    if (!line.sample) continue;
    steps.push_back(line.step);
    last = *line.sample;
  }
  CHECK(steps == std::vector<uint64_t>{4, 8, 9});
  const Ran ran = run_program({"sample", with, "--checkpoint", "last", "--tokens", "200"});
  CHECK(ran.out.size() == last.size() + 2);  // the first token, and the line's end
  CHECK(ran.out.find(last) == 1);
  for (const MetricsLine& line : read_metrics(without + "/metrics.jsonl")) CHECK(!line.sample);
}

TEST_CASE("metrics: a line is read as it was written; a damaged line ends the file") {
  const ScratchFolder folder;
  const std::string path = folder / "metrics.jsonl";
  MetricsLine line{.step = 7, .tokens = 70, .device = "CPU \"x\"", .dtype = "bf16", .machine = "a CPU"};
  double value = 0.1;
  for (const auto& [key, number] : numbers_of(line)) *number = value += 1;
  line.sample = "caf\xC3\xA9\n";
  const std::string text = to_text(line);
  const std::string damaged = "{\"step\":7,\"lo\n";  // hides no line behind it
  write_file_for_test(path, text + damaged + text + "{\"step\":8,\"lo");
  std::vector<size_t> ends;
  const auto lines = read_metrics(path, &ends);
  REQUIRE(lines.size() == 2);
  CHECK(to_text(lines[1]) == text);
  CHECK(ends == std::vector<size_t>{text.size(), 2 * text.size() + damaged.size()});
  line.loss = NAN;
  CHECK(to_text(line).find("\"loss\":null") != std::string::npos);
}
