// Writes tokenizer.json of Hugging Face's tokenizers.
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "data/bpe_files.h"
#include "kernels/check.h"

namespace glint {

std::string to_json(const Bpe& bpe) {
  const auto quoted = [](const std::string& text) { return nlohmann::json(text).dump(); };
  std::vector<std::string> names;  // by id
  for (const std::string& token : bpe.tokens()) names.push_back(characters_of(token));
  std::string out = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
  const char* comma = "";
  for (const Bpe::Added& token : bpe.added()) {
    names[static_cast<size_t>(token.id)] = token.content;
    out +=
        str_cat(std::exchange(comma, ","), "\n    {\"id\": ", token.id, ", \"content\": ", quoted(token.content),
                R"(, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})");
  }
  const auto byte_level = [](const char* part, const char* prefix_space, const char* offsets) {
    return str_cat("  \"", part, R"(": {"type": "ByteLevel", "add_prefix_space": )", prefix_space,
                   R"(, "trim_offsets": )", offsets, ", \"use_regex\": true},\n");
  };
  out += str_cat("\n  ],\n  \"normalizer\": null,\n", byte_level("pre_tokenizer", "false", "true"),
                 byte_level("post_processor", "true", "false"), byte_level("decoder", "true", "true"), R"(  "model": {
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": "",
    "end_of_word_suffix": "",
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": )",
                 bpe.whole_pieces() ? "true" : "false", ",\n    \"vocab\": {");
  for (size_t id = 0; id < names.size(); ++id)
    out += (id == 0 ? "\n      " : ",\n      ") + quoted(names[id]) + ": " + std::to_string(id);
  out += "\n    },\n    \"merges\": [";
  comma = "";
  for (const auto& [left, right] : bpe.merges()) {
    out += std::exchange(comma, ",");
    out +=
        "\n      [" + quoted(names[static_cast<size_t>(left)]) + ", " + quoted(names[static_cast<size_t>(right)]) + "]";
  }
  return out + "\n    ]\n  }\n}\n";
}

}  // namespace glint
