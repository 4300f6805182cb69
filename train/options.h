// Everything that defines a training run: the flags of `glint train`, the keys of a --config file and of config.json.
// train/options_table.h lists them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "kernels/context.h"
#include "kernels/sampling.h"
#include "models/gpt_config.h"
#include "src/ops.h"

namespace CLI {
class App;
}

namespace glint {

enum class MatmulChoice { automatic, eigen, onednn };
enum class DeviceChoice { automatic, cpu, cuda };
enum class DtypeChoice { automatic, fp32, bf16 };
enum class Optimizer { adamw, muon };
enum class Schedule { cosine, linear, wsd };

// The values of a choice by their names in flags and files.
template <typename Choice>
using Names = std::vector<std::pair<const char*, Choice>>;
inline Names<bool> names_of(bool) { return {{"true", true}, {"false", false}}; }
inline Names<Gelu> names_of(Gelu) { return {{"erf", Gelu::erf}, {"tanh", Gelu::tanh}}; }
inline Names<AttentionKind> names_of(AttentionKind) {
  return {{"flash", AttentionKind::flash},
          {"flash-sm80", AttentionKind::flash_sm80},
          {"reference", AttentionKind::reference}};
}
inline Names<MatmulChoice> names_of(MatmulChoice) {
  return {{"auto", MatmulChoice::automatic}, {"eigen", MatmulChoice::eigen}, {"onednn", MatmulChoice::onednn}};
}
inline Names<DeviceChoice> names_of(DeviceChoice) {
  return {{"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}};
}
inline Names<DtypeChoice> names_of(DtypeChoice) {
  return {{"auto", DtypeChoice::automatic}, {"fp32", DtypeChoice::fp32}, {"bf16", DtypeChoice::bf16}};
}

inline Names<ModelKind> names_of(ModelKind) { return {{"gpt2", ModelKind::gpt2}, {"llama", ModelKind::llama}}; }
inline Names<Optimizer> names_of(Optimizer) { return {{"adamw", Optimizer::adamw}, {"muon", Optimizer::muon}}; }
inline Names<Schedule> names_of(Schedule) {
  return {{"cosine", Schedule::cosine}, {"linear", Schedule::linear}, {"wsd", Schedule::wsd}};
}

template <typename Choice>
const char* choice_name(Choice value) {
  for (const auto& [name, choice] : names_of(value))
    if (choice == value) return name;
  return "";
}

// The table says what they mean. The defaults suit a laptop's CPU and the built-in corpus; complete() replaces those
// that depend on other options.
struct TrainOptions {
  static constexpr double kUnset = std::numeric_limits<double>::quiet_NaN();  // values that no flag can have
  static constexpr int64_t kUnsetSteps = std::numeric_limits<int64_t>::min();

  std::vector<std::string> data;  // empty: the built-in corpus
  std::string val_data, init_from, out = "run", tokenizer = "char";
  uint64_t seed = 1337;
  GptConfig model;  // vocab: asked of a new bpe, then what the tokenizer has; kv_heads 0: as heads

  int64_t steps = 2000;
  int batch = 12, micro_batch = 0;  // 0: batch / ranks
  double lr = 1e-3, min_lr = kUnset;
  int64_t warmup = kUnsetSteps, lr_decay_steps = 0;  // 0: as steps
  Schedule schedule = Schedule::cosine;
  double decay_part = 0.2;
  Optimizer optimizer = Optimizer::adamw;
  double beta1 = 0.9, beta2 = 0.99, eps = 1e-8, weight_decay = 0.1, muon_momentum = 0.95, grad_clip = 1.0;
  DtypeChoice optimizer_dtype = DtypeChoice::fp32;

  int64_t eval_every = 250, log_every = 10, checkpoint_every = 500, sample_every = 0;  // 0: never
  int eval_batches = 20, patience = 0;
  bool tensorboard = false, quiet = false;

  DeviceChoice device = DeviceChoice::automatic;
  DtypeChoice dtype = DtypeChoice::automatic;
  int threads = 0;  // 0: all that this process may use
  AttentionKind attention = AttentionKind::flash;
  MatmulChoice matmul = MatmulChoice::automatic;
  int loss_chunk = 0;
  bool recompute = false, graph = true, tf32 = false, tune = true;

  int ranks = 0;  // 0: as many as a launcher has started, or one
  int zero = 0;
  double bucket_mb = 25, comm_timeout = 120;
  int restarts = 0;
  std::string interface;  // empty: see GlooOptions

  TrainOptions() { model.kv_heads = 0; }

  // Sets the options that are unset or depend on others.
  void complete();
  // Adapts threads and micro_batch to another number of ranks than the run was saved with.
  void fit_to(int new_ranks);
  // Throws UserError naming the wrong flag, also if the run cannot fit into this machine's memory. Completed options
  // only.
  void validate() const;
};

// 0.1f as 0.1, which reads back as 0.1f.
double shortest(float value);
// Key by key, in the order of the table; floats read back bit for bit.
nlohmann::ordered_json to_json(const TrainOptions& options);
// Throws UserError naming `source` if a key is missing, unknown or of the wrong type.
TrainOptions options_from_json(const nlohmann::ordered_json& json, const std::string& source);

// The TOML file's keys over the options; `dropout` sets three, before their own keys. Returns the names of the options
// that it has. UserError with line and column.
std::set<std::string> apply_config(TrainOptions& options, const std::filesystem::path& path);

// Adds the options as flags that set their fields: all in groups, or those of `names`. --dropout sets three.
void add_train_options(CLI::App& app, TrainOptions& options, const std::vector<std::string_view>& names = {});

// The flags of `glint train`: made before parsing, used after it.
class TrainFlags {
 public:
  explicit TrainFlags(CLI::App& app);

  // The folder given to --resume; empty: a new run.
  std::filesystem::path resume() const { return resume_; }
  bool gives_data() const;  // to a resumed run, whose data may have moved
  // A new run: defaults, overridden by the --config file, overridden by the flags. Completed and validated.
  TrainOptions fresh() const;
  // The same, not validated: for a rank that cannot see the run folder and will get the options from rank 0.
  TrainOptions unvalidated() const;
  // The first training of an imported run: as a new one of the shape that `imported` has, in its folder.
  TrainOptions of_import(const TrainOptions& imported) const;
  // A resumed run: `saved`, overridden by --config and flags. Throws UserError where an option that may not change on
  // resume differs. Completed and validated.
  TrainOptions resumed(TrainOptions saved) const;

 private:
  TrainOptions applied_to(TrainOptions options) const;

  const CLI::App& app_;
  TrainOptions parsed_;  // target of the first parse, which only checks; applied_to() parses again
  std::string config_, resume_;
};

// Threads this process may use (respects affinity and OMP_NUM_THREADS).
int default_threads();
// The engine of a choice; UserError if this build lacks it.
MatmulEngine matmul_engine(MatmulChoice choice);
CpuContext cpu_context(int threads, MatmulChoice matmul);

// The device and number format of a command.
struct DeviceFlags {
  DeviceChoice device = DeviceChoice::automatic;
  DtypeChoice dtype = DtypeChoice::automatic;
  int gpu = 0;      // its number
  int threads = 0;  // of a CPU; 0: all
  MatmulChoice matmul = MatmulChoice::automatic;
  bool tf32 = false;
};
// The shape of a model, and the options of `names`: for commands that need no run folder.
inline const std::vector<std::string_view> kShapeOptions = {
    "model", "layers",       "heads",          "kv-heads",   "embd",       "context",
    "bias",  "norm-epsilon", "tie-embeddings", "activation", "rope-theta", "qk-norm"};
void add_model_flags(CLI::App& app, TrainOptions& options, std::vector<std::string_view> names = {});
void add_device_flags(CLI::App& app, DeviceFlags& flags);
// Those that narrow what is drawn; without --seed.
void add_sampling_flags(CLI::App& app, SamplingOptions& sampling);
Device open_device(const DeviceFlags& flags);
Device open_device(const TrainOptions& options, int gpu = 0);
DType dtype_of(DtypeChoice choice);

// What `auto` is on this machine: a GPU where the build has CUDA and each process of this machine can have a GPU, then
// in bf16; else the CPU in fp32. A run keeps `auto`, so that it may go on elsewhere.
void resolve(DeviceChoice& device, DtypeChoice& dtype, int ranks);
template <typename Options>  // TrainOptions, DeviceFlags
Options on_this_machine(Options options) {
  int ranks = 1;
  if constexpr (requires { options.ranks; }) ranks = options.ranks;
  resolve(options.device, options.dtype, ranks);
  return options;
}

}  // namespace glint
