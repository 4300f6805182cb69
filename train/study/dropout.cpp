// glint study dropout: where and how dropout acts, in training runs that differ by nothing else.
#include "train/study/dropout.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "data/corpus.h"
#include "data/dataset.h"
#include "models/model.h"

namespace glint {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

TrainOptions options_of(const DropoutFlags& flags, const DropoutRow& row) {
  TrainOptions o;
  o.out = flags.out;
  o.model.layers = row.layers ? row.layers : flags.layers;
  o.model.embd = row.embd ? row.embd : flags.embd;
  o.model.heads = flags.heads, o.model.context = flags.context;
  if (row.sites != Sites::none) o.model.attn_dropout = static_cast<float>(row.p);
  if (row.sites == Sites::all) o.model.resid_dropout = o.model.embd_dropout = static_cast<float>(row.p);
  o.batch = flags.batch, o.micro_batch = row.other_sums ? flags.batch / 2 : flags.batch;
  if (row.other_sums) o.matmul = MatmulChoice::eigen;
  o.steps = flags.steps, o.lr = flags.lr;
  o.eval_every = std::max<int64_t>(1, flags.steps / 20), o.eval_batches = 8;
  o.seed = flags.seed, o.attention = row.kind;
  o.device = DeviceChoice::cpu, o.dtype = DtypeChoice::fp32;
  o.threads = o.ranks = 1;
  o.complete();
  return o;
}

void validate_dropout(const DropoutFlags& flags) {
  GLINT_REQUIRE(flags.dropout > 0 && flags.dropout < 0.5, "--dropout ", flags.dropout,
                ": give a number above 0 and below 0.5; half of it and twice it are trained with too");
  GLINT_REQUIRE(flags.batch >= 2 && flags.batch % 2 == 0, "--batch ", flags.batch,
                ": give an even number; one row is trained in two halves");
  GLINT_REQUIRE(flags.steps >= 20, "--steps ", flags.steps, ": give 20 or more");
  GLINT_REQUIRE(flags.train_tokens > flags.context, "--train-tokens ", flags.train_tokens,
                ": give more than --context ", flags.context);
  for (const auto& rows : {dropout_rows(flags), size_rows(flags)})
    for (const DropoutRow& row : rows) options_of(flags, row).validate();
}

Dataset data_of(const DropoutFlags& flags) {
  if (is_prepared(flags.data)) return Dataset::open(flags.data);
  std::string folder = (fs::temp_directory_path() / "glint-study-XXXXXX").string();
  GLINT_REQUIRE(mkdtemp(folder.data()), folder, " can't be created");
  struct Removed {
    ~Removed() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
    fs::path path;
  } const removed{folder};  // the tokens stay mapped
  if (flags.data.empty()) prepare_corpus(kCorpusBytes, 1, TokenizerKind::character, folder);
  else prepare_text(fs::path(flags.data), TokenizerKind::character, folder);
  return Dataset::open(folder);
}

RunTokens tokens_of(const DropoutFlags& flags, const Dataset& data) {
  const TokenSpan all = data.tokens(Split::train);
  const size_t used = std::min(all.size(), static_cast<size_t>(flags.train_tokens));
  return {all.subspan(0, used), data.tokens(Split::val)};
}

// The runs of a row, one for each seed, side by side.
StudyUnit row_unit(const DropoutFlags& flags, const DropoutRow& row, const Dataset& data) {
  TrainOptions o = options_of(flags, row);
  o.model.vocab = data.tokenizer().vocabulary();
  const RunTokens tokens = tokens_of(flags, data);
  const auto work = [o, row, flags, tokens](const PartDone& done) {
    std::vector<std::vector<LossPoint>> curves(static_cast<size_t>(flags.seeds));
    const int threads = flags.threads ? flags.threads : default_threads();
    side_by_side(curves.size(), threads, done, [&](size_t n, const PartDone& part_done) {
      TrainingRun run{o, row.variant, row.same_mask};
      run.options.seed += n;
      curves[n] = train_run(run, tokens, part_done);
    });
    const auto model = make_model(o.model, CpuContext(), DType::f32, Weights::laid_out);
    ordered_json result = {{"parameters", model->parameters().count()}};
    for (const LossPoint& point : curves[0]) result["steps"].push_back(point.step);
    for (const auto& curve : curves) {
      ordered_json train, val;
      for (const LossPoint& point : curve) train.push_back(point.train), val.push_back(point.val);
      result["train"].push_back(train), result["val"].push_back(val);
    }
    return result;
  };
  const double channels = o.model.embd;
  const double cost = o.model.layers * channels * (channels + 0.2 * flags.context) * flags.seeds;
  return {.name = row.name,
          .cost = cost * (row.kind == AttentionKind::reference ? 2.2 : 1),
          .settings = {{"data", data.info().checksum}},
          .work = work};
}

void study_dropout(const DropoutFlags& flags) {
  validate_dropout(flags);
  const Dataset data = data_of(flags);
  data.require_context(flags.context);
  Study study("dropout", flags, flags.settings());
  DropoutFindings findings{.rows = dropout_rows(flags),
                           .size_rows = size_rows(flags),
                           .entropy = data.entropy().value_or(0),
                           .train_tokens = tokens_of(flags, data).train.size()};
  std::vector<StudyUnit> units = moments_units(flags);
  const size_t moments = units.size();
  units.push_back(rates_unit(flags));
  for (const auto* rows : {&findings.rows, &findings.size_rows})
    for (const DropoutRow& row : *rows) units.push_back(row_unit(flags, row, data));
  const std::vector<ordered_json> results = study.run(units);
  findings.moments.assign(results.begin(), results.begin() + static_cast<std::ptrdiff_t>(moments));
  findings.rates = results[moments];
  for (size_t n = moments + 1; n < results.size(); ++n) {
    const bool of_rows = findings.curves.size() < findings.rows.size();
    (of_rows ? findings.curves : findings.size_curves).emplace_back(results[n]);
  }
  const std::string page = dropout_page(flags, findings);
  write_out(page + "\n");
  study.write_json("dropout.json", dropout_json(flags, findings));
  for (const auto& [file, picture] : dropout_pictures(flags, findings)) study.write(file, picture);
  study.write_page("Dropout in training", page);
}

// "2x64" -> 2, 64.
std::pair<int, int> size_of(const std::string& text) {
  int layers = 0, embd = 0, end = 0;
  const bool read = std::sscanf(text.c_str(), "%dx%d%n", &layers, &embd, &end) == 2;
  GLINT_REQUIRE(read && end == static_cast<int>(text.size()) && layers > 0 && embd > 0, "--sizes ", text,
                ": give layers and channels, as 2x64,4x128");
  return {layers, embd};
}

}  // namespace

std::vector<DropoutRow> dropout_rows(const DropoutFlags& flags) {
  std::vector<DropoutRow> rows = {{.name = "none", .about = "no dropout"}};
  for (const Sites sites : {Sites::all, Sites::attention}) {
    for (const double p : {flags.dropout / 2, flags.dropout, 2 * flags.dropout}) {
      const std::string where = sites == Sites::all ? "all sites" : "attention";
      rows.push_back({.name = str_cat(where, ", p ", p), .about = "as FlashAttention", .sites = sites, .p = p});
    }
  }
  DropoutRow base = rows[kFused];
  base.base = kFused;
  const auto add = [&](const char* name, const char* about, DropoutVariant variant) -> DropoutRow& {
    rows.push_back(base);
    rows.back().name = name, rows.back().about = about, rows.back().variant = variant;
    rows.back().kind = AttentionKind::reference;
    return rows.back();
  };
  add("before the softmax", "scores of dropped keys are -inf (DropKey)", DropoutVariant::before_softmax);
  add("diagonal kept", "a token's weight on itself is never dropped", DropoutVariant::diagonal_kept);
  add("rate by row", "p grows with the number of visible keys, mean p", DropoutVariant::rate_by_row);
  add("unscaled", "without 1 / (1 - p)", DropoutVariant::unscaled);
  DropoutRow& same = add("constant seed", "the same mask in each step", DropoutVariant::flash);
  same.same_mask = true, same.kind = AttentionKind::flash;
  add("reference", "the plain kernel, `--attention reference`", DropoutVariant::flash);
  add("stored mask", "the plain kernel, its mask kept as bits", DropoutVariant::stored_mask).base = kPlainKernel;
  DropoutRow& other =
      add("other sums", "the fused kernel in two micro-batches, products by Eigen", DropoutVariant::flash);
  other.other_sums = true, other.kind = AttentionKind::flash;
  return rows;
}

std::vector<DropoutRow> size_rows(const DropoutFlags& flags) {
  std::vector<DropoutRow> rows;
  for (const std::string& size : flags.sizes) {
    const auto [layers, embd] = size_of(size);
    for (const double p : {0.0, flags.dropout}) {
      rows.push_back({.name = str_cat(size, ", p ", p),
                      .sites = p > 0 ? Sites::all : Sites::none,
                      .p = p,
                      .base = static_cast<int>(rows.size()) / 2 * 2,
                      .layers = layers,
                      .embd = embd});
    }
  }
  return rows;
}

void register_study_dropout(CLI::App& studies) {
  const auto flags = std::make_shared<DropoutFlags>();
  StudyCommand command(studies, "dropout", "Training runs with dropout in other places and ways, on a CPU", *flags);
  command.add("layers", flags->layers, "Transformer blocks", 1);
  command.add("heads", flags->heads, "Heads", 2);
  command.add("embd", flags->embd, "Channels", 32);
  command.add("context", flags->context, "Tokens per sequence", 32);
  command.add("batch", flags->batch, "Sequences per step", 8);
  command.add("steps", flags->steps, "Steps of each run", 300);
  command.add("lr", flags->lr, "Highest learning rate");
  command.add("dropout", flags->dropout, "p: rows have half of it, it, and twice it");
  command.add("sizes", flags->sizes, "Models that are trained without dropout and with it: layers x channels",
              std::vector<std::string>{"1x16", "2x32"});
  command.add("data", flags->data, "A text, or a folder of `glint data prepare` [the built-in corpus]")
      ->type_name("PATH");
  command.add("train-tokens", flags->train_tokens, "Of the training text, so few that a model learns them by heart",
              1000);
  command.add("seeds", flags->seeds, "Runs of each row", 2)->check(CLI::Range(2, 1000).description(""));
  command.add("seed", flags->seed, "The first seed");
  command.add("masks", flags->masks, "Masks for the moments of one output", 1024)->check(kCount);
  add_option(command.app, "--threads", flags->threads,
             "Runs side by side, a thread each; 0: as many as there are CPUs");
  command.run([flags] { study_dropout(*flags); });
}

}  // namespace glint
