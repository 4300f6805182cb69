// tokenizer.json of Hugging Face's tokenizers library, for each kind of glint's tokenizers.
//   bpe         as Tokenizer::to_json() has it
//   characters  WordLevel after a Split into characters; ids are glint's, the unknown token is U+FFFD
//   bytes       BPE without merges after ByteLevel: a token is a byte
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "data/tokenizer.h"

namespace glint {

std::string hf_tokenizer(const Tokenizer& tokenizer);
// tokenizer_config.json; context: the longest sequence.
std::string hf_tokenizer_config(const Tokenizer& tokenizer, int context);

// The char or byte tokenizer that hf_tokenizer() wrote; nothing if it is another one.
std::optional<Tokenizer> read_hf_tokenizer(const nlohmann::json& json);

}  // namespace glint
