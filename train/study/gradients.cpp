// glint study gradients: what number formats, kernels and the order of summation cost in exactness.
#include "train/study/gradients.h"

namespace glint {

namespace {

using nlohmann::ordered_json;

struct GradientFlags : StudyFlags {
  std::string run;
  GptConfig model{.context = 256, .layers = 6};
  double dropout = 0.1;
  int steps = 200, batch = 4, threads = 0;
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
  GLINT_REQUIRE(f.dropout >= 0 && f.model.attn_dropout < 1, "--dropout ", f.dropout, " is not in [0, 1)");
  GptConfig model = f.model;
  model.vocab = 2;
  model.validate();
  if (f.contexts.empty()) f.contexts = {f.model.context / 4, f.model.context / 2, f.model.context};
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
  const StudiedModel& get(const PartDone& done) {
    if (!studied_) studied_ = train_shortly({f_.model, f_.batch, f_.steps, f_.threads, f_.seed}, done);
    return *studied_;
  }
  StudiedBatch batch(int T) const { return {.T = T, .sequences = f_.batch, .mask_seed = f_.seed}; }

 private:
  const GradientFlags& f_;
  std::optional<StudiedModel> studied_;
};

ordered_json joined(const std::vector<ordered_json>& results, size_t begin, size_t end) {
  ordered_json all = ordered_json::array();
  for (size_t n = begin; n < end; ++n)
    for (const ordered_json& row : results[n]) all.push_back(row);
  return all;
}

void study_gradients(GradientFlags& f) {
  Subject subject(f);
  if (!f.run.empty()) f.model = subject.of_run().config;
  validate(f);
  ordered_json settings = f.settings();
  for (const char* name : {"layers", "heads", "embd", "context", "dropout", "steps"})
    if (!f.run.empty()) settings.erase(name);
  if (f.run.empty()) settings.erase("run");
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
  std::vector<StudyUnit> units = {unit("the model's gradient", 20, [&](const StudiedModel& m, const PartDone& done) {
    return gradient_distances(m, subject.batch(T), f.threads, done);
  })};
  units.push_back(unit("order of summation", 5, [&](const StudiedModel& m, const PartDone& done) {
    return order_distances(m, subject.batch(T), f.threads, done);
  }));
  const size_t first_layers = units.size();
  for (const int length : f.contexts)
    units.push_back(unit(str_cat("layers, T ", length), 5.0 * length * length / (T * T),
                         [&f, &subject, length](const StudiedModel& m, const PartDone& done) {
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
  Claims claims;
  check_errors(claims, layers, "in each layer of the model");
  if (!random.empty()) check_errors(claims, random, "of random inputs");
  check_orders(claims, orders);
  check_ways(claims, ways);

  const std::string about =
      f.run.empty() ? str_cat("A model of ", f.model.layers, " layers, ", f.model.heads, " heads and ", f.model.embd,
                              " channels, trained here for ", f.steps, " steps on the built-in corpus")
                    : str_cat("The run ", f.run, " at step ", subject.of_run().step);
  const std::string over_T =
      random.empty() ? ""
                     : str_cat("## Attention over T\n\nRandom inputs, ", kRandomHeads, " heads of ", kRandomHeadSize,
                               " channels.\n\n", error_table(random), "\n![Errors over T](random.svg)\n\n");
  const std::string page = str_cat(
      claims.text, "\n", about, "; ", f.batch, " sequences of its training data.\n",
      "An error or a distance is the root of the mean square of the differences, against that of the values. One\n",
      "rounding to fp32 changes a value by at most 6e-8 of itself, one to bf16 by 4e-3. All of it runs on the CPU,\n",
      "where bf16 is computed in fp32 and rounded where arrays are written.\n\n",
      "## Attention in the model's layers\n\n",
      "Queries, keys, values and the gradient of the output, as a pass of training has them. The error\nof the worst ",
      "layer ", "against double, given the same inputs.\n\n", error_table(layers),
      "\n![Errors in fp32](fp32.svg)\n\n![Errors in bf16](bf16.svg)\n\n", over_T, "## The order of summation\n\n",
      "The first sequence, T = ", T, ", fp32: the distance from glint's kernel on one thread, and the error against\n",
      "double, in the worst layer. Named orders are the steps of kernels/ladder. Keys are put in another order\n",
      "without causal mask and dropout, where it changes nothing but the rounding.\n\n", order_table(orders),
      "\n## The model's gradient\n\nThe distance from the gradient of the whole batch in one pass with ", f.threads,
      " threads. Ranks are computed\nhere one after another, each with its part of the batch and its masks, and ",
      "added in their order, as\nranks on CPUs do. The last rows are other gradients: training averages over them.\n\n",
      distance_table(ways),
      "\n![Distances by layer and tensor](model.svg)\n\n"
      "The ways that move it, by layer and tensor; empty: the same bits.\n");
  study.write_json("gradients.json",
                   ordered_json{{"layers", layers}, {"random", random}, {"orders", orders}, {"gradient", ways}});
  study.write("fp32.svg", layers_picture(layers, {kFlash, kReference}));
  study.write("bf16.svg", layers_picture(layers, {kBf16, kReferenceBf16}));
  if (!random.empty()) study.write("random.svg", random_picture(random));
  study.write("model.svg", distances_picture(ways, f.model.layers));
  write_out(claims.text);
  study.write_page("What precision costs", page);
  GLINT_REQUIRE(claims.good, "a bound does not hold: see ", f.out, "/study.md");
}

}  // namespace

void register_study_gradients(CLI::App& studies) {
  const auto f = std::make_shared<GradientFlags>();
  StudyCommand command(studies, "gradients", "What precision and the order of summation cost", *f);
  CLI::Option* const run = command.add("run", f->run, "Study this run's model and data")->type_name("RUN");
  for (CLI::Option* option :
       {command.add("layers", f->model.layers, "Layers of the model that is trained for a moment", 2),
        command.add("heads", f->model.heads, "Its heads"), command.add("embd", f->model.embd, "Its channels", 64),
        command.add("context", f->model.context, "Its context", 64),
        command.add("dropout", f->dropout, "Of its attention weights"),
        command.add("steps", f->steps, "Steps that it is trained", 20)->check(kCount)})
    option->excludes(run);
  command.add("lengths", f->contexts, "Tokens per sequence to measure, up to the context")
      ->default_str("a quarter, half, all of it");
  command.add("random-context", f->random_contexts, "The same for random inputs", std::vector{64, 128});
  command.add("batch", f->batch, "Sequences");
  command.add("threads", f->threads, "CPU threads; 0: all");
  command.add("seed", f->seed, "Of the weights, the masks and the random inputs");
  command.run([f] {
    f->model.kv_heads = f->model.heads;
    f->model.attn_dropout = static_cast<float>(f->dropout);
    study_gradients(*f);
  });
}

}  // namespace glint
