// glint study gradients: what number formats, kernels and the order of summation cost in exactness.
#include <algorithm>
#include <cmath>
#include <set>

#include "train/study/gradient_pictures.h"
#include "train/study/gradient_units.h"
#include "train/study/study.h"

namespace glint {

namespace {

using nlohmann::ordered_json;
using Rows = std::vector<std::vector<std::string>>;

struct GradientFlags : StudyFlags {
  std::string run;
  GptConfig model{.context = 256, .layers = 6};
  double dropout = 0.1;
  int steps = 100, batch = 4, threads = 0;
  std::vector<int> contexts{}, random_contexts = {128, 512, 2048};
  uint64_t seed = 1;
};

constexpr int kRandomHeads = 2, kRandomHeadSize = 64;

void validate(GradientFlags& f) {
  GLINT_REQUIRE(f.batch >= 1 && f.batch <= 1024, "--batch ", f.batch, ": give a number from 1 to 1024");
  GLINT_REQUIRE(f.threads >= 0, "--threads ", f.threads, " is negative");
  if (f.threads == 0) f.threads = default_threads();
  for (const int T : f.random_contexts)
    GLINT_REQUIRE(T >= 2 && T <= 1 << 14, "--random-context ", T, ": give numbers from 2 to 16384, as 128,1024");
  GptConfig model = f.model;
  model.vocab = 2;
  model.validate();
  if (f.contexts.empty()) f.contexts = {f.model.context / 4, f.model.context / 2, f.model.context};
  std::sort(f.contexts.begin(), f.contexts.end());
  f.contexts.erase(std::unique(f.contexts.begin(), f.contexts.end()), f.contexts.end());
  for (const int T : f.contexts)
    GLINT_REQUIRE(T >= 2 && T <= f.model.context, "--lengths ", T, ": the model's context is ", f.model.context,
                  "; give numbers from 2 to that");
}

// The model: of the run, or trained for a moment once it is needed.
class Subject {
 public:
  explicit Subject(const GradientFlags& f) : f_(f) {
    if (!f.run.empty()) studied_ = studied_run(f.run, f.threads);
  }
  const StudiedModel& of_run() const { return *studied_; }
  const StudiedModel& get(const ShareDone& done) {
    if (!studied_) studied_ = train_shortly({f_.model, f_.batch, f_.steps, f_.threads, f_.seed}, done);
    return *studied_;
  }
  StudiedBatch batch(int T) const { return {.T = T, .sequences = f_.batch, .mask_seed = f_.seed}; }

 private:
  const GradientFlags& f_;
  std::optional<StudiedModel> studied_;
};

// The largest of an error over layers, of one kernel at T (0: at all).
double worst(const ordered_json& rows, const std::string& kernel, const char* result, int T = 0) {
  double most = 0;
  for (const ordered_json& row : rows)
    if (row["kernel"] == kernel && (T == 0 || row["T"] == T)) most = std::max(most, row[result].get<double>());
  return most;
}
// The largest quotient of two kernels' errors in one layer at one T.
double worst_ratio(const ordered_json& rows, const std::string& kernel, const std::string& than, const char* result) {
  double most = 0;
  for (const ordered_json& a : rows)
    for (const ordered_json& b : rows)
      if (a["kernel"] == kernel && b["kernel"] == than && a["T"] == b["T"] && a["layer"] == b["layer"])
        most = std::max(most, a[result].get<double>() / b[result].get<double>());
  return most;
}

std::string error_table(const ordered_json& rows) {
  Rows table = {{"T", "kernel", "out", "dq", "dk", "dv"}};
  std::set<int> lengths;
  for (const ordered_json& row : rows) lengths.insert(row["T"].get<int>());
  for (const int T : lengths) {
    for (const char* kernel : {kFlash, kReference, kBf16, kBf16Inputs, kBestBf16}) {
      table.push_back({str_cat(T), kernel});
      for (const char* result : kResults) table.back().push_back(formatted("%.2g", worst(rows, kernel, result, T)));
    }
  }
  return markdown_table(table);
}

// One line for each claim; `good` becomes false where one does not hold.
struct Verdicts {
  bool good = true;
  std::string text{};

  void add(bool holds, const std::string& claim) {
    good = good && holds;
    text += str_cat("- ", holds ? "yes" : "**no**", ": ", claim, "\n");
  }
};

// The bounds of FlashAttention's tests: twice the error of a plain implementation, three times for gradients.
void judge_errors(Verdicts& verdicts, const ordered_json& rows, const std::string& where) {
  for (const auto& [kernel, than, what] :
       {std::tuple{kFlash, kReference, "fp32: errors of the fused kernel against those of the reference"},
        std::tuple{kBf16, kBestBf16, "bf16: errors against those of exact results rounded once"}}) {
    bool holds = true;
    std::string ratios;
    for (const char* result : kResults) {
      const double ratio = worst_ratio(rows, kernel, than, result);
      holds = holds && ratio <= (result == kResults[0] ? 2 : 3);
      ratios += str_cat(ratios.empty() ? "" : ", ", result, " ", formatted("%.2f", ratio), " times");
    }
    verdicts.add(holds, str_cat(what, ", ", where, ": at most ", ratios, " (allowed: 2, gradients 3)"));
  }
}

std::string order_table(const ordered_json& rows) {
  Rows table = {{"order", "same bits"}};
  for (const char* result : kResults) table[0].push_back(str_cat(result, ": distance"));
  for (const char* result : kResults) table[0].push_back(str_cat(result, ": error"));
  std::vector<std::string> orders;
  for (const ordered_json& row : rows)
    if (std::find(orders.begin(), orders.end(), row["order"]) == orders.end()) orders.push_back(row["order"]);
  for (const std::string& order : orders) {
    bool same = true;
    double distance[4] = {}, error[4] = {};
    for (const ordered_json& row : rows) {
      if (row["order"] != order) continue;
      same = same && row["same_bits"].get<bool>();
      for (int n = 0; n < 4; ++n) {
        distance[n] = std::max(distance[n], row[kResults[n]]["distance"].get<double>());
        error[n] = std::max(error[n], row[kResults[n]]["error"].get<double>());
      }
    }
    table.push_back({order, same ? "yes" : "no"});
    for (const double value : distance) table.back().push_back(formatted("%.1e", value));
    for (const double value : error) table.back().push_back(formatted("%.1e", value));
  }
  return markdown_table(table);
}

void judge_orders(Verdicts& verdicts, const ordered_json& rows) {
  bool same = true;
  double most = 0;
  for (const ordered_json& row : rows) {
    if (row["order"] == "the same again") same = same && row["same_bits"].get<bool>();
    for (const char* result : kResults) {
      const ordered_json& r = row[result];
      const double errors = r["error"].get<double>() + r["of_kernel"].get<double>();
      if (errors > 0) most = std::max(most, r["distance"].get<double>() / errors);
    }
  }
  verdicts.add(same, "attention twice in the same order gives the same bits");
  verdicts.add(
      most <= 1 + 1e-6,
      str_cat("attention in another order is no further away than the two errors against double add up to (at most ",
              formatted("%.2f", most), " of it)"));
}

std::string distance_table(const ordered_json& ways) {
  Rows table = {{"way", "same bits", "distance", "largest of a tensor", "which"}};
  for (const ordered_json& way : ways) {
    double most = 0;
    std::string which;
    for (const auto& [name, distance] : way["parameters"].items())
      if (distance.get<double>() > most) most = distance, which = name;
    table.push_back({way["way"], way["same_bits"].get<bool>() ? "yes" : "no", formatted("%.1e", way["distance"]),
                     formatted("%.1e", most), which});
  }
  return markdown_table(table);
}

void judge_ways(Verdicts& verdicts, const ordered_json& ways) {
  constexpr double kFp32 = 1e-5;  // a hundred roundings of fp32
  bool same = true;
  double rounding = 0, bf16 = 0, noise = INFINITY;
  for (const ordered_json& way : ways) {
    const double distance = way["distance"];
    if (way["kind"] == "same") same = same && way["same_bits"].get<bool>();
    if (way["kind"] == "rounding") rounding = std::max(rounding, distance);
    if (way["kind"] == "bf16") bf16 = distance;
    if (way["kind"] == "noise") noise = std::min(noise, distance);
  }
  verdicts.add(same, "the model's gradient twice in the same way, and with --recompute, has the same bits");
  verdicts.add(rounding < kFp32,
               str_cat("threads, micro-batches, ranks and the reference attention move the gradient by no "
                       "more than fp32's rounding: at most ",
                       formatted("%.1e", rounding), " of it (allowed: ", kFp32, ")"));
  verdicts.add(bf16 < 0.1 * noise,
               str_cat("bf16 moves it by ", formatted("%.1e", bf16),
                       ", less than a tenth of what other masks or another batch do (", formatted("%.1e", noise), ")"));
}

ordered_json joined(const std::vector<ordered_json>& results, size_t begin, size_t end) {
  ordered_json all = ordered_json::array();
  for (size_t n = begin; n < end; ++n)
    for (const ordered_json& row : results[n]) all.push_back(row);
  return all;
}

void study_gradients(GradientFlags f) {
  Subject subject(f);
  if (!f.run.empty()) f.model = subject.of_run().config;
  validate(f);
  ordered_json settings;
  if (!f.run.empty()) settings["run"] = f.run;
  else
    settings = {{"layers", f.model.layers},   {"heads", f.model.heads}, {"embd", f.model.embd},
                {"context", f.model.context}, {"dropout", f.dropout},   {"steps", f.steps}};
  settings.update(ordered_json{{"lengths", f.contexts},
                               {"random-context", f.random_contexts},
                               {"batch", f.batch},
                               {"threads", f.threads},
                               {"seed", f.seed}});
  Study study("gradients", f, settings);
  // A unit that needs the model: the first one trains it, in half of its time.
  const auto unit = [&](const std::string& name, double cost, auto measure) {
    ordered_json of_run;
    if (!f.run.empty()) of_run = {{"step", subject.of_run().step}};
    return StudyUnit{.name = name, .cost = cost, .settings = of_run, .work = [&, measure](const auto& part_done) {
                       const StudiedModel& model = subject.get([&](double share) { part_done(0.5 * share); });
                       return measure(model, [&](double share) { part_done(0.5 + 0.5 * share); });
                     }};
  };
  const int T = f.contexts.back();
  std::vector<StudyUnit> units = {unit("the model's gradient", 20, [&](const StudiedModel& m, const ShareDone& done) {
    return gradient_distances(m, subject.batch(T), f.threads, done);
  })};
  units.push_back(unit("order of summation", 5, [&](const StudiedModel& m, const ShareDone& done) {
    return order_distances(m, subject.batch(T), f.threads, done);
  }));
  const size_t first_layers = units.size();
  for (const int length : f.contexts)
    units.push_back(unit(str_cat("layers, T ", length), 5.0 * length * length / (T * T),
                         [&f, &subject, length](const StudiedModel& m, const ShareDone& done) {
                           return layer_errors(m, subject.batch(length), f.threads, done);
                         }));
  const size_t first_random = units.size();
  for (const int length : f.random_contexts) {
    units.push_back({.name = str_cat("random inputs, T ", length),
                     .cost = 1e-6 * length * length,
                     .work = [&f, length](const auto&) {
                       const AttentionShape shape{.T = length,
                                                  .S = length,
                                                  .NH = kRandomHeads,
                                                  .NKV = kRandomHeads,
                                                  .HS = kRandomHeadSize,
                                                  .causal = true,
                                                  .scale = 0.125f};
                       ordered_json rows =
                           attention_errors(random_attention_case(shape, f.model.attn_dropout, f.seed), f.threads);
                       for (ordered_json& row : rows) row["layer"] = "random inputs";
                       return rows;
                     }});
  }
  const std::vector<ordered_json> results = study.run(units);
  const ordered_json &ways = results[0], &orders = results[1];
  const ordered_json layers = joined(results, first_layers, first_random),
                     random = joined(results, first_random, results.size());
  Verdicts verdicts;
  judge_errors(verdicts, layers, "in each layer of the model");
  if (!random.empty()) judge_errors(verdicts, random, "of random inputs");
  judge_orders(verdicts, orders);
  judge_ways(verdicts, ways);

  const std::string about =
      f.run.empty() ? str_cat("A model of ", f.model.layers, " layers, ", f.model.heads, " heads and ", f.model.embd,
                              " channels, trained here for ", f.steps, " steps on the built-in corpus")
                    : str_cat("The run ", f.run, " at step ", subject.of_run().step);
  const std::string page = str_cat(
      verdicts.text, "\n", about, "; ", f.batch,
      " sequences of its training data. An error or a distance is the root of the\n",
      "mean square of the differences, against that of the values themselves. fp32 rounds to 6e-8, bf16 to 4e-3, at most.\n",
      "Everything runs on the CPU, where bf16 is computed in fp32 and rounded where arrays are written.\n",
      "\n## Attention in the model's layers\n\nQueries, keys, values and the gradient of the output are recorded in a training ",
      "pass; the error is that of the\nworst layer against double, given the same inputs.\n\n", error_table(layers),
      "\n![Errors in fp32](fp32.svg)\n\n![Errors in bf16](bf16.svg)\n",
      random.empty() ? ""
                     : str_cat("\n## Attention over T\n\nRandom inputs, ", kRandomHeads, " heads of ", kRandomHeadSize,
                               " channels.\n\n", error_table(random), "\n![Errors over T](random.svg)\n"),
      "\n## The order of summation\n\nOf the first sequence, T = ", T,
      ": the distance from glint's kernel on one thread, and the ",
      "error against double, in\nthe worst layer. The named orders are the steps of [kernels/ladder](../../kernels/ladder/README.md); keys are put in ",
      "another\norder without causal mask and dropout, where it would change more than the rounding.\n\n",
      order_table(orders),
      "\n## The model's gradient\n\nThe distance from the gradient of the whole batch in one pass with ", f.threads,
      " threads. Ranks are computed here one after\nanother, each with its part of the batch and its own numbers of dropout, and added in ",
      "their order, as ranks on CPUs\ndo. The last rows are other gradients: what training averages over.\n\n",
      distance_table(ways), "\n![Distances by layer and tensor](model.svg)\n");
  study.write_json("gradients.json",
                   ordered_json{{"layers", layers}, {"random", random}, {"orders", orders}, {"gradient", ways}});
  study.write("fp32.svg", layers_picture(layers, {kFlash, kReference}));
  study.write("bf16.svg", layers_picture(layers, {kBf16, kBf16Inputs}));
  if (!random.empty()) study.write("random.svg", random_picture(random));
  study.write("model.svg", distances_picture(ways, f.model.layers));
  write_out(verdicts.text);
  study.write_page("What precision costs", page);
  GLINT_REQUIRE(verdicts.good, "a bound does not hold: see ", f.out, "/study.md");
}

CLI::Option* add_list(CLI::App& command, const std::string& name, std::vector<int>& list, const std::string& help,
                      const std::string& initial) {
  return command.add_option(name, list, help)->delimiter(',')->type_name("LIST")->default_str(initial);
}

}  // namespace

void register_study_gradients(CLI::App& studies) {
  const auto f = std::make_shared<GradientFlags>();
  CLI::App& command = add_study(studies, "gradients", "What precision and the order of summation cost", *f);
  CLI::Option* const run = command.add_option("--run", f->run, "Study this run's model and data")->type_name("RUN");
  for (CLI::Option* option :
       {add_option(command, "--layers", f->model.layers, "Layers of the model that is trained for a moment"),
        add_option(command, "--heads", f->model.heads, "Its heads"),
        add_option(command, "--embd", f->model.embd, "Its channels"),
        add_option(command, "--context", f->model.context, "Its context"),
        add_option(command, "--dropout", f->dropout, "Of its attention weights"),
        add_count(command, "--steps", f->steps, "Steps that it is trained")})
    option->excludes(run);
  add_list(command, "--lengths", f->contexts, "Tokens per sequence to measure, up to the context",
           "a quarter, half, all of it");
  add_list(command, "--random-context", f->random_contexts, "The same for random inputs", "128,512,2048");
  add_option(command, "--batch", f->batch, "Sequences");
  add_option(command, "--threads", f->threads, "CPU threads; 0: all");
  add_option(command, "--seed", f->seed, "Of the weights, the masks and the random inputs");
  command.callback([&command, f] {
    quick_value(command, *f, "--layers", f->model.layers, 2);
    quick_value(command, *f, "--embd", f->model.embd, 64);
    quick_value(command, *f, "--context", f->model.context, 64);
    quick_value(command, *f, "--steps", f->steps, 20);
    quick_value(command, *f, "--random-context", f->random_contexts, {64, 128});
    f->model.kv_heads = f->model.heads;
    f->model.attn_dropout = static_cast<float>(f->dropout);
    study_gradients(*f);
  });
}

}  // namespace glint
