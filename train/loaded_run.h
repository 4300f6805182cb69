// A trained model with its tokenizer, from a run folder, for sample and eval.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "models/model.h"
#include "train/checkpoint/checkpoint.h"
#include "train/run_folder.h"

namespace glint {

enum class WhichCheckpoint { automatic, best, last };  // automatic: best if it exists, else last
inline Names<WhichCheckpoint> names_of(WhichCheckpoint) {
  return {{"auto", WhichCheckpoint::automatic}, {"best", WhichCheckpoint::best}, {"last", WhichCheckpoint::last}};
}

// A run to load, as commands name it.
struct RunFlags {
  std::string run;
  WhichCheckpoint checkpoint = WhichCheckpoint::automatic;
  Changed changed = Changed::refused;
};
void add_run_flags(CLI::App& command, RunFlags& flags);
// --accept-changed alone.
void add_changed_flag(CLI::App& command, Changed& changed);

struct LoadedRun {
  RunPaths paths;
  CheckpointState state;
  Tokenizer tokenizer;
  std::unique_ptr<Model> model;
};

// The folder of that checkpoint. UserError if there is none.
std::filesystem::path checkpoint_of(const RunPaths& paths, WhichCheckpoint which);

// The model on `device`, to compute in `dtype`.
LoadedRun load_run(const RunFlags& flags, const Device& device, DType dtype);
// Copies the weights of another run; a longer context's positions end at this one's.
void load_initial(Model& model, const std::filesystem::path& run, Changed changed);

// Views for checkpoints of a flat buffer in the host's memory with the layout of the parameters, from element `begin`
// on. Scalar: float, Bf16.
template <typename Scalar>
std::vector<TensorView> tensor_views(const Parameters& parameters, Scalar* flat, size_t begin = 0) {
  std::vector<TensorView> views;
  for (const Parameter& parameter : parameters.all())
    for (const NamedTensor& tensor : parameter.tensors())
      if (tensor.offset >= begin)
        views.push_back({tensor.name, tensor.shape.sizes, flat + (tensor.offset - begin), kDTypeOf<Scalar>});
  return views;
}

}  // namespace glint
