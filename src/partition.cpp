#include "src/partition.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace glint {

namespace {

// What is left to send when backward ends is at least the last bucket: so there are this many, unless they got too small to be
// worth a message.
constexpr size_t kFewBuckets = 12, kSmallBucket = size_t{1} << 18;  // elements

void cut(std::vector<Bucket>& buckets, size_t begin, size_t end, size_t most) {
  for (; begin < end; begin += most) buckets.push_back({begin, std::min(begin + most, end)});
}

}  // namespace

Partition partition_of(const Parameters& parameters, int rank, int ranks, const PartitionSettings& settings) {
  Partition partition;
  const size_t n = parameters.elements();
  partition.sharded = settings.sharded && ranks > 1;
  if (ranks == 1) {
    partition.buckets = {{0, n}};
  } else {
    const size_t unit = kShardUnit * static_cast<size_t>(ranks);
    const size_t several = std::max(kSmallBucket, n / kFewBuckets);
    const size_t most = std::max<size_t>(1, std::min(settings.bucket_bytes / sizeof(float), several) / unit) * unit;
    cut(partition.buckets, 0, parameters.decayed_elements(), most);
    cut(partition.buckets, parameters.decayed_elements(), n, most);
  }
  if (!partition.sharded) {
    partition.pieces = {{0, n, 0}};
    partition.kept = n;
    return partition;
  }
  for (const Bucket& bucket : partition.buckets) {
    const Shard shard = shard_of(bucket.size(), rank, ranks);
    if (shard.size() == 0) continue;
    partition.pieces.push_back({bucket.begin + shard.begin, bucket.begin + shard.end, partition.kept});
    partition.kept += shard.size();
  }
  return partition;
}

WholeMoments::WholeMoments(const Parameters& parameters, const Partition& partition, Communicator& comm, float* kept)
    : parameters_(parameters), partition_(partition), comm_(comm), kept_(parameters, kept, partition.kept) {
  if (partition.sharded && comm.rank() == 0) whole_.resize(parameters.elements());
}

// By buckets, so that ranks other than 0 need no more memory than one of them.
void WholeMoments::gather() {
  if (!partition_.sharded) return;
  auto piece = partition_.pieces.begin();
  std::vector<float> all;
  for (const Bucket& bucket : partition_.buckets) {
    all.resize(bucket.size());
    if (piece != partition_.pieces.end() && piece->begin < bucket.end) {
      std::copy_n(kept_.data() + piece->moments, piece->size(), all.data() + (piece->begin - bucket.begin));
      ++piece;
    }
    comm_.all_gather(std::span(all));
    if (!whole_.empty()) std::copy(all.begin(), all.end(), whole_.begin() + static_cast<std::ptrdiff_t>(bucket.begin));
  }
}

void WholeMoments::scatter() {
  if (!partition_.sharded) {
    comm_.broadcast(std::as_writable_bytes(std::span(kept_.data(), partition_.kept)), 0);
    return kept_.store();
  }
  auto piece = partition_.pieces.begin();
  std::vector<float> all;
  for (const Bucket& bucket : partition_.buckets) {
    all.resize(bucket.size());
    if (!whole_.empty()) std::copy_n(whole_.begin() + static_cast<std::ptrdiff_t>(bucket.begin), bucket.size(), all.begin());
    comm_.broadcast(std::as_writable_bytes(std::span(all)), 0);
    if (piece == partition_.pieces.end() || piece->begin >= bucket.end) continue;
    std::copy_n(all.data() + (piece->begin - bucket.begin), piece->size(), kept_.data() + piece->moments);
    ++piece;
  }
  kept_.store();
}

}  // namespace glint
