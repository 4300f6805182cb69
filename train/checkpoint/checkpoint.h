// A checkpoint is a folder: model.safetensors, optimizer.safetensors (the moments, as m.NAME and v.NAME, in F32 or
// BF16; what Muon updates has no v.NAME), state.json, and config.json for Hugging Face's from_pretrained(). A
// checkpoint of step 0 without optimizer.safetensors has moments of 0. A kill at any moment, or a full disk, leaves a
// complete one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "train/checkpoint/safetensors.h"
#include "train/options.h"

namespace glint {

inline constexpr int kCheckpointVersion = 1;

struct CheckpointState {
  uint64_t step = 0;      // optimizer steps done
  uint64_t tokens = 0;    // tokens trained on
  uint64_t rng_seed = 0;  // RngState at the start of the next step
  uint64_t rng_offset = 0;
  std::optional<double> best_val_loss;
  int evaluations_since_best = 0;
  TrainOptions options;  // complete, with vocab
  int end_token = -1;    // the tokenizer's separator, for config.json; not read again
};

// Replaces `folder`. m and v have names of the model's tensors; both empty: no optimizer file.
void save_checkpoint(const std::filesystem::path& folder, std::span<const TensorView> model,
                     std::span<const TensorView> m, std::span<const TensorView> v, const CheckpointState& state);

// Whether there is a checkpoint, complete or damaged.
bool has_checkpoint(const std::filesystem::path& folder);

// Reads state.json only, for example to build the model before loading its tensors.
CheckpointState read_checkpoint_state(const std::filesystem::path& folder);

// Whether a file of tensors may differ from what glint wrote, by its checksum.
enum class Changed { refused, accepted };

// Fills the views. UserError if a file is missing, truncated, corrupted (checksum) or of another version, or if tensors
// are missing, unknown or of another shape. m and v empty: the optimizer isn't read.
CheckpointState load_checkpoint(const std::filesystem::path& folder, std::span<const TensorView> model,
                                std::span<const TensorView> m = {}, std::span<const TensorView> v = {},
                                Changed changed = Changed::refused);

}  // namespace glint
