#include "data/dataset.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>

#include "data/durable.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace {

// Nothing where the file is missing or damaged: it only serves messages.
CharacterCounts read_unknown(const std::filesystem::path& path) {
  std::ifstream in(path);
  const auto json = nlohmann::json::parse(in, nullptr, false);
  CharacterCounts counts;
  if (!json.is_object()) return counts;
  for (const auto& [text, count] : json.items()) {
    const Utf8Step step = decode_utf8(text.data(), text.data() + text.size());
    if (step.length > 0 && count.is_number_unsigned()) counts[step.code_point] = count.get<uint64_t>();
  }
  return counts;
}

}  // namespace

const char* name_of(Split split) { return split == Split::train ? "train" : split == Split::val ? "val" : "all"; }

Split split_named(std::string_view name) {
  if (name == "train") return Split::train;
  if (name == "val") return Split::val;
  GLINT_REQUIRE(name == "all", "there is no split '", name, "'; choose train, val or all");
  return Split::all;
}

bool is_prepared(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path / kTokensFile, ignored);
}

Dataset Dataset::open(const std::filesystem::path& folder) {
  std::error_code ignored;
  GLINT_REQUIRE(std::filesystem::exists(folder, ignored), folder.string(), " does not exist");
  GLINT_REQUIRE(is_prepared(folder), folder.string(), " is not a prepared folder: it has no ", kTokensFile,
                "; make one with `glint data prepare`");
  TokenFile file(folder / kTokensFile);
  Dataset dataset(Tokenizer::load(folder / kTokenizerFile), file.info());
  const bool belongs = dataset.tokenizer_.kind() == dataset.info_.tokenizer &&
                       dataset.tokenizer_.vocabulary() == dataset.info_.vocabulary &&
                       dataset.tokenizer_.fingerprint() == dataset.info_.tokenizer_fingerprint;
  GLINT_REQUIRE(belongs, folder.string(), ": ", kTokensFile, " was not made with this ", kTokenizerFile,
                "; prepare the data again");
  dataset.file_.emplace(std::move(file));
  if (dataset.info_.unknown_tokens > 0) dataset.unknown_ = read_unknown(folder / kUnknownFile);
  return dataset;
}

Dataset Dataset::encode(const TextPaths& text, const Tokenizer& tokenizer) {
  std::vector<std::byte> memory;
  const auto width = static_cast<size_t>(bytes_per_token(tokenizer.vocabulary()));
  const auto keep = [&](const void* tokens, size_t count) {
    const auto* bytes = static_cast<const std::byte*>(tokens);
    memory.insert(memory.end(), bytes, bytes + count * width);
  };
  TokenizedText tokenized = tokenize_text(text, tokenizer, keep);
  Dataset dataset(tokenizer, std::move(tokenized.info));
  dataset.unknown_ = std::move(tokenized.unknown);
  dataset.memory_ = std::move(memory);
  return dataset;
}

TokenSpan Dataset::tokens(Split split) const {
  const uint64_t train = info_.train_tokens, val = info_.val_tokens;
  const TokenSpan all = file_ ? file_->all() : TokenSpan(memory_.data(), train + val, info_.bytes_per_token);
  if (split == Split::all) return all;
  return split == Split::train ? all.subspan(0, train) : all.subspan(train, val);
}

uint64_t Dataset::text_bytes(Split split) const {
  return (split == Split::val ? 0 : info_.train_bytes) + (split == Split::train ? 0 : info_.val_bytes);
}

uint64_t Dataset::predicted_bytes(Split split) const {
  const TokenSpan all = tokens(split);
  std::string first;
  if (all.size() > 0) tokenizer_.append_decoded(first, all[0]);
  return text_bytes(split) - first.size();
}

uint64_t Dataset::unknown(Split split) const {
  if (info_.unknown_tokens == 0) return 0;
  const TokenSpan all = tokens(split);
  uint64_t count = 0;
  for (size_t i = 0; i < all.size(); ++i) count += all[i] == tokenizer_.unknown();
  return count;
}

std::string Dataset::describe_unknown(Split split) const {
  const uint64_t count = unknown(split), all = tokens(split).size();
  if (count == 0) return "";
  std::vector<std::pair<char32_t, uint64_t>> by_count(unknown_.begin(), unknown_.end());
  std::stable_sort(by_count.begin(), by_count.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::u32string characters;
  for (const auto& [character, times] : by_count) characters += character;
  char share[32];
  std::snprintf(share, sizeof share, "%.3g%%", 100.0 * static_cast<double>(count) / static_cast<double>(all));
  return str_cat(count, " of ", all, count == 1 ? " tokens is" : " tokens are", " unknown (", share, ")",
                 characters.empty() ? "" : ": ", describe_characters(characters));
}

uint64_t Dataset::count(int32_t token) const {
  const TokenSpan all = tokens(Split::all);
  uint64_t count = 0;
  for (size_t i = 0; i < all.size(); ++i) count += all[i] == token;
  return count;
}

uint64_t Dataset::documents() const { return std::max<uint64_t>(1, count(tokenizer_.separator())); }

double Dataset::bytes_per_token_of_text() const {
  return static_cast<double>(text_bytes(Split::all)) /
         static_cast<double>(std::max<size_t>(1, tokens(Split::all).size()));
}

std::string Dataset::sample() const {
  constexpr size_t kSampleTokens = 40;
  const TokenSpan all = tokens(Split::all);
  std::string text;
  for (size_t i = 0; i < std::min(kSampleTokens, all.size()); ++i) tokenizer_.append_decoded(text, all[i]);
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
}

uint64_t Dataset::checksum() const { return file_ ? info_.checksum : XXH3_64bits(memory_.data(), memory_.size()); }

void Dataset::require_unchanged() {
  if (file_) file_->require_unchanged();
}

std::optional<double> Dataset::entropy() const {
  return info_.entropy > 0.0 ? std::optional(info_.entropy) : std::nullopt;
}

void Dataset::require_context(int context) const {
  const auto wanted = static_cast<uint64_t>(context) + 1;
  const uint64_t shorter = std::min(info_.train_tokens, info_.val_tokens);
  if (shorter >= wanted) return;
  // n characters leave n - floor(9n/10), at least n/10, for validation.
  const uint64_t all = info_.train_tokens + info_.val_tokens;
  const bool by_share = info_.train_tokens < all && info_.val_tokens <= all / 10 + 1;  // no text of its own
  std::string advice =
      by_share ? str_cat("give a text of at least ", 10 * wanted, tokenizer_.bpe() ? " tokens" : " characters")
               : std::string("give more text");
  if (shorter >= 2) advice += str_cat(", or a `context` of at most ", shorter - 1);
  throw UserError(str_cat("the text (", info_.source, ") is too short for a context of ", context, ": its ",
                          info_.val_tokens < wanted ? "validation" : "training", " split has ", shorter, " tokens and ",
                          wanted, " are needed; ", advice));
}

std::string Dataset::describe() const {
  std::ostringstream out;
  const auto line = [&out](const char* label, const auto&... parts) { out << label << str_cat(parts...) << "\n"; };
  const bool has_unknown = info_.tokenizer == TokenizerKind::character;
  line("source      ", info_.source);
  line("tokenizer   ", name_of(info_.tokenizer), ", vocabulary ", info_.vocabulary,
       has_unknown ? str_cat(" (", tokenizer_.characters().size(), " characters and the unknown)") : "",
       tokenizer_.separator() >= 0 ? ", one a separator between documents" : "");
  line("training    ", info_.train_tokens, " tokens from ", info_.train_bytes, " bytes of text");
  line("validation  ", info_.val_tokens, " tokens from ", info_.val_bytes, " bytes of text",
       has_unknown ? str_cat(", ", unknown(Split::val), " unknown") : "");
  if (info_.unknown_tokens > 0) line("unknown     ", describe_unknown(Split::all));
  line("documents   ", documents());
  char rate[16];
  std::snprintf(rate, sizeof rate, "%.3f", bytes_per_token_of_text());
  line("bytes       ", rate, " of text per token");
  line("begins      ", sample());
  if (entropy()) line("entropy     ", *entropy(), " nats per token: no model's loss can be lower");
  line("stored as   uint", 8 * info_.bytes_per_token, ", version ", kTokenFileVersion, ", checksum ",
       hexadecimal(info_.checksum));
  return out.str();
}

std::string Dataset::to_json() const {
  nlohmann::ordered_json json{{"source", info_.source},
                              {"tokenizer", name_of(info_.tokenizer)},
                              {"vocabulary", info_.vocabulary},
                              {"train_tokens", info_.train_tokens},
                              {"val_tokens", info_.val_tokens},
                              {"train_bytes", info_.train_bytes},
                              {"val_bytes", info_.val_bytes},
                              {"documents", documents()},
                              {"text_bytes_per_token", bytes_per_token_of_text()},
                              {"unknown_tokens", info_.unknown_tokens},
                              {"unknown_characters", nlohmann::ordered_json::parse(glint::to_json(unknown_))},
                              {"bytes_per_token", info_.bytes_per_token},
                              {"version", kTokenFileVersion},
                              {"checksum", hexadecimal(info_.checksum)}};
  if (entropy()) json["entropy_nats_per_token"] = *entropy();
  // A file name need not be UTF-8; JSON must be.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace glint
