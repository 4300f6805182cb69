// glint study cost: what a training step costs. Time op by op against the roofline, the arena's memory over the step,
// and what dropout at each site, recompute, and the reference attention over T add.
#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "src/measure/median.h"
#include "src/measure/op_times.h"
#include "src/measure/peak.h"
#include "train/options_table.h"
#include "train/random_step.h"
#include "train/study/cost_page.h"

namespace glint {

namespace {

using nlohmann::ordered_json;

struct CostFlags : StudyFlags {
  TrainOptions options;
  double dropout = 0.1;
  int steps = 15;
  std::vector<int> lengths = {64, 128, 256, 512, 1024};
};

// A step to be timed against others.
struct CostVariant {
  std::string name;
  TrainOptions options;
};

class CostMeter {
 public:
  explicit CostMeter(const CostFlags& flags)
      : flags_(flags), device_(open_device(flags.options)), dtype_(dtype_of(flags.options.dtype)), team_({}, "", {}) {}
  const Device& device() const { return device_; }

  std::unique_ptr<RandomStep> make(const TrainOptions& options) {
    return std::make_unique<RandomStep>(options, device_, dtype_, team_);
  }

  // The ops of a step, and what the device can do at most.
  ordered_json ops(const PartDone& part_done) {
    const auto random = make(flags_.options);
    for (int warm_up = 0; warm_up < 2; ++warm_up) random->run();
    random->step().profile(true);
    for (int n = 0; n < flags_.steps; ++n) {
      random->run();
      part_done(0.8 * (n + 1) / flags_.steps);
    }
    const double peak = peak_gflops(device_, dtype_), bandwidth = measure_bandwidth(device_);
    auto rows = ordered_json::array();
    for (const OpTime& op : op_times(random->step().profiled(), flags_.steps, peak, bandwidth)) {
      rows.push_back({{"op", op.name},
                      {"ms", op.ms},
                      {"share", op.share},
                      {"gflops", op.gflops},
                      {"gbytes_per_s", op.gbytes},
                      {"of_peak", op.of_peak},
                      {"roofline_ms", op.roofline_ms}});
    }
    return {{"peak_gflops", peak}, {"bandwidth_gbytes", bandwidth}, {"ops", rows}};
  }

  // The plan of the arena, for a step that keeps all activations or recomputes them.
  ordered_json arena(bool recompute) {
    TrainOptions options = flags_.options;
    options.recompute = recompute;
    const auto random = make(options);
    const ArenaPlan plan = random->step().graph().arena_plan();
    auto buffers = ordered_json::array();
    for (const auto& [name, use, place] : plan.buffers) {
      auto ranges = ordered_json::array();
      for (const LiveRange& range : place.ranges) ranges.push_back({range.first, range.last});
      if (!ranges.empty() && place.bytes > 0)
        buffers.push_back(
            {{"name", name}, {"use", use}, {"bytes", place.bytes}, {"offset", place.offset}, {"live", ranges}});
    }
    return {{"bytes", random->step().arena_bytes()},
            {"forward_steps", plan.forward_steps},
            {"steps", plan.steps},
            {"buffers", buffers}};
  }

  // Median milliseconds of the variants, timed in turn, so that a slow moment of the machine hits all of them. Against
  // the first: the median over the rounds of what a step takes more.
  ordered_json in_turn(const std::vector<CostVariant>& variants, const PartDone& part_done) {
    std::vector<std::unique_ptr<RandomStep>> steps;
    std::vector<std::vector<double>> ms(variants.size()), more(variants.size());
    for (const CostVariant& variant : variants) {
      steps.push_back(make(variant.options));
      for (int warm_up = 0; warm_up < 2; ++warm_up) steps.back()->run();
    }
    for (int round = 0; round < flags_.steps; ++round) {
      for (size_t n = 0; n < steps.size(); ++n) {
        ms[n].push_back(
            device_.visit([&](const auto& ctx) { return 1000 * measure_seconds(ctx, [&] { steps[n]->run(); }); }));
        more[n].push_back(ms[n].back() / ms[0].back() - 1);
        part_done((round + (n + 1.0) / static_cast<double>(steps.size())) / flags_.steps);
      }
    }
    auto rows = ordered_json::array();
    for (size_t n = 0; n < variants.size(); ++n) {
      std::sort(ms[n].begin(), ms[n].end());
      rows.push_back({{"variant", variants[n].name},
                      {"ms", median(ms[n])},
                      {"quartile_ms", {ms[n][ms[n].size() / 4], ms[n][ms[n].size() * 3 / 4]}},
                      {"more", median(more[n])},
                      {"arena_bytes", steps[n]->step().arena_bytes()}});
    }
    return rows;
  }

 private:
  CostFlags flags_;
  Device device_;
  DType dtype_;
  Team team_;
};

TrainOptions with_dropout(TrainOptions options, double embedding, double attention, double residual) {
  options.model.embd_dropout = static_cast<float>(embedding);
  options.model.attn_dropout = static_cast<float>(attention);
  options.model.resid_dropout = static_cast<float>(residual);
  return options;
}

std::vector<CostVariant> site_variants(const CostFlags& flags) {
  const double p = flags.dropout;
  std::vector<CostVariant> variants = {{"no dropout", flags.options},
                                       {"dropout of the embedding", with_dropout(flags.options, p, 0, 0)},
                                       {"dropout of attention", with_dropout(flags.options, 0, p, 0)},
                                       {"dropout of both projections", with_dropout(flags.options, 0, 0, p)},
                                       {"dropout at all sites", with_dropout(flags.options, p, p, p)},
                                       {"recompute, no dropout", flags.options}};
  variants.back().options.recompute = !flags.options.recompute;
  if (flags.options.recompute) variants.back().name = "without recompute, no dropout";
  return variants;
}

// The kinds of attention that this device has, at one length, without and with dropout of attention.
std::vector<CostVariant> length_variants(const CostFlags& flags, int T) {
  std::vector<AttentionKind> kinds = {AttentionKind::flash};
  if (flags.options.device == DeviceChoice::cuda) {
    if (flags.options.dtype == DtypeChoice::bf16) kinds.push_back(AttentionKind::flash_sm80);
  } else if (flags.options.dtype == DtypeChoice::fp32) {
    kinds.push_back(AttentionKind::reference);
  }
  std::vector<CostVariant> variants;
  for (const AttentionKind kind : kinds) {
    for (const double p : {0.0, flags.dropout}) {
      TrainOptions options = with_dropout(flags.options, 0, p, 0);
      options.attention = kind;
      options.batch = std::max(1, flags.options.batch * flags.options.model.context / T);  // the same number of tokens
      options.micro_batch = 0;
      options.model.context = T;
      variants.push_back({str_cat(choice_name(kind), p > 0 ? str_cat(", dropout ", p) : ""), options});
    }
  }
  return variants;
}

void validate_cost(const CostFlags& flags) {
  GLINT_REQUIRE(flags.dropout > 0 && static_cast<float>(flags.dropout) < 1, "--dropout ", flags.dropout,
                " is not in (0, 1)");
  std::vector<CostVariant> all = site_variants(flags);
  for (const int T : flags.lengths) {
    GLINT_REQUIRE(T >= 1 && T <= 1 << 20, "--lengths ", T, ": give numbers from 1 to 1048576, as 64,128");
    for (CostVariant& variant : length_variants(flags, T)) all.push_back(std::move(variant));
  }
  for (CostVariant& variant : all) {
    variant.options.ranks = 1;
    variant.options.complete();
    variant.options.validate();
  }
}

void study_cost(CostFlags& flags) {
  flags.options = on_this_machine(flags.options);
  validate_cost(flags);
  CostMeter meter(flags);
  Study study("cost", flags, flags.settings(), meter.device().name());
  const auto sites = site_variants(flags);
  std::vector<StudyUnit> units = {
      {"ops", 2, {}, [&](const PartDone& part_done) { return meter.ops(part_done); }},
      {"arena", 0.1, {}, [&](const PartDone&) { return meter.arena(false); }},
      {"arena with recompute", 0.1, {}, [&](const PartDone&) { return meter.arena(true); }},
      {"dropout and recompute", static_cast<double>(sites.size()), {}, [&](const PartDone& part_done) {
         return meter.in_turn(sites, part_done);
       }}};
  const size_t first_length = units.size();
  for (const int T : flags.lengths) {
    const auto variants = length_variants(flags, T);
    const double cost = static_cast<double>(variants.size()) * (1 + 0.5 * T / flags.options.model.context);
    units.push_back({str_cat("T ", T), cost, {}, [&, variants](const PartDone& part_done) {
                       return meter.in_turn(variants, part_done);
                     }});
  }
  const std::vector<ordered_json> results = study.run(units);
  const std::vector<ordered_json> over_lengths(results.begin() + static_cast<std::ptrdiff_t>(first_length),
                                               results.end());
  const std::string page = ops_section(study, results[0]) + arena_section(study, results[1], results[2]) +
                           sites_section(study, results[3]) + lengths_section(study, flags.lengths, over_lengths);
  ordered_json all = {
      {"ops", results[0]}, {"arena", results[1]}, {"arena_with_recompute", results[2]}, {"sites", results[3]}};
  for (size_t n = 0; n < over_lengths.size(); ++n)
    all["lengths"].push_back({{"context", flags.lengths[n]}, {"steps", over_lengths[n]}});
  study.write_json("cost.json", all);
  study.write_page("What a step costs", page);
}

}  // namespace

void register_study_cost(CLI::App& studies) {
  const auto flags = std::make_shared<CostFlags>();
  StudyCommand command(studies, "cost", "What a training step costs, op by op, in time and memory", *flags);
  TrainOptions& options = flags->options;
  GptConfig& model = options.model;
  model.context = 128, model.vocab = 65, options.batch = 16;
  std::set<std::string_view> names = {"batch",  "micro-batch", "recompute", "loss-chunk", "graph",
                                      "device", "dtype",       "threads",   "matmul",     "tf32"};
  names.insert(kShapeOptions.begin(), kShapeOptions.end());
  const std::map<std::string_view, int> quick = {{"layers", 2}, {"embd", 32}, {"context", 32}, {"batch", 4}};
  for_each_option(options, [&]<typename Value>(Value& value, const OptionInfo& info) {
    if (!names.contains(info.name)) return;
    std::optional<Value> small;
    if constexpr (std::is_same_v<Value, int>)
      if (const auto found = quick.find(info.name); found != quick.end()) small = found->second;
    CLI::Option* option = command.add(info.name, value, info.help, small);
    if (info.shown_default) option->default_str(info.shown_default);
  });
  command.add("vocab", model.vocab, "Vocabulary");
  command.add("dropout", flags->dropout, "Drop probability where a site drops");
  command.add("lengths", flags->lengths, "Tokens per sequence to compare attention at, as 64,128", std::vector{16, 64});
  command.add("steps", flags->steps, "Timed steps of each variant", 3)->check(kCount);
  command.run([flags] { study_cost(*flags); });
}

}  // namespace glint
