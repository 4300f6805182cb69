// glint study: measures what the documents say about the kernels. `ladder`: attention in steps (kernels/ladder).
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <random>

#include <nlohmann/json.hpp>

#include "data/file_writer.h"
#include "kernels/ladder/ladder.h"
#include "src/memory.h"
#include "train/commands/bench.h"
#include "train/commands/commands.h"
#include "train/machine.h"
#include "train/picture.h"

namespace glint {

namespace {

using ladder::Rung;

struct LadderFlags {
  std::string out;
  int heads = 2, head_size = 64;
  std::vector<int> contexts = {128, 256, 512, 1024, 2048};
  float dropout = 0.1f;
  bool causal = true;
  int repeats = 3;
  uint64_t seed = 1;
};

AttentionShape ladder_shape(const LadderFlags& flags, int T) {
  return {1,
          T,
          T,
          flags.heads,
          flags.heads,
          flags.head_size,
          flags.causal,
          1.0f / std::sqrt(static_cast<float>(flags.head_size))};
}

void validate_ladder(const LadderFlags& flags) {
  GLINT_REQUIRE(flags.heads >= 1 && flags.heads <= 1024, "--heads ", flags.heads, ": give a number from 1 to 1024");
  GLINT_REQUIRE(flags.head_size >= 8 && flags.head_size <= 256 && flags.head_size % 8 == 0, "--head-size ",
                flags.head_size, ": give a multiple of 8 from 8 to 256");
  GLINT_REQUIRE(flags.dropout >= 0 && flags.dropout < 1, "--dropout ", flags.dropout, " is not in [0, 1)");
  for (const int T : flags.contexts) {
    GLINT_REQUIRE(T >= 1 && T <= 1 << 16, "--context ", T, ": give numbers from 1 to 65536, as 128,1024");
    const AttentionShape shape = ladder_shape(flags, T);
    const double bytes = 4.0 * static_cast<double>(ladder::rungs()[0].scratch(shape, true).all(shape));
    GLINT_REQUIRE(bytes < 0.8 * static_cast<double>(machine_memory()), "--context ", T, ": the definition's matrices ",
                  "would take ", human_bytes(bytes), " of memory; give fewer --heads or a shorter --context");
  }
}

// Arrays (T, NH, HS) of one sequence.
template <typename Real>
struct LadderResults {
  explicit LadderResults(const AttentionShape& s)
      : shape(s), out(static_cast<size_t>(s.T) * s.NH * s.HS), dq(out), dk(out), dv(out) {}
  template <typename T>
  HeadView<T> view(std::vector<T>& array) const {
    return {array.data(), 0, int64_t{shape.NH} * shape.HS, shape.HS};
  }

  AttentionShape shape;
  std::vector<Real> out, dq, dk, dv;
};

// One problem, and what a rung makes of it.
struct LadderProblem : LadderResults<float> {
  LadderProblem(const LadderFlags& flags, int T, float p)
      : LadderResults(ladder_shape(flags, T)), q(out), k(out), v(out), dout(out), rng{.seed = flags.seed} {
    std::mt19937_64 engine(flags.seed);
    std::normal_distribution<float> normal;
    for (auto* array : {&q, &k, &v, &dout}) {
      for (float& value : *array) value = normal(engine);
    }
    lse.resize(static_cast<size_t>(T) * shape.NH);
    dropout = Dropout(p, &rng, 0);
  }
  AttentionForward<float> forward() {
    return {view(out), lse.data(), view(q), view(k), view(v), scratch.data(), shape, dropout};
  }
  AttentionBackward<float> backward() {
    return {view(dq), view(dk), view(dv), view(dout),     view(out), lse.data(),
            view(q),  view(k),  view(v),  scratch.data(), shape,     dropout};
  }

  std::vector<float> q, k, v, dout, lse, scratch;
  RngState rng;
  Dropout dropout;
};

// What is measured of one rung on one problem; also a row of the tables.
struct RungResult {
  int T;
  float p;
  ladder::Traffic traffic;
  double memory;                                                 // scratch and log-sum-exp, bytes
  double forward_ms = 0, backward_ms = 0, error = 0, share = 0;  // share of the error that is allowed
};

// The largest differences from double of out, dq, dk, dv.
std::vector<double> ladder_errors(const LadderResults<float>& got, const LadderResults<double>& exact) {
  const auto worst = [](const std::vector<float>& a, const std::vector<double>& b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double error = std::abs(a[i] - b[i]);
      most = std::isnan(error) ? INFINITY : std::max(most, error);
    }
    return most;
  };
  return {worst(got.out, exact.out), worst(got.dq, exact.dq), worst(got.dk, exact.dk), worst(got.dv, exact.dv)};
}

double largest_of(const auto& values) {
  double largest = 0;
  for (const auto value : values) largest = std::max<double>(largest, std::abs(value));
  return largest;
}

// The rule of FlashAttention's tests, and of ours: twice (out) or three times (gradients) the error of the reference,
// which is plain fp32, and a few roundings of the largest result or of the terms that cancel.
std::vector<double> allowed_ladder_errors(LadderProblem& x, const LadderResults<double>& exact, double ds_terms) {
  const CpuContext ctx;
  x.scratch.assign(reference_attention_scratch(ctx, x.shape), 0.0f);
  reference_attention_forward(ctx, x.forward());
  reference_attention_backward(ctx, x.backward());
  const double largest[] = {largest_of(exact.out), std::max(largest_of(exact.dq), ds_terms * largest_of(x.k)),
                            std::max(largest_of(exact.dk), ds_terms * largest_of(x.q)), largest_of(exact.dv)};
  std::vector<double> allowed = ladder_errors(x, exact);
  constexpr double kRoundings = 8 * 0x1p-24;
  for (size_t n = 0; n < allowed.size(); ++n)
    allowed[n] = (n == 0 ? 2 : 3) * allowed[n] + (n == 0 ? 2 : 1) * kRoundings * largest[n];
  return allowed;
}

// Of one thread: what else runs on the machine can only slow it down.
template <typename Call>
double fastest_ms(int repeats, const Call& call) {
  double best = INFINITY;
  for (int n = 0; n <= repeats; ++n) best = std::min(best, 1000 * measure_seconds(CpuContext{}, call));
  return best;
}

std::vector<RungResult> measure_rungs(const LadderFlags& flags, int T, float p) {
  LadderProblem x(flags, T, p);
  LadderResults<double> exact(x.shape);
  std::vector<double> rows(ladder::attention_in_double_scratch(x.shape));
  const double ds_terms = ladder::attention_in_double(
      {exact.view(exact.out), exact.view(exact.dq), exact.view(exact.dk), exact.view(exact.dv)}, x.backward(),
      rows.data());
  const std::vector<double> allowed = allowed_ladder_errors(x, exact, ds_terms);
  std::vector<RungResult> results;
  for (const Rung& rung : ladder::rungs()) {
    x.scratch.assign(rung.scratch(x.shape, p > 0).all(x.shape), 0.0f);
    RungResult r{T, p, rung.traffic(x.shape, p > 0),
                 static_cast<double>(sizeof(float) * (x.scratch.size() + x.lse.size()))};
    r.forward_ms = fastest_ms(flags.repeats, [&] { rung.forward(x.forward()); });
    r.backward_ms = fastest_ms(flags.repeats, [&] { rung.backward(x.backward()); });
    const std::vector<double> errors = ladder_errors(x, exact);
    for (size_t n = 0; n < errors.size(); ++n) {
      r.error = std::max(r.error, errors[n]);
      r.share = std::max(r.share, errors[n] / allowed[n]);
    }
    results.push_back(r);
  }
  return results;
}

std::string markdown_table(const std::vector<RungResult>& results) {
  std::string table =
      "| rung | idea | forward, ms | backward, ms | bytes moved, forward | backward | memory | largest error | of what is "
      "allowed |\n|---|---|---|---|---|---|---|---|---|\n";
  for (size_t n = 0; n < results.size(); ++n) {
    const RungResult& r = results[n];
    const Rung& rung = ladder::rungs()[n];
    char times[64], errors[64];
    std::snprintf(times, sizeof times, "%.2f | %.2f", r.forward_ms, r.backward_ms);
    std::snprintf(errors, sizeof errors, "%.1e | %.0f%%", r.error, 100 * r.share);
    table += str_cat("| ", n + 1, " ", rung.name, " | ", rung.idea, " | ", times, " | ", human_bytes(r.traffic.forward),
                     " | ", human_bytes(r.traffic.backward), " | ", human_bytes(r.memory), " | ", errors, " |\n");
  }
  return table;
}

nlohmann::ordered_json ladder_json(const std::vector<std::vector<RungResult>>& all) {
  auto json = nlohmann::ordered_json::array();
  for (const auto& results : all) {
    for (size_t n = 0; n < results.size(); ++n) {
      const RungResult& r = results[n];
      json.push_back({{"rung", ladder::rungs()[n].name},
                      {"context", r.T},
                      {"dropout", r.p},
                      {"forward_ms", r.forward_ms},
                      {"backward_ms", r.backward_ms},
                      {"forward_bytes", r.traffic.forward},
                      {"backward_bytes", r.traffic.backward},
                      {"memory_bytes", r.memory},
                      {"error", r.error},
                      {"error_of_allowed", r.share}});
    }
  }
  return json;
}

// value(result) over T, a chart for each rate of dropout.
template <typename Value>
std::string ladder_picture(const std::vector<std::vector<RungResult>>& all, const std::string& name,
                           const Value& value) {
  std::vector<Chart> charts;
  for (const auto& results : all) {
    const std::string title = results[0].p > 0 ? str_cat("dropout ", results[0].p) : "no dropout";
    auto chart = std::find_if(charts.begin(), charts.end(), [&](const Chart& known) { return known.title == title; });
    if (chart == charts.end()) {
      chart = charts.insert(chart, {title, {}});
      for (const Rung& rung : ladder::rungs())
        chart->lines.push_back({str_cat(chart->lines.size() + 1, " ", rung.name), {}});
    }
    for (size_t n = 0; n < results.size(); ++n) chart->lines[n].points.emplace_back(results[n].T, value(results[n]));
  }
  return draw_charts(charts, "T", name);
}

void study_ladder(LadderFlags flags) {
  validate_ladder(flags);
  std::sort(flags.contexts.begin(), flags.contexts.end());
  flags.contexts.erase(std::unique(flags.contexts.begin(), flags.contexts.end()), flags.contexts.end());
  const std::filesystem::path folder = flags.out;
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  GLINT_REQUIRE(!failed, "--out ", flags.out, " can't be created: ", failed.message());
  const std::string settings =
      str_cat("--heads ", flags.heads, " --head-size ", flags.head_size, " --dropout ", flags.dropout, " --causal ",
              flags.causal ? "true" : "false", " --repeats ", flags.repeats, " --seed ", flags.seed);
  std::string page = str_cat(
      "# Attention in steps\n\n`glint study ladder ", settings, "` on ", cpu_name(), ", ", compiled_vectors(),
      ". One thread, fp32, one sequence; the fastest run.\nBytes are those that a formula says move to and from memory; memory "
      "is what lies beside inputs and results. Errors are\nmeasured against double; twice that of plain fp32 is "
      "allowed, three times for gradients.\n\n![Time over T](ladder.svg)\n\n![Memory over T](memory.svg)\n");
  write_file(folder / "study.md", page);  // now, not in a minute, if it can't be
  std::vector<std::vector<RungResult>> all;
  bool good = true;
  for (const float p : {0.0f, flags.dropout}) {
    if (p == 0.0f && !all.empty()) continue;
    for (const int T : flags.contexts) {
      all.push_back(measure_rungs(flags, T, p));
      const std::string table = markdown_table(all.back());
      const std::string section = str_cat("## T ", T, p > 0 ? str_cat(", dropout ", p) : ", no dropout", "\n\n", table);
      page += "\n" + section;
      std::printf("%s\n", section.c_str());
      std::fflush(stdout);
      for (const RungResult& r : all.back()) good = good && r.share <= 1;
    }
  }
  write_file(folder / "ladder.json", ladder_json(all).dump(1) + "\n");
  write_file(folder / "ladder.svg", ladder_picture(all, "forward and backward, ms",
                                                   [](const auto& r) { return r.forward_ms + r.backward_ms; }));
  write_file(folder / "memory.svg", ladder_picture(all, "memory beside inputs and results, MB",
                                                   [](const auto& r) { return 1e-6 * r.memory; }));
  write_file(folder / "study.md", page);
  std::printf("written: %s\n", (folder / "study.md").c_str());
  GLINT_REQUIRE(good, "a rung's error is larger than allowed: see ", (folder / "study.md").string());
}

}  // namespace

void register_study(CLI::App& program) {
  CLI::App& study = *program.add_subcommand("study", "Measure the kernels step by step, with tables and pictures");
  study.require_subcommand(1);
  CLI::App& command = *study.add_subcommand("ladder", "Attention from the definition to glint's kernel, on one core");
  const auto flags = std::make_shared<LadderFlags>();
  command.add_option("--out", flags->out, "Folder for study.md, ladder.json and two pictures")
      ->type_name("DIR")
      ->required();
  add_option(command, "--heads", flags->heads, "Heads");
  add_option(command, "--head-size", flags->head_size, "Channels per head");
  command.add_option("--context", flags->contexts, "Tokens per sequence: one number or several, as 128,1024")
      ->delimiter(',')
      ->type_name("LIST")
      ->default_str("128,256,512,1024,2048");
  add_option(command, "--dropout", flags->dropout, "Drop probability; each T is measured without dropout too");
  add_option(command, "--causal", flags->causal, "Each query attends only to keys up to its own position");
  add_count(command, "--repeats", flags->repeats, "Timed runs, after one more; the fastest counts");
  add_option(command, "--seed", flags->seed, "Of the inputs and of the mask");
  command.callback([flags] { study_ladder(*flags); });
}

}  // namespace glint
