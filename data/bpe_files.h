// Byte-level BPE in the files of others: Hugging Face's tokenizer.json, GPT-2's vocab.json with merges.txt (OpenAI's
// names: encoder.json, vocab.bpe), and tiktoken's .tiktoken. Each must be GPT-2's kind of tokenizer; UserError says
// what else it is.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "data/bpe.h"

namespace glint {

// name: of the file, for errors.
std::shared_ptr<const Bpe> bpe_from_json(const nlohmann::json& tokenizer, const std::string& name);
std::shared_ptr<const Bpe> bpe_from_vocab_and_merges(std::string_view vocab, std::string_view merges,
                                                     const std::string& name);
// <|endoftext|> gets the first free id: GPT-2's 50256, in r50k_base and p50k_base.
std::shared_ptr<const Bpe> bpe_from_tiktoken(std::string_view lines, const std::string& name);

// The single bytes in the order of GPT-2's ids 0 to 255: printable ones first.
std::vector<std::string> byte_tokens();

// The characters that stand for bytes in such files.
std::string characters_of(std::string_view bytes);

std::string to_json(const Bpe& bpe);  // Hugging Face's tokenizer.json

}  // namespace glint
