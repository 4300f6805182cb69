// A run as a GGUF file that llama.cpp runs: its architecture "gpt2", with weights as (out, in).
#pragma once

#include <filesystem>
#include <string>

#include "train/exchange/gguf.h"
#include "train/loaded_run.h"

namespace glint {

// Matrices in `type`, where the length of their rows allows it, else in f16; norms, biases and positions in f32.
// Returns a line about what llama.cpp computes otherwise, or nothing. UserError where it has no such model.
std::string write_gguf(const std::filesystem::path& path, const LoadedRun& run, GgufType type);

}  // namespace glint
