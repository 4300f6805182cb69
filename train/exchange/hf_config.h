// config.json of Hugging Face's GPT-2 (transformers' GPT2Config), and the shape that it describes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "models/gpt_config.h"
#include "src/tensor.h"

namespace glint {

inline constexpr const char* kHfConfigFile = "config.json";

// Why GPT2LMHeadModel cannot hold such a model; nothing if it can. (Without biases: it has biases of 0.)
std::optional<std::string> not_in_hf(const GptConfig& model);

// dtype: of the weights beside it. end: the token that ends a text, or -1.
nlohmann::ordered_json hf_config(const GptConfig& model, DType dtype, int end);

// The shape, with the file's vocab_size and dropout. UserError naming `source` if it is of another architecture, or
// asks for what glint does not compute.
GptConfig read_hf_config(const nlohmann::json& json, const std::string& source);

}  // namespace glint
