#include "src/partition.h"

#include <algorithm>

#include "kernels/check.h"
#include "src/comm/communicator.h"

namespace glint {

namespace {

// After backward at least the last bucket still has to be sent. So there are at least this many buckets, unless they
// would be too small.
constexpr size_t kFewBuckets = 12, kSmallBucket = size_t{1} << 18;  // elements

void cut(std::vector<Bucket>& buckets, size_t begin, size_t end, size_t most) {
  for (; begin < end; begin += most) buckets.push_back({begin, std::min(begin + most, end)});
}

}  // namespace

Partition partition_of(const Parameters& parameters, int rank, int ranks, const PartitionSettings& settings) {
  GLINT_REQUIRE(
      !settings.muon || settings.moments == DType::f32,
      "`optimizer_dtype` bf16 is for AdamW alone; `optimizer` muon keeps fp32, and one moment of most weights");
  Partition partition;
  const size_t n = parameters.elements();
  partition.sharded = settings.sharded && ranks > 1;
  partition.moments = settings.moments;
  partition.muon = settings.muon ? parameters.hidden_elements() : 0;
  partition.rank = rank, partition.ranks = ranks;
  if (ranks == 1) {
    partition.buckets = {{0, n}};
  } else {
    const size_t unit = kShardUnit * static_cast<size_t>(ranks);
    const size_t several = std::max(kSmallBucket, n / kFewBuckets);
    const size_t most = std::max<size_t>(1, std::min(settings.bucket_bytes / sizeof(float), several) / unit) * unit;
    cut(partition.buckets, 0, partition.muon, most);
    cut(partition.buckets, partition.muon, parameters.decayed_elements(), most);
    cut(partition.buckets, parameters.decayed_elements(), n, most);
  }
  if (!partition.sharded) {
    if (partition.muon > 0) partition.pieces.push_back({0, partition.muon, 0});
    partition.pieces.push_back({partition.muon, n, partition.muon});
    partition.kept = n;
    partition.muon_kept = partition.muon;
    return partition;
  }
  for (const Bucket& bucket : partition.buckets) {
    const Shard shard = shard_of(bucket.size(), rank, ranks);
    if (shard.size() == 0) continue;
    partition.pieces.push_back({bucket.begin + shard.begin, bucket.begin + shard.end, partition.kept});
    partition.kept += shard.size();
    if (bucket.end <= partition.muon) partition.muon_kept += shard.size();
  }
  return partition;
}

float* masters_of(const Parameters& parameters, const Piece& piece) {
  const bool apart = parameters.masters() && piece.begin < parameters.decayed_elements();
  return apart ? parameters.masters() + piece.moments : parameters.value_at(piece.begin);
}

}  // namespace glint
