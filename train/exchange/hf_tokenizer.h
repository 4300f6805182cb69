// tokenizer.json of Hugging Face's tokenizers library, for glint's character and byte tokenizers.
//   characters  WordLevel after a Split into characters; ids are glint's, the unknown token is U+FFFD
//   bytes       BPE without merges after ByteLevel: a token is a byte
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "data/tokenizer.h"

namespace glint {

// The text of the token that begins each document (Tokenizer::separator()).
inline constexpr const char* kEndOfText = "<|endoftext|>";

std::string hf_tokenizer(const Tokenizer& tokenizer);
// tokenizer_config.json; context: the longest sequence.
std::string hf_tokenizer_config(const Tokenizer& tokenizer, int context);

// The tokenizer that hf_tokenizer() wrote; nothing if it is another one.
std::optional<Tokenizer> read_hf_tokenizer(const nlohmann::json& json);

// How GPT-2 writes bytes as printable characters (A. Radford et al., 2019, encoder.py): those that print as
// themselves, the others as U+0100 and up.
std::string byte_level(std::string_view bytes);

}  // namespace glint
