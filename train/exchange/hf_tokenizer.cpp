#include "train/exchange/hf_tokenizer.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "data/bpe_files.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
using nlohmann::ordered_json;

namespace {

constexpr const char* kUnknown = "\xEF\xBF\xBD";  // U+FFFD, as which glint prints it
constexpr const char* kUnknownWord = "<unk>";     // where a text has U+FFFD itself

std::string text_of(char32_t character) {
  std::string text;
  append_utf8(text, character);
  return text;
}

const char* unknown_text(const Tokenizer& tokenizer) {
  return tokenizer.kind() == TokenizerKind::character && tokenizer.knows(kReplacementCharacter) ? kUnknownWord
                                                                                                : kUnknown;
}

ordered_json vocabulary_of(const Tokenizer& tokenizer) {
  ordered_json vocabulary = ordered_json::object();
  if (tokenizer.kind() == TokenizerKind::byte) {
    for (int byte = 0; byte < 256; ++byte) vocabulary[characters_of(std::string(1, static_cast<char>(byte)))] = byte;
  } else {
    for (const char32_t c : tokenizer.characters()) vocabulary[text_of(c)] = vocabulary.size();
    vocabulary[unknown_text(tokenizer)] = tokenizer.unknown();
  }
  if (tokenizer.separator() >= 0) vocabulary[kEndOfText] = tokenizer.separator();
  return vocabulary;
}

}  // namespace

std::string hf_tokenizer(const Tokenizer& tokenizer) {
  if (tokenizer.kind() == TokenizerKind::bpe) return tokenizer.to_json();
  const bool bytes = tokenizer.kind() == TokenizerKind::byte;
  ordered_json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json["added_tokens"] = ordered_json::array();
  if (tokenizer.separator() >= 0)
    json["added_tokens"].push_back({{"id", tokenizer.separator()},
                                    {"content", kEndOfText},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  json["normalizer"] = nullptr;
  if (bytes) {
    const ordered_json level = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
    json["pre_tokenizer"] = level;
    json["post_processor"] = nullptr;
    json["decoder"] = level;
    json["model"] = {{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", nullptr},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", false},
                     {"byte_fallback", false},
                     {"ignore_merges", false},
                     {"vocab", vocabulary_of(tokenizer)},
                     {"merges", ordered_json::array()}};
  } else {
    json["pre_tokenizer"] = {
        {"type", "Split"}, {"pattern", {{"Regex", "[\\s\\S]"}}}, {"behavior", "Isolated"}, {"invert", false}};
    json["post_processor"] = nullptr;
    json["decoder"] = {{"type", "Fuse"}};
    json["model"] = {
        {"type", "WordLevel"}, {"vocab", vocabulary_of(tokenizer)}, {"unk_token", unknown_text(tokenizer)}};
  }
  return json.dump(1) + "\n";
}

std::string hf_tokenizer_config(const Tokenizer& tokenizer, int context) {
  ordered_json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"model_max_length", context},
                       {"clean_up_tokenization_spaces", false}};
  if (tokenizer.unknown() >= 0) json["unk_token"] = unknown_text(tokenizer);
  if (tokenizer.separator() >= 0) json["bos_token"] = json["eos_token"] = kEndOfText;
  return json.dump(2) + "\n";
}

std::optional<Tokenizer> read_hf_tokenizer(const nlohmann::json& json) try {
  const auto& model = json.at("model");
  const auto& vocabulary = model.at("vocab");
  const bool separated = vocabulary.contains(kEndOfText);
  Tokenizer tokenizer = Tokenizer::of_bytes(separated);
  if (model.at("type") == "WordLevel") {
    std::u32string characters;
    for (const auto& [text, id] : vocabulary.items()) {
      if (text == kEndOfText || text == model.at("unk_token")) continue;
      const Utf8Step step = decode_utf8(text.data(), text.data() + text.size());
      if (step.length == 0 || static_cast<size_t>(step.length) != text.size()) return std::nullopt;
      characters.push_back(step.code_point);
    }
    tokenizer = Tokenizer::of_characters(characters, separated);
  }
  if (nlohmann::json::parse(hf_tokenizer(tokenizer)) != json) return std::nullopt;  // ids and all
  return tokenizer;
} catch (const nlohmann::json::exception&) {
  return std::nullopt;
}

}  // namespace glint
