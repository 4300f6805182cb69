#include "train/study/studied_model.h"

#include <algorithm>
#include <cmath>

#include "data/batches.h"
#include "data/corpus.h"
#include "train/loaded_run.h"
#include "train/run_data.h"
#include "train/schedule.h"
#include "train/training_step.h"

namespace glint {

namespace {

constexpr uint64_t kCorpusSeed = 1, kShortCorpus = 200'000;  // bytes

// Forward and backward of some sequences of a global batch.
class GradientPass {
 public:
  GradientPass(Model& model, AttentionKind attention, int sequences, const StudiedBatch& batch, const GradientWay& way)
      : graph_({.device = cpu_context(way.threads, MatmulChoice::automatic),
                .dtype = model.parameters().dtype(),
                .training = true,
                .rng = nullptr,
                .global_batch = batch.sequences,
                .recompute = way.recompute}),
        rng_{.seed = batch.mask_seed} {
    model.parameters().allocate_training(0, 0);
    graph_.set_rng(&rng_);
    tokens_ = graph_.input("tokens", {sequences, batch.T}, DType::i32);
    targets_ = graph_.input("targets", {sequences, batch.T}, DType::i32);
    graph_.keep(model.loss(graph_, tokens_, targets_, attention,
                           1.0f / (static_cast<float>(batch.sequences) * static_cast<float>(batch.T))));
    arena_ = DeviceMemory(graph_.plan(), "activations and their gradients");
    graph_.bind(arena_.data());
  }
  Graph& graph() { return graph_; }
  void run(const RandomWindows& windows, uint64_t step, uint64_t first, bool add) {
    rng_.first_sequence = first;
    windows.fill(tokens_.i32(), targets_.i32(), step, first, tokens_.shape()[0]);
    graph_.accumulate(add);
    graph_.forward();
    graph_.backward();
  }

 private:
  Graph graph_;
  RngState rng_;
  Tensor tokens_, targets_;
  DeviceMemory arena_;
};

}  // namespace

TokenSpan StudiedModel::tokens() const {
  return data ? data->tokens(Split::train) : TokenSpan(corpus.data(), corpus.size(), sizeof(int32_t));
}

StudiedModel studied_run(const std::filesystem::path& run, int threads) {
  LoadedRun loaded = load_run({.run = run}, cpu_context(threads, MatmulChoice::automatic), DType::f32);
  const TrainOptions& options = loaded.state.options;
  return {options.model,
          std::move(loaded.model),
          options.seed,
          loaded.state.step,
          options.batch,
          open_run_data(loaded.paths),
          {}};
}

StudiedModel train_shortly(const ShortTraining& training, const std::function<void(double)>& done) {
  const std::string text = corpus_text(kShortCorpus, kCorpusSeed);
  const Tokenizer tokenizer = Tokenizer::of_text(text);
  StudiedModel studied{.config = training.config,
                       .model = nullptr,
                       .seed = training.seed,
                       .step = static_cast<uint64_t>(training.steps),
                       .batch = training.batch,
                       .data = {},
                       .corpus = tokenizer.encode(text).ids};
  studied.config.vocab = tokenizer.vocabulary();
  studied.model = make_model(studied.config, cpu_context(training.threads, MatmulChoice::automatic), DType::f32);
  studied.model->initialize(training.seed);
  TrainOptions options;
  options.steps = training.steps, options.lr = 2e-3;
  options.complete();
  const RandomWindows windows(studied.tokens(), studied.config.context, training.seed, Sampling::training);
  TrainingStep step(*studied.model,
                    {.batch = training.batch, .micro_batch = training.batch, .context = studied.config.context},
                    {.seed = training.seed});
  for (int64_t n = 0; n < options.steps; ++n) {
    step.run(windows.batch(static_cast<uint64_t>(n)), learning_rate(options, n));
    done(static_cast<double>(n + 1) / static_cast<double>(options.steps));
  }
  return studied;
}

std::unique_ptr<Model> copy_in(DType dtype, const StudiedModel& studied, int threads) {
  auto copy = make_model(studied.config, cpu_context(threads, MatmulChoice::automatic), dtype);
  const Parameters& from = studied.model->parameters();
  std::copy_n(from.values(), from.elements(), copy->parameters().values());
  copy->parameters().refresh_rounded();
  return copy;
}

std::vector<float> gradient_of(Model& model, const StudiedModel& studied, const StudiedBatch& batch,
                               const GradientWay& way, const std::function<void(const Node&)>& each) {
  const int sequences = batch.sequences / way.ranks / way.parts;
  GLINT_CHECK(sequences * way.ranks * way.parts == batch.sequences, batch.sequences, " sequences in ", way.parts,
              " parts of ", way.ranks, " ranks");
  GradientPass pass(model, way.attention, sequences, batch, way);
  if (each) pass.graph().after_backward_of("attention", each);
  const RandomWindows windows(studied.tokens(), batch.T, studied.seed, Sampling::training);
  const float* const own = model.parameters().gradients();
  std::vector<float> sum(model.parameters().elements());
  for (int rank = 0; rank < way.ranks; ++rank) {
    for (int part = 0; part < way.parts; ++part)
      pass.run(windows, studied.step + batch.skip, static_cast<uint64_t>((rank * way.parts + part) * sequences),
               part > 0);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] = rank == 0 ? own[i] : sum[i] + own[i];
  }
  return sum;
}

std::vector<AttentionCase> record_attention(const StudiedModel& studied, const StudiedBatch& batch, int threads) {
  std::vector<AttentionCase> layers;
  const GptConfig& config = studied.config;
  const int NH = config.heads, NKV = config.kv_heads, HS = config.head_size();
  const AttentionShape shape{
      batch.sequences, batch.T, batch.T, NH, NKV, HS, true, 1 / std::sqrt(static_cast<float>(HS))};
  gradient_of(*studied.model, studied, batch, {.threads = threads}, [&](const Node& node) {
    const float *row = node.inputs[0].f32(), *dout = node.outputs[0].gradient();
    AttentionCase x{.shape = shape,
                    .q = {},
                    .k = {},
                    .v = {},
                    .dout = {dout, dout + node.outputs[0].shape().elements()},
                    .p = config.attn_dropout};
    x.rng.seed = batch.mask_seed;
    for (int token = 0; token < batch.sequences * batch.T; ++token) {  // of packed queries, keys and values
      for (auto [array, heads] : {std::pair(&x.q, NH), std::pair(&x.k, NKV), std::pair(&x.v, NKV)}) {
        array->insert(array->end(), row, row + heads * HS);
        row += heads * HS;
      }
    }
    layers.push_back(std::move(x));
  });
  std::reverse(layers.begin(), layers.end());
  return layers;
}

}  // namespace glint
