// glint study cost: what a training step costs. Time op by op against the roofline, the arena's memory over the step,
// and what dropout at each site, recompute, and the reference attention over T add.
#include <algorithm>
#include <map>
#include <memory>

#include "src/measure/median.h"
#include "src/measure/op_times.h"
#include "src/measure/peak.h"
#include "train/picture/picture.h"
#include "train/random_step.h"
#include "train/study/study.h"

namespace glint {

namespace {

using nlohmann::ordered_json;

struct CostFlags : StudyFlags {
  TrainOptions options;
  DeviceFlags device;
  double dropout = 0.1;
  int steps = 20;
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
      : flags_(flags), device_(open_device(flags.device)), dtype_(dtype_of(flags.device.dtype)), team_({}, "", {}) {}
  const Device& device() const { return device_; }

  std::unique_ptr<RandomStep> make(const TrainOptions& options) {
    return std::make_unique<RandomStep>(options, device_, dtype_, team_);
  }

  // The ops of a step, and what the device can do at most.
  ordered_json ops(const StudyUnit::PartDone& part_done) {
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
  ordered_json in_turn(const std::vector<CostVariant>& variants, const StudyUnit::PartDone& part_done) {
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
  if (flags.device.device == DeviceChoice::cuda) {
    if (flags.device.dtype == DtypeChoice::bf16) kinds.push_back(AttentionKind::flash_sm80);
  } else if (flags.device.dtype == DtypeChoice::fp32) {
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
    TrainOptions& options = variant.options;
    options.device = flags.device.device, options.dtype = flags.device.dtype, options.threads = flags.device.threads;
    options.ranks = 1;
    options.complete();
    options.validate();
  }
}

std::string percent(double share) { return formatted("%+.1f%%", 100 * share); }

// ---- The page

std::string ops_section(const Study& study, const ordered_json& result) {
  std::vector<std::vector<std::string>> table = {{"op", "ms", "of the step", "GFLOP/s", "GB/s", "of peak"}};
  picture::BarPanel panel{
      "Time of each op in a step, and what the device's peak would take", {"ms"}, {"measured"}, "by the roofline", {}};
  constexpr size_t kMostBars = 24;
  for (const ordered_json& op : result["ops"]) {
    const std::string share = formatted("%.1f%%", 100 * op["share"].get<double>()),
                      of_peak = formatted("%.0f%%", 100 * op["of_peak"].get<double>());
    table.push_back({op["op"], formatted("%.3f", op["ms"]), share, formatted("%.1f", op["gflops"]),
                     formatted("%.1f", op["gbytes_per_s"]), of_peak});
    if (panel.bars.size() < kMostBars)
      panel.bars.push_back(
          {op["op"], {op["ms"]}, op["roofline_ms"].get<double>(), share + ", " + of_peak + " of peak"});
  }
  study.write("ops.svg", picture::draw_bars({panel}));
  return str_cat(
      "## Op by op\n\n![Time of each op](ops.svg)\n\nThe peak is ", formatted("%.0f", result["peak_gflops"]),
      " GFLOP/s in products and ", formatted("%.1f", result["bandwidth_gbytes"]),
      " GB/s of memory. The roofline is the longer of what an op's\nproducts and its bytes would take at that; "
      "an op whose bytes lie in a cache can be faster.\n\n",
      markdown_table(table), "\n");
}

struct ArenaText {
  picture::BlockMap map;
  std::string table;
};

ArenaText arena_text(const std::string& title, const ordered_json& arena) {
  const std::vector<std::string> steps = arena["steps"];
  const double forward = arena["forward_steps"];
  std::vector<double> live(steps.size());
  ArenaText text{{title,
                  {"step of the schedule"},
                  {"offset, MB", false, 0.0},
                  {"values", "gradients", "scratch"},
                  {},
                  {{0.0, "forward"}, {forward, "backward"}}},
                 ""};
  for (const ordered_json& buffer : arena["buffers"]) {
    const double bytes = buffer["bytes"], bottom = 1e-6 * buffer["offset"].get<double>();
    for (const auto& range : buffer["live"]) {
      const size_t first = range[0], last = range[1];
      for (size_t at = first; at <= last; ++at) live[at] += bytes;
      text.map.blocks.push_back({buffer["name"], static_cast<double>(first), static_cast<double>(last) + 1, bottom,
                                 bottom + 1e-6 * bytes, buffer["use"],
                                 str_cat(buffer["name"].get<std::string>(), ": ", human_bytes(bytes), ", ",
                                         steps[first], " to ", steps[last])});
    }
  }
  const auto most = std::max_element(live.begin(), live.end());
  const auto at = static_cast<size_t>(most - live.begin());
  std::map<std::string, double> by_tensor;  // the layers together
  for (const ordered_json& buffer : arena["buffers"]) {
    for (const auto& range : buffer["live"]) {
      if (range[0] > at || range[1] < at) continue;
      std::string name = buffer["name"];
      if (name.starts_with("h.")) name = "h.*" + name.substr(std::min(name.size(), name.find('.', 2)));
      by_tensor[name] += buffer["bytes"].get<double>();
    }
  }
  std::vector<std::pair<double, std::string>> largest;
  for (const auto& [name, bytes] : by_tensor) largest.emplace_back(bytes, name);
  std::sort(largest.rbegin(), largest.rend());
  std::vector<std::vector<std::string>> table = {{"tensor", "bytes", "share"}};
  for (const auto& [bytes, name] : largest)
    if (table.size() <= 12) table.push_back({name, human_bytes(bytes), formatted("%.1f%%", 100 * bytes / *most)});
  text.table = str_cat(title, ": ", human_bytes(arena["bytes"]), ". Most is live at step ", at, ", ", steps[at], ": ",
                       human_bytes(*most), ", of which\n\n", markdown_table(table), "\n");
  return text;
}

std::string arena_section(const Study& study, const ordered_json& kept, const ordered_json& recomputed) {
  const ArenaText all = arena_text("Activations kept", kept), less = arena_text("With recompute", recomputed);
  std::vector<picture::BlockMap> maps = {all.map, less.map};
  const double most = 1e-6 * std::max(kept["bytes"].get<double>(), recomputed["bytes"].get<double>());
  for (picture::BlockMap& map : maps) map.y.high = most;  // the same scale
  study.write("arena.svg", picture::draw_maps(maps, {.height = 380}));
  return str_cat(
      "## Memory over the step\n\n![The arena over a step](arena.svg)\n\nEach rectangle is a buffer: from the step that "
      "writes it to the last that reads it, at its place in the\narena. Parameters, their gradients and "
      "AdamW's moments lie elsewhere. Names and bytes are in the picture's tooltips.\n\n",
      all.table, less.table);
}

std::string sites_section(const Study& study, const ordered_json& rows) {
  std::vector<std::vector<std::string>> table = {{"step", "ms, median", "quartiles", "more", "arena"}};
  picture::BarPanel panel{"A step, in turn", {"ms, median"}, {"step"}, "", {}};
  for (const ordered_json& row : rows) {
    const std::string more = table.size() == 1 ? "" : percent(row["more"]);
    const auto& quartiles = row["quartile_ms"];
    table.push_back({row["variant"], formatted("%.2f", row["ms"]),
                     formatted("%.2f", quartiles[0]) + " to " + formatted("%.2f", quartiles[1]), more,
                     human_bytes(row["arena_bytes"])});
    panel.bars.push_back({row["variant"], {row["ms"]}, {}, formatted("%.2f ms ", row["ms"]) + more});
  }
  panel.parts.clear();  // one part needs no legend
  study.write("sites.svg", picture::draw_bars({panel}));
  return "## Dropout at each site, and recompute\n\n![A step with dropout at each site](sites.svg)\n\nThe variants are timed in turn; "
         "\"more\" is the median, over the rounds, of what a step takes more than the first\nvariant's of the same round.\n\n" +
         markdown_table(table) + "\n";
}

std::string lengths_section(const Study& study, const std::vector<int>& lengths,
                            const std::vector<ordered_json>& results) {
  std::vector<std::vector<std::string>> table = {{"T", "attention", "ms, median", "against flash", "arena"}};
  picture::LinePanel time{"Time of a step", {"T, tokens", true}, {"ms", true}, {}}, memory = time;
  memory.title = "Memory of its activations", memory.y.name = "arena, MB";
  for (picture::LinePanel* panel : {&time, &memory}) panel->x.ticks.assign(lengths.begin(), lengths.end());
  for (size_t n = 0; n < results.size(); ++n) {
    for (size_t i = 0; i < results[n].size(); ++i) {
      const ordered_json& row = results[n][i];
      if (n == 0) time.lines.push_back({row["variant"], {}, {}}), memory.lines.push_back({row["variant"], {}, {}});
      const double T = lengths[n], ms = row["ms"];
      time.lines[i].x.push_back(T), time.lines[i].y.push_back(ms);
      time.lines[i].low.push_back(row["quartile_ms"][0]), time.lines[i].high.push_back(row["quartile_ms"][1]);
      memory.lines[i].x.push_back(T), memory.lines[i].y.push_back(1e-6 * row["arena_bytes"].get<double>());
      table.push_back({str_cat(lengths[n]), row["variant"], formatted("%.2f", ms), i == 0 ? "" : percent(row["more"]),
                       human_bytes(row["arena_bytes"])});
    }
  }
  study.write("lengths.svg", picture::draw_lines({time, memory}, {.same_axes = false}));
  return "## Attention over T\n\n![Steps over T](lengths.svg)\n\nA step of the same model with as many tokens, in fewer and longer "
         "sequences.\n\n" +
         markdown_table(table);
}

ordered_json cost_settings(const CostFlags& flags) {
  const TrainOptions& o = flags.options;
  return {{"layers", o.model.layers},
          {"heads", o.model.heads},
          {"kv-heads", o.model.kv_heads},
          {"embd", o.model.embd},
          {"context", o.model.context},
          {"vocab", o.model.vocab},
          {"bias", o.model.bias},
          {"activation", choice_name(o.model.activation)},
          {"batch", o.batch},
          {"micro-batch", o.micro_batch},
          {"recompute", o.recompute},
          {"loss-chunk", o.loss_chunk},
          {"graph", o.graph},
          {"dropout", flags.dropout},
          {"lengths", flags.lengths},
          {"steps", flags.steps},
          {"device", choice_name(flags.device.device)},
          {"dtype", choice_name(flags.device.dtype)},
          {"threads", flags.device.threads},
          {"matmul", choice_name(flags.device.matmul)},
          {"tf32", flags.device.tf32}};
}

void study_cost(CostFlags flags) {
  flags.device = on_this_machine(flags.device);
  std::sort(flags.lengths.begin(), flags.lengths.end());
  flags.lengths.erase(std::unique(flags.lengths.begin(), flags.lengths.end()), flags.lengths.end());
  validate_cost(flags);
  CostMeter meter(flags);
  Study study("cost", flags, cost_settings(flags), meter.device().name());
  using PartDone = StudyUnit::PartDone;
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
  CLI::App& command = add_study(studies, "cost", "What a training step costs, op by op, in time and memory", *flags);
  TrainOptions& options = flags->options;
  options.model.vocab = 65, options.model.context = 128, options.batch = 16;
  add_model_flags(command, options.model);
  add_option(command, "--batch", options.batch, "Sequences per step");
  add_option(command, "--micro-batch", options.micro_batch, "Sequences per pass; 0: as --batch");
  add_option(command, "--recompute", options.recompute, "Recompute activations in backward, but for the comparison");
  add_option(command, "--loss-chunk", options.loss_chunk, "Rows of logits in memory at a time; 0: all");
  add_option(command, "--graph", options.graph, "On a GPU: run a step as one CUDA graph");
  add_option(command, "--dropout", flags->dropout, "Drop probability where a site drops");
  command.add_option("--lengths", flags->lengths, "Tokens per sequence to compare attention at, as 64,128")
      ->delimiter(',')
      ->type_name("LIST")
      ->default_str("64,128,256,512,1024");
  add_count(command, "--steps", flags->steps, "Timed steps of each variant");
  add_device_flags(command, flags->device);
  command.callback([&command, flags] {
    TrainOptions& quick = flags->options;
    quick_value(command, *flags, "--layers", quick.model.layers, 2);
    quick_value(command, *flags, "--embd", quick.model.embd, 32);
    quick_value(command, *flags, "--context", quick.model.context, 32);
    quick_value(command, *flags, "--batch", quick.batch, 4);
    quick_value(command, *flags, "--lengths", flags->lengths, {16, 64});
    quick_value(command, *flags, "--steps", flags->steps, 3);
    study_cost(*flags);
  });
}

}  // namespace glint
