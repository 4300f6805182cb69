// Folders of Hugging Face's transformers: a model with its tokenizer, written and read.
#pragma once

#include <filesystem>
#include <string>

#include "data/tokenizer.h"
#include "train/loaded_run.h"

namespace glint {

// Replaces `folder`: config.json, generation_config.json, model.safetensors, tokenizer.json, tokenizer_config.json.
// dtype: f32 or bf16. UserError if transformers has no such model.
void write_hf_model(const std::filesystem::path& folder, const LoadedRun& run, DType dtype);

// A folder of transformers' GPT-2, or a .safetensors file or its index in one, as a run with a checkpoint of step 0.
struct ImportedRun {
  TrainOptions options;
  Tokenizer tokenizer = Tokenizer::of_bytes();
  std::unique_ptr<Model> model;
  int left_out = 0;  // rows of the embedding for which there is no token
};
// tokenizer: a file to take it from; empty: the folder's. UserError if the model is another one, or not complete.
ImportedRun read_hf_model(const std::filesystem::path& place, const std::filesystem::path& tokenizer);

}  // namespace glint
