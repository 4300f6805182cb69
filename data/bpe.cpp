#include "data/bpe.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "data/split.h"
#include "kernels/check.h"

namespace glint {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

}  // namespace

PairTable::PairTable(size_t pairs) : mask_(std::bit_ceil(2 * pairs + 2) - 1), slots_(mask_ + 1) {}

void PairTable::insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = key_of(left, right);
  size_t at = hash(key) & mask_;
  while (slots_[at].key != kFree && slots_[at].key != key) at = (at + 1) & mask_;
  slots_[at] = {key, merge};
}

void PieceMerger::consider(uint32_t at, bool heap) {
  const Symbol& left = symbols_[at];
  if (left.next == kNone) return;
  const int32_t right = symbols_[left.next].id;
  const PairTable::Merge merge = pairs_.find(left.id, right);
  if (merge.rank == kNone) return;
  candidates_.push_back({merge.rank, at, left.id, right, merge.id});
  if (heap) std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
}

void PieceMerger::merge(std::vector<int32_t>& ids) {
  const auto count = static_cast<uint32_t>(ids.size());
  symbols_.resize(count);
  for (uint32_t i = 0; i < count; ++i) symbols_[i] = {ids[i], i == 0 ? kNone : i - 1, i + 1 < count ? i + 1 : kNone};
  candidates_.clear();
  for (uint32_t i = 0; i < count; ++i) consider(i, false);
  std::make_heap(candidates_.begin(), candidates_.end(), std::greater<>());
  while (!candidates_.empty()) {
    std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
    const Candidate best = candidates_.back();
    candidates_.pop_back();
    Symbol& left = symbols_[best.at];
    // One of the two may be part of another token by now; a token that is gone has id -1.
    if (left.id != best.left || left.next == kNone || symbols_[left.next].id != best.right) continue;
    Symbol& right = symbols_[left.next];
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next != kNone) symbols_[left.next].previous = best.at;
    if (left.previous != kNone) consider(left.previous, true);
    consider(best.at, true);
  }
  ids.clear();
  for (uint32_t i = 0; i < count; i = symbols_[i].next) {
    ids.push_back(symbols_[i].id);
    if (symbols_[i].next == kNone) break;
  }
}

Bpe::Bpe(std::vector<std::string> tokens, std::vector<Pair> merges, std::vector<Added> added, bool whole_pieces,
         const std::string& name)
    : tokens_(std::move(tokens)),
      merges_(std::move(merges)),
      added_(std::move(added)),
      whole_pieces_(whole_pieces),
      pairs_(merges_.size()) {
  const auto count = static_cast<int32_t>(tokens_.size());
  const auto is_token = [count](int32_t id) { return id >= 0 && id < count; };
  std::sort(added_.begin(), added_.end(), [](const Added& a, const Added& b) { return a.id < b.id; });
  std::vector<bool> is_added(tokens_.size());
  for (const Added& token : added_) {
    GLINT_REQUIRE(is_token(token.id) && !is_added[static_cast<size_t>(token.id)] && !token.content.empty(), name,
                  " gives the added token ", token.content, " the id ", token.id, " of another or of none");
    is_added[static_cast<size_t>(token.id)] = true;
    tokens_[static_cast<size_t>(token.id)] = token.content;
    if (token.content == kEndOfText) separator_ = token.id;
  }
  for (int32_t id = 0; id < count; ++id)
    if (!is_added[static_cast<size_t>(id)]) {
      const std::string& bytes = tokens_[static_cast<size_t>(id)];
      GLINT_REQUIRE(!bytes.empty() && ids_.emplace(bytes, id).second, name, " has no bytes for token ", id,
                    ", or those of another");
    }
  for (size_t i = 0; i < added_.size(); ++i)
    for (size_t k = 0; k <= i; ++k)
      GLINT_REQUIRE(k == i ? !ids_.contains(added_[i].content) : added_[k].content != added_[i].content, name,
                    " has two tokens ", added_[i].content);
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto found = ids_.find(std::string(1, static_cast<char>(byte)));
    GLINT_REQUIRE(found != ids_.end(), name, " has no token for the byte ", byte,
                  ": a byte-level vocabulary has all 256 (initial_alphabet of the trainer)");
    byte_ids_[byte] = found->second;
  }
  for (uint32_t rank = 0; rank < merges_.size(); ++rank) {
    const auto [left, right] = merges_[rank];
    GLINT_REQUIRE(is_token(left) && is_token(right), name, ": merge ", rank, " names a token that there is not");
    const auto found = ids_.find(tokens_[static_cast<size_t>(left)] + tokens_[static_cast<size_t>(right)]);
    GLINT_REQUIRE(found != ids_.end(), name, ": merge ", rank, " gives a token that is not in the vocabulary");
    pairs_.insert(left, right, {rank, found->second});
  }
  fingerprint_ = hash();
}

uint64_t Bpe::hash() const {
  std::string all;
  const auto add = [&all](const auto& number) { all.append(reinterpret_cast<const char*>(&number), sizeof number); };
  for (const std::string& token : tokens_) add(static_cast<uint64_t>(token.size())), all += token;
  for (const auto& [left, right] : merges_) add(left), add(right);
  for (const Added& token : added_) add(token.id);
  add(whole_pieces_);
  return XXH3_64bits(all.data(), all.size());
}

std::vector<int32_t> Bpe::encode(std::string_view text, TokenNames names) const {
  std::vector<int32_t> ids(text.size());
  int32_t* out = ids.data();
  BpeEncoder encoder(*this, text.size());
  while (!text.empty()) {
    size_t first = text.size();  // the first name of a token; of two at one place the longer
    const Added* named = nullptr;
    for (const Added& token : added_) {
      const size_t at = names == TokenNames::are_text ? std::string_view::npos : text.find(token.content);
      if (at < first || (at == first && named && token.content.size() > named->content.size()))
        first = at, named = &token;
    }
    out = encoder.encode(out, text.substr(0, first));
    if (named) *out++ = named->id;
    text.remove_prefix(first + (named ? named->content.size() : 0));
  }
  ids.resize(static_cast<size_t>(out - ids.data()));
  return ids;
}

BpeEncoder::BpeEncoder(const Bpe& bpe, size_t text_bytes)
    : bpe_(bpe), merger_(bpe.pairs_), cache_(std::bit_ceil(std::clamp<size_t>(text_bytes / 4, 16, size_t{1} << 16))) {}

std::array<uint64_t, 4> BpeEncoder::key_of(const char* piece, size_t length, size_t readable) {
  std::array<uint64_t, 4> key{};
  if (readable >= sizeof key) {  // a fixed size is faster; what follows the piece is masked out
    std::memcpy(key.data(), piece, sizeof key);
    for (size_t i = 0; i < key.size(); ++i) {
      const size_t kept = length > 8 * i ? std::min<size_t>(length - 8 * i, 8) : 0;
      key[i] &= kept == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * kept)) - 1;
    }
  } else {
    std::memcpy(key.data(), piece, length);
  }
  key[3] |= uint64_t{length} << 56;
  return key;
}

void BpeEncoder::encode_piece(std::string_view piece) {
  GLINT_REQUIRE(piece.size() < kNone, "the text has ", piece.size(), " bytes without a break between words");
  ids_.clear();
  if (bpe_.whole_pieces_)
    if (const auto found = bpe_.ids_.find(piece); found != bpe_.ids_.end()) return ids_.push_back(found->second);
  for (const char c : piece) ids_.push_back(bpe_.byte_ids_[static_cast<uint8_t>(c)]);
  merger_.merge(ids_);
}

template <typename Id>
Id* BpeEncoder::encode(Id* out, std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    const char* const next = piece_end(at, end);
    const auto length = static_cast<size_t>(next - at);
    if (length > kKeyBytes) {
      encode_piece({at, length});
      out = std::transform(ids_.begin(), ids_.end(), out, [](int32_t id) { return static_cast<Id>(id); });
      at = next;
      continue;
    }
    const std::array<uint64_t, 4> key = key_of(at, length, static_cast<size_t>(end - at));
    uint64_t hash =
        (key[0] ^ std::rotl(key[1], 23) ^ std::rotl(key[2], 41) ^ std::rotl(key[3], 7)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
    const size_t set = hash & (cache_.size() - 2);
    Entry* entry = &cache_[set];
    if (entry->key != key && (++entry)->key != key) {
      encode_piece({at, length});
      if (ids_.size() > kCachedIds) {
        out = std::transform(ids_.begin(), ids_.end(), out, [](int32_t id) { return static_cast<Id>(id); });
        at = next;
        continue;
      }
      cache_[set + 1] = cache_[set];
      entry = &cache_[set];
      entry->key = key;
      entry->count = static_cast<uint32_t>(ids_.size());
      std::copy(ids_.begin(), ids_.end(), entry->ids.begin());
    }
    const uint32_t count = entry->count;
    *out++ = static_cast<Id>(entry->ids[0]);
    for (uint32_t i = 1; i < count; ++i) *out++ = static_cast<Id>(entry->ids[i]);
    at = next;
  }
  return out;
}

template uint16_t* BpeEncoder::encode(uint16_t*, std::string_view);
template uint32_t* BpeEncoder::encode(uint32_t*, std::string_view);
template int32_t* BpeEncoder::encode(int32_t*, std::string_view);

}  // namespace glint
