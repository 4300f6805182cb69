#include "data/tokenizer.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "data/bpe.h"
#include "data/bpe_files.h"
#include "data/file_writer.h"
#include "data/mapped_file.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace {

constexpr const char* kFormat = "glint tokenizer";
constexpr int kVersion = 1;

void require_utf8(std::string_view bytes, const char* what) {
  const size_t at = find_utf8_error(bytes);
  GLINT_REQUIRE(at == std::string_view::npos, what, " is not UTF-8: see byte ", at);
}

// The single character of a vocabulary entry.
char32_t single_character(const std::string& entry, const std::string& name) {
  const Utf8Step step = decode_utf8(entry.data(), entry.data() + entry.size());
  GLINT_REQUIRE(step.length > 0 && static_cast<size_t>(step.length) == entry.size(), name,
                " is not a tokenizer of glint: an entry of its vocabulary is not one character");
  return step.code_point;
}

}  // namespace

const char* name_of(TokenizerKind kind) {
  return kind == TokenizerKind::character ? "char" : kind == TokenizerKind::byte ? "byte" : "bpe";
}

TokenizerKind tokenizer_kind_named(std::string_view name) {
  for (const auto kind : {TokenizerKind::character, TokenizerKind::byte, TokenizerKind::bpe})
    if (name == name_of(kind)) return kind;
  throw UserError(str_cat("there is no tokenizer '", name, "'; choose char, byte or bpe, or name a tokenizer's file"));
}

std::string describe_characters(std::u32string_view characters, size_t at_most) {
  std::string out;
  for (const char32_t c : characters.substr(0, at_most)) {
    char code[16];
    std::snprintf(code, sizeof code, "U+%04X", static_cast<unsigned>(c));
    out += (out.empty() ? "" : ", ") + std::string(code);
    if (c > 0x20 && c != 0x7F && !(c >= 0x80 && c < 0xA0)) {  // not a control character
      out += " '";
      append_utf8(out, c);
      out += "'";
    }
  }
  if (characters.size() > at_most) out += str_cat(" and ", characters.size() - at_most, " more");
  return out;
}

Tokenizer Tokenizer::of_bytes(bool with_separator) {
  Tokenizer tokenizer;
  tokenizer.has_separator_ = with_separator;
  return tokenizer;
}

Tokenizer Tokenizer::of_characters(std::u32string code_points, bool with_separator) {
  std::sort(code_points.begin(), code_points.end());
  code_points.erase(std::unique(code_points.begin(), code_points.end()), code_points.end());
  GLINT_CHECK(code_points.empty() || code_points.back() <= kLastCodePoint, "no such character");
  Tokenizer tokenizer;
  tokenizer.kind_ = TokenizerKind::character;
  tokenizer.has_separator_ = with_separator;
  tokenizer.characters_ = std::move(code_points);
  const std::u32string& known = tokenizer.characters_;
  const auto unknown = static_cast<uint32_t>(known.size());
  tokenizer.ids_.assign(std::max<size_t>(128, known.empty() ? 0 : known.back() + 1), unknown);
  for (uint32_t id = 0; id < unknown; ++id) tokenizer.ids_[known[id]] = id;
  return tokenizer;
}

Tokenizer Tokenizer::of_bpe(std::shared_ptr<const Bpe> bpe) {
  Tokenizer tokenizer;
  tokenizer.kind_ = TokenizerKind::bpe;
  tokenizer.bpe_ = std::move(bpe);
  return tokenizer;
}

Tokenizer Tokenizer::of_text(std::string_view text) {
  require_utf8(text, "the text");
  CharacterSet characters;
  characters.add(text);
  return of_characters(characters.sorted());
}

int Tokenizer::vocabulary() const {
  if (bpe_) return static_cast<int>(bpe_->tokens().size());
  return (kind_ == TokenizerKind::byte ? 256 : static_cast<int>(characters_.size()) + 1) + has_separator_;
}

int Tokenizer::separator() const { return bpe_ ? bpe_->separator() : has_separator_ ? vocabulary() - 1 : -1; }

bool Tokenizer::knows(char32_t c) const {
  return kind_ != TokenizerKind::character || (c < ids_.size() && ids_[c] != static_cast<uint32_t>(unknown()));
}

int Tokenizer::unknown() const { return kind_ == TokenizerKind::character ? static_cast<int>(characters_.size()) : -1; }

bool Tokenizer::same_bpe(const Tokenizer& a, const Tokenizer& b) {
  return a.bpe_ == b.bpe_ || (a.bpe_ && b.bpe_ && *a.bpe_ == *b.bpe_);
}

uint64_t Tokenizer::fingerprint() const {
  if (bpe_) return bpe_->fingerprint();
  const uint64_t seed = static_cast<uint64_t>(kind_) | (has_separator_ ? uint64_t{1} << 32 : 0);
  return XXH3_64bits_withSeed(characters_.data(), characters_.size() * sizeof(char32_t), seed);
}

template <typename Id>
Tokenizer::Counts Tokenizer::encode_into(Id* out, std::string_view text) const {
  if (kind_ == TokenizerKind::byte) {
    std::transform(text.begin(), text.end(), out, [](char c) { return static_cast<uint8_t>(c); });
    return {text.size(), 0};
  }
  if (bpe_) return {static_cast<size_t>(BpeEncoder(*bpe_, text.size()).encode(out, text) - out), 0};
  const auto unknown_id = static_cast<uint32_t>(unknown());
  const uint32_t* const ids = ids_.data();  // a local copy: the compiler must assume that out aliases *this
  const size_t known = ids_.size();
  const char* at = text.data();
  const char* const end = at + text.size();
  Id* const first = out;
  size_t unknown_count = 0;
  while (at != end) {
    auto code_point = static_cast<char32_t>(static_cast<uint8_t>(*at));
    int length = 1;
    if (code_point >= 0x80) {
      const Utf8Step step = decode_utf8(at, end);
      GLINT_CHECK(step.length > 0, "not UTF-8 at byte ", at - text.data());
      code_point = step.code_point;
      length = step.length;
    }
    const uint32_t id = code_point < known ? ids[code_point] : unknown_id;
    unknown_count += id == unknown_id;
    *out++ = static_cast<Id>(id);
    at += length;
  }
  return {static_cast<size_t>(out - first), unknown_count};
}

template Tokenizer::Counts Tokenizer::encode_into(uint16_t*, std::string_view) const;
template Tokenizer::Counts Tokenizer::encode_into(uint32_t*, std::string_view) const;

Tokenizer::Encoded Tokenizer::encode(std::string_view text, TokenNames names) const {
  if (kind_ != TokenizerKind::byte) require_utf8(text, "the text");
  std::vector<uint32_t> ids(text.size());
  if (bpe_) return {bpe_->encode(text, names), {}};
  ids.resize(encode_into(ids.data(), text).tokens);
  Encoded encoded{{ids.begin(), ids.end()}, {}};
  if (kind_ == TokenizerKind::byte) return encoded;
  const char* at = text.data();
  for (const int32_t id : encoded.ids) {
    const Utf8Step step = decode_utf8(at, text.data() + text.size());
    at += step.length;
    if (id != unknown() || encoded.unknown.find(step.code_point) != std::u32string::npos) continue;
    encoded.unknown.push_back(step.code_point);
  }
  return encoded;
}

void Tokenizer::append_decoded(std::string& out, int32_t id) const {
  GLINT_CHECK(id >= 0 && id < vocabulary(), "token ", id, " in a vocabulary of ", vocabulary());
  if (id == separator()) return;
  if (bpe_) {
    out += bpe_->tokens()[static_cast<size_t>(id)];
  } else if (kind_ == TokenizerKind::byte) {
    out.push_back(static_cast<char>(id));
  } else {
    append_utf8(out, id == unknown() ? kReplacementCharacter : characters_[static_cast<size_t>(id)]);
  }
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string out;
  for (const int32_t id : ids) append_decoded(out, id);
  return out;
}

std::string Tokenizer::to_json() const {
  if (bpe_) return glint::to_json(*bpe_);
  nlohmann::ordered_json json{
      {"format", kFormat}, {"version", kVersion}, {"kind", name_of(kind_)}, {"vocabulary_size", vocabulary()}};
  if (has_separator_) json["separator"] = separator();
  if (kind_ == TokenizerKind::character) {
    json["unknown"] = unknown();
    auto& entries = json["characters"] = nlohmann::ordered_json::array();  // by id
    for (const char32_t c : characters_) {
      std::string entry;
      append_utf8(entry, c);
      entries.push_back(entry);
    }
  }
  return json.dump(1) + "\n";
}

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& name) {
  try {
    const auto parsed = nlohmann::json::parse(json);
    if (parsed.is_object() && parsed.contains("model")) return of_bpe(bpe_from_json(parsed, name));
    GLINT_REQUIRE(parsed.is_object() && parsed.value("format", "") == kFormat, name, " is not a tokenizer of glint");
    const auto& version = parsed.at("version");
    GLINT_REQUIRE(version == kVersion, name, " is a tokenizer of version ", version.dump(),
                  "; this glint reads version ", kVersion, ": prepare the data again");
    const TokenizerKind kind = tokenizer_kind_named(parsed.at("kind").get<std::string>());
    GLINT_REQUIRE(kind != TokenizerKind::bpe, name, " is damaged: bpe has the form of Hugging Face's tokenizer.json");
    if (kind == TokenizerKind::byte) return of_bytes(parsed.contains("separator"));
    std::u32string characters;
    for (const auto& entry : parsed.at("characters")) {
      characters.push_back(single_character(entry.get<std::string>(), name));
    }
    Tokenizer tokenizer = of_characters(characters, parsed.contains("separator"));
    const bool in_order = tokenizer.characters_ == characters;
    GLINT_REQUIRE(in_order && parsed.at("vocabulary_size") == tokenizer.vocabulary(), name,
                  " is damaged: its vocabulary is not in order; prepare the data again");
    return tokenizer;
  } catch (const nlohmann::json::exception&) {
    throw UserError(name + " is not a tokenizer of glint, or damaged: prepare the data again");
  }
}

void Tokenizer::save(const std::filesystem::path& path) const { write_file(path, to_json()); }

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(path, ignored);
  const auto folder = is_folder ? path : path.parent_path();
  const std::string name = path.filename().string();
  const bool has_json = is_folder && std::filesystem::exists(path / "tokenizer.json", ignored);
  if (has_json) return load(path / "tokenizer.json");
  for (const auto& [vocab, merges] : {std::pair("vocab.json", "merges.txt"), std::pair("encoder.json", "vocab.bpe")}) {
    const bool named =
        name == vocab || name == merges || (is_folder && std::filesystem::exists(folder / vocab, ignored));
    if (named)
      return of_bpe(bpe_from_vocab_and_merges(MappedFile(folder / vocab).bytes(), MappedFile(folder / merges).bytes(),
                                              path.string()));
  }
  GLINT_REQUIRE(!is_folder, path.string(), " is a folder without tokenizer.json, or vocab.json and merges.txt");
  if (path.extension() == ".tiktoken") return of_bpe(bpe_from_tiktoken(MappedFile(path).bytes(), path.string()));
  return from_json(MappedFile(path).bytes(), path.string());
}

std::optional<Tokenizer> Tokenizer::given(const std::string& name) {
  std::error_code ignored;
  for (const auto kind : {TokenizerKind::character, TokenizerKind::byte, TokenizerKind::bpe})
    if (name == name_of(kind)) return std::nullopt;
  if (std::filesystem::exists(name, ignored) || name.find_first_of("/.") != std::string::npos) return load(name);
  tokenizer_kind_named(name);  // throws
  return std::nullopt;
}

}  // namespace glint
