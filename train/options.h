// Everything that defines a training run: the flags of `glint train`, the keys of a --config file and of config.json.
// One table (options.cpp) drives all of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "data/tokenizer.h"
#include "kernels/context.h"
#include "models/gpt_config.h"
#include "src/ops.h"
#include "train/command_line.h"

namespace glint {

enum class MatmulChoice { automatic, eigen, onednn };
enum class DeviceChoice { cpu, cuda };
enum class DtypeChoice { fp32, bf16 };

// Defaults suit a laptop's CPU and the built-in corpus. What is unset, and a 0 that says "as ...", is filled in by
// complete().
struct TrainOptions {
  static constexpr double kUnset = std::numeric_limits<double>::quiet_NaN();  // no flag can give these two
  static constexpr int64_t kUnsetSteps = std::numeric_limits<int64_t>::min();

  std::string data;         // text file or prepared folder; empty: the built-in corpus
  std::string out = "run";  // run folder
  GptConfig model;          // vocab is set by the trainer, once the tokenizer is known; kv_heads 0: as heads

  int batch = 12;       // sequences per optimizer step
  int micro_batch = 0;  // sequences per forward/backward pass of a rank, divides batch / ranks; 0: all of them
  int64_t steps = 2000;
  double lr = 1e-3;
  double min_lr = kUnset;        // unset: lr / 10
  int64_t warmup = kUnsetSteps;  // unset: 100, at most a tenth of lr_decay_steps
  int64_t lr_decay_steps = 0;    // 0: as steps
  double beta1 = 0.9, beta2 = 0.99, eps = 1e-8;
  double weight_decay = 0.1;  // 2-D tensors only
  double grad_clip = 1.0;     // 0: none

  int64_t eval_every = 250;  // steps; 0: never
  int eval_batches = 20;
  int64_t log_every = 10;          // 0: never
  int64_t checkpoint_every = 500;  // 0: at the end only
  uint64_t seed = 1337;
  int threads = 0;  // 0: as many as the machine gives this process
  TokenizerKind tokenizer = TokenizerKind::character;
  AttentionKind attention = AttentionKind::flash;
  MatmulChoice matmul = MatmulChoice::automatic;
  bool recompute = false;
  bool graph = true, tf32 = false;
  DeviceChoice device = DeviceChoice::cpu;
  DtypeChoice dtype = DtypeChoice::fp32;
  bool quiet = false;
  int ranks = 0;              // processes that share each batch; 0: as many as a launcher has started, or one
  int zero = 0;               // 1: each rank keeps its part of AdamW's moments alone (ZeRO stage 1)
  double bucket_mb = 25;      // MiB of gradients that travel together, at most
  double comm_timeout = 120;  // seconds that a rank waits for another
  int restarts = 0;           // how often the launcher starts the ranks again after one has failed
  std::string interface;      // network interface that ranks talk over; empty: see GlooOptions

  TrainOptions() { model.kv_heads = 0; }

  // Fills in what depends on other options; afterwards nothing is left to be guessed.
  void complete();
  // For a run that goes on with another number of ranks than it was saved with: threads and micro-batch as they are
  // then.
  void fit_to(int new_ranks);
  // Throws UserError naming the flag that is wrong, also if the run can't fit this machine's memory. Completed options
  // only.
  void validate() const;
};

// Key by key, in the order of the table; floats read back bit for bit.
nlohmann::ordered_json to_json(const TrainOptions& options);
// Throws UserError naming `source` if a key is missing, unknown or of the wrong type.
TrainOptions options_from_json(const nlohmann::ordered_json& json, const std::string& source);

// Rough lower bound of what training asks of memory, in bytes: parameters, gradients, two moments, and activations of
// one micro-batch. In double, so that absurd sizes don't overflow.
double needed_bytes(const TrainOptions& options);

// The flags of `glint train`: made before parsing, asked after it.
class TrainFlags {
 public:
  explicit TrainFlags(Command command);
  ~TrainFlags();
  TrainFlags(const TrainFlags&) = delete;
  TrainFlags& operator=(const TrainFlags&) = delete;

  // The folder given to --resume; empty: a new run.
  std::filesystem::path resume() const;
  // A new run: defaults, over them the --config file, over it the flags. Completed and validated.
  TrainOptions fresh() const;
  // What the flags alone say, not validated: to meet the rank that leads, where its run folder can't be seen from here.
  TrainOptions meeting() const;
  // A resumed one: `saved` with what flags may change (steps, and what doesn't touch the mathematics). Any other flag
  // whose value differs from the saved one is a UserError. Completed and validated.
  TrainOptions resumed(TrainOptions saved) const;

 private:
  struct Given;
  std::unique_ptr<Given> given_;
};

// Threads this process may use (affinity and OMP_NUM_THREADS heeded).
int default_threads();
// The engine of a choice; UserError if this build lacks it.
MatmulEngine matmul_engine(MatmulChoice choice);
CpuContext cpu_context(int threads, MatmulChoice matmul);

// Where a command computes, and in what.
struct DeviceFlags {
  DeviceChoice device = DeviceChoice::cpu;
  DtypeChoice dtype = DtypeChoice::fp32;
  int gpu = 0;      // its number
  int threads = 0;  // of a CPU; 0: as many as the machine gives
  MatmulChoice matmul = MatmulChoice::automatic;
  bool tf32 = false;
};
// The shape of a model, for commands that make one up. --kv-heads may be left at 0.
void add_model_flags(Command command, GptConfig& model);
void add_device_flags(Command command, DeviceFlags& flags);
Device open_device(const DeviceFlags& flags);
DType dtype_of(DtypeChoice choice);

}  // namespace glint
