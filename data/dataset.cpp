#include "data/dataset.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>

#include "kernels/check.h"

namespace glint {
namespace {

std::string hexadecimal(uint64_t value) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(value));
  return digits;
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
  return dataset;
}

Dataset Dataset::encode(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  std::vector<std::byte> memory;
  std::error_code ignored;
  const auto width = static_cast<size_t>(bytes_per_token(tokenizer.vocabulary()));
  const auto file_bytes = std::filesystem::file_size(file, ignored);
  if (!ignored) memory.reserve(file_bytes * width);
  TokenFileInfo info = tokenize_text(file, tokenizer, [&](const void* tokens, size_t count) {
    const auto* bytes = static_cast<const std::byte*>(tokens);
    memory.insert(memory.end(), bytes, bytes + count * width);
  });
  Dataset dataset(tokenizer, std::move(info));
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

std::optional<double> Dataset::entropy() const {
  return info_.entropy > 0.0 ? std::optional(info_.entropy) : std::nullopt;
}

void Dataset::require_context(int context) const {
  const auto wanted = static_cast<uint64_t>(context) + 1;
  const uint64_t shorter = std::min(info_.train_tokens, info_.val_tokens);
  if (shorter >= wanted) return;
  // n characters leave n - floor(9n/10), at least n/10, for validation.
  std::string advice = str_cat("give a text of at least ", 10 * wanted, " characters");
  if (shorter >= 2) advice += str_cat(", or a `context` of at most ", shorter - 1);
  throw UserError(str_cat("the text (", info_.source, ") is too short for a context of ", context,
                          ": its validation split has ", info_.val_tokens, " tokens and ", wanted, " are needed; ",
                          advice));
}

std::string Dataset::describe() const {
  std::ostringstream out;
  const auto line = [&out](const char* label, const auto&... parts) { out << label << str_cat(parts...) << "\n"; };
  const bool has_unknown = info_.tokenizer == TokenizerKind::character;
  line("source      ", info_.source);
  line("tokenizer   ", name_of(info_.tokenizer), ", vocabulary ", info_.vocabulary,
       has_unknown ? str_cat(" (", info_.vocabulary - 1, " characters and the unknown)") : "");
  line("training    ", info_.train_tokens, " tokens from ", info_.train_bytes, " bytes of text");
  line("validation  ", info_.val_tokens, " tokens from ", info_.val_bytes, " bytes of text",
       has_unknown ? str_cat(", ", info_.unknown_tokens, " unknown") : "");
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
                              {"unknown_tokens", info_.unknown_tokens},
                              {"bytes_per_token", info_.bytes_per_token},
                              {"version", kTokenFileVersion},
                              {"checksum", hexadecimal(info_.checksum)}};
  if (entropy()) json["entropy_nats_per_token"] = *entropy();
  // A file name need not be UTF-8; JSON must be.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace glint
