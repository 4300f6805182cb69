#include "data/bpe_files.h"

#include <algorithm>
#include <array>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace {

using Json = nlohmann::json;

constexpr bool is_printable(size_t byte) { return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD); }

// The characters that stand for bytes in such files: printable ones for themselves, the others from U+0100 on
// (bytes_to_unicode of GPT-2's encoder.py).
struct ByteCharacters {
  std::array<char32_t, 256> of_byte{};
  std::array<int, 324> to_byte{};  // -1: stands for none

  constexpr ByteCharacters() {
    to_byte.fill(-1);
    char32_t next = 256;
    for (size_t byte = 0; byte < 256; ++byte) {
      const bool itself = is_printable(byte);
      of_byte[byte] = itself ? static_cast<char32_t>(byte) : next++;
      to_byte[of_byte[byte]] = static_cast<int>(byte);
    }
  }
};
constexpr ByteCharacters kCharacters;

// False if a character stands for no byte.
bool append_bytes(std::string& bytes, std::string_view characters) {
  for (const char *at = characters.data(), *end = at + characters.size(); at != end;) {
    const Utf8Step step = decode_utf8(at, end);
    if (step.length <= 0 || step.code_point >= kCharacters.to_byte.size()) return false;
    const int byte = kCharacters.to_byte[step.code_point];
    if (byte < 0) return false;
    bytes.push_back(static_cast<char>(byte));
    at += step.length;
  }
  return true;
}

int32_t id_of(const Json& value, const std::string& token, const std::string& name) {
  GLINT_REQUIRE(value.is_number_integer() && value >= 0 && value < INT32_MAX, name, ": the id of ", token, " is ",
                value.dump());
  return value.get<int32_t>();
}

// Tokens by id from {"token": id, ...}. Names of added tokens stay as they are.
std::vector<std::string> tokens_by_id(const Json& vocab, const std::vector<Bpe::Added>& added,
                                      const std::string& name) {
  GLINT_REQUIRE(vocab.is_object() && !vocab.empty(), name, " has no vocabulary");
  std::map<int32_t, std::string> by_id;
  for (const Bpe::Added& token : added) by_id[token.id] = token.content;
  for (const auto& [characters, value] : vocab.items()) {
    const int32_t id = id_of(value, characters, name);
    const auto known = std::find_if(added.begin(), added.end(), [id](const Bpe::Added& a) { return a.id == id; });
    std::string bytes = characters;
    if (known == added.end()) {
      bytes.clear();
      GLINT_REQUIRE(append_bytes(bytes, characters), name, " is not a byte-level BPE: its token ", id, ", ", characters,
                    ", has characters that stand for no byte");
    }
    const auto [at, is_new] = by_id.emplace(id, bytes);
    GLINT_REQUIRE(is_new || (known != added.end() && at->second == bytes), name, " gives the id ", id, " twice");
  }
  std::vector<std::string> tokens;
  for (auto& [id, bytes] : by_id) {
    GLINT_REQUIRE(id == static_cast<int32_t>(tokens.size()), name, " has no token of id ", tokens.size(),
                  ", and others above");
    tokens.push_back(std::move(bytes));
  }
  return tokens;
}

// Ids of the tokens that merges name by their characters.
class TokenIds {
 public:
  TokenIds(const Json& vocab, const std::string& name) : vocab_(vocab), name_(name) {}
  Bpe::Pair pair(const std::string& left, const std::string& right) const { return {id(left), id(right)}; }
  Bpe::Pair pair(const std::string& line) const {
    const size_t space = line.find(' ');
    GLINT_REQUIRE(space != std::string::npos, name_, ": the merge '", line, "' is not two tokens");
    return pair(line.substr(0, space), line.substr(space + 1));
  }

 private:
  int32_t id(const std::string& token) const {
    const auto found = vocab_.find(token);
    GLINT_REQUIRE(found != vocab_.end(), name_, ": a merge names the token ", token,
                  ", which is not in the vocabulary");
    return found->get<int32_t>();
  }
  const Json& vocab_;
  const std::string& name_;
};

bool is_unset(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() || *found == "" || *found == false || *found == 0;
}

std::string type_of(const Json& part) { return part.is_object() ? part.value("type", "?") : part.dump(); }

// That a part of tokenizer.json is null or as GPT-2's.
void require_byte_level(const Json& file, const char* part, const std::string& name) {
  const Json found = file.value(part, Json());
  GLINT_REQUIRE(found.is_null() || type_of(found) == "ByteLevel", name, " has the ", part, " ", type_of(found),
                ": glint reads GPT-2's kind of tokenizer only, with ByteLevel");
}

std::vector<Bpe::Added> added_tokens(const Json& file, const std::string& name) {
  std::vector<Bpe::Added> added;
  for (const Json& token : file.value("added_tokens", Json::array())) {
    const auto content = token.at("content").get<std::string>();
    added.push_back({id_of(token.at("id"), content, name), content});
    for (const char* flag : {"lstrip", "rstrip", "single_word"})
      GLINT_REQUIRE(is_unset(token, flag), name, ": the added token ", added.back().content, " has ", flag,
                    ", which glint does not do");
  }
  return added;
}

}  // namespace

std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  for (const bool printable : {true, false})
    for (size_t byte = 0; byte < 256; ++byte)
      if (is_printable(byte) == printable) tokens.emplace_back(1, static_cast<char>(byte));
  return tokens;
}

std::shared_ptr<const Bpe> bpe_from_json(const Json& file, const std::string& name) try {
  const Json& model = file.at("model");
  GLINT_REQUIRE(type_of(model) == "BPE", name, " is a tokenizer of the model ", type_of(model),
                ": glint reads byte-level BPE, as GPT-2's");
  GLINT_REQUIRE(file.value("normalizer", Json()).is_null(), name, " has the normalizer ", type_of(file["normalizer"]),
                ": GPT-2's kind of tokenizer has none");
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"})
    GLINT_REQUIRE(is_unset(model, key), name, " has ", key, " ", model[key].dump(), ", which byte-level BPE has not");
  const Json before = file.value("pre_tokenizer", Json());
  GLINT_REQUIRE(type_of(before) == "ByteLevel" && before.value("use_regex", true), name, " has the pre_tokenizer ",
                type_of(before), ": glint cuts text by GPT-2's pattern, which is ByteLevel with use_regex");
  GLINT_REQUIRE(is_unset(before, "add_prefix_space"), name,
                " adds a space before each text (add_prefix_space): GPT-2's does not");
  require_byte_level(file, "decoder", name);
  require_byte_level(file, "post_processor", name);

  const std::vector<Bpe::Added> added = added_tokens(file, name);
  const Json& vocab = model.at("vocab");
  std::vector<std::string> tokens = tokens_by_id(vocab, added, name);
  const TokenIds ids(vocab, name);
  std::vector<Bpe::Pair> merges;
  for (const Json& merge : model.at("merges"))  // "a b" in older files
    merges.push_back(merge.is_string() ? ids.pair(merge.get<std::string>())
                                       : ids.pair(merge.at(0).get<std::string>(), merge.at(1).get<std::string>()));
  return std::make_shared<const Bpe>(std::move(tokens), std::move(merges), added, !is_unset(model, "ignore_merges"),
                                     name);
} catch (const Json::exception&) {
  throw UserError(name + " is damaged, or not a tokenizer of Hugging Face");
}

std::shared_ptr<const Bpe> bpe_from_vocab_and_merges(std::string_view vocab_text, std::string_view merges_text,
                                                     const std::string& name) {
  const Json vocab = Json::parse(vocab_text, nullptr, false);
  GLINT_REQUIRE(vocab.is_object(), name, ": its vocabulary is not JSON of the form {\"token\": id, ...}");
  std::vector<Bpe::Added> added;
  if (const auto end = vocab.find(kEndOfText); end != vocab.end())
    added.push_back({id_of(*end, kEndOfText, name), kEndOfText});
  std::vector<std::string> tokens = tokens_by_id(vocab, added, name);
  const TokenIds ids(vocab, name);
  std::vector<Bpe::Pair> merges;
  std::istringstream lines{std::string(merges_text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !(merges.empty() && line.starts_with("#version"))) merges.push_back(ids.pair(line));
  }
  return std::make_shared<const Bpe>(std::move(tokens), std::move(merges), std::move(added), false, name);
}

std::string characters_of(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, kCharacters.of_byte[static_cast<uint8_t>(c)]);
  return out;
}

}  // namespace glint
