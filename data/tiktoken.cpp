// Vocabularies in tiktoken's format: a line for each token, base64 and its rank. The merges follow from the ranks.
#include <array>
#include <charconv>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "data/bpe_files.h"
#include "kernels/check.h"

namespace glint {

namespace {

// False if it is not base64 (RFC 4648).
bool append_base64(std::string& bytes, std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return false;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if ((count += 6) >= 8) bytes.push_back(static_cast<char>(bits >> (count -= 8) & 0xFF));
  }
  return !bytes.empty();
}

}  // namespace

std::shared_ptr<const Bpe> bpe_from_tiktoken(std::string_view text, const std::string& name) {
  std::map<int32_t, std::string> by_rank;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    std::string bytes;
    int32_t rank = -1;
    const char* const end = line.data() + line.size();
    const bool whole = space != std::string::npos && append_base64(bytes, std::string_view(line).substr(0, space)) &&
                       std::from_chars(line.data() + space + 1, end, rank).ptr == end && rank >= 0;
    GLINT_REQUIRE(whole, name, " is not a .tiktoken file: the line '", line.substr(0, 40),
                  "' is not a token and a rank");
    GLINT_REQUIRE(by_rank.emplace(rank, bytes).second, name, " gives the rank ", rank, " twice");
  }
  // These files do not hold the pattern.
  GLINT_REQUIRE(by_rank.size() < 100'000, name, " has ", by_rank.size(),
                " tokens: such vocabularies (cl100k_base, o200k_base) cut text by another pattern than GPT-2's");
  std::vector<std::string> tokens;
  std::vector<Bpe::Added> added;
  for (auto& [rank, bytes] : by_rank) {
    if (rank != static_cast<int32_t>(tokens.size()) && added.empty()) {
      added.push_back({static_cast<int32_t>(tokens.size()), kEndOfText});
      tokens.emplace_back(kEndOfText);
    }
    GLINT_REQUIRE(rank == static_cast<int32_t>(tokens.size()), name, " has no token of rank ", tokens.size());
    tokens.push_back(bytes);
  }
  if (added.empty()) {
    added.push_back({static_cast<int32_t>(tokens.size()), kEndOfText});
    tokens.emplace_back(kEndOfText);
  }
  // A token's last merge joins the two tokens that the merges before it make of its bytes.
  std::array<int32_t, 256> byte_ids{};
  for (const auto& [rank, bytes] : by_rank)
    if (bytes.size() == 1) byte_ids[static_cast<uint8_t>(bytes[0])] = rank;
  PairTable pairs(by_rank.size());
  PieceMerger merger(pairs);
  std::vector<Bpe::Pair> merges;
  bool whole_pieces = false;
  for (const auto& [rank, bytes] : by_rank) {
    if (bytes.size() == 1) continue;
    std::vector<int32_t> parts;
    for (const char c : bytes) parts.push_back(byte_ids[static_cast<uint8_t>(c)]);
    merger.merge(parts);
    if (parts.size() != 2) {  // only a piece that is this token gives it
      whole_pieces = true;
      continue;
    }
    pairs.insert(parts[0], parts[1], {static_cast<uint32_t>(merges.size()), rank});
    merges.emplace_back(parts[0], parts[1]);
  }
  return std::make_shared<const Bpe>(std::move(tokens), std::move(merges), std::move(added), whole_pieces, name);
}

}  // namespace glint
