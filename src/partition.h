// How the flat buffers of parameters are cut for several ranks: into buckets, in which gradients travel, and into the
// pieces of them that one rank updates.
#pragma once

#include <cstddef>
#include <vector>

#include "src/parameters.h"

namespace glint {

struct Bucket {
  size_t begin, end;  // elements of the flat buffers
  size_t size() const { return end - begin; }
};

struct Piece {
  size_t begin, end;   // elements of the flat buffers
  size_t moments = 0;  // where its moments begin, in elements of theirs
  size_t size() const { return end - begin; }
};

struct PartitionSettings {
  size_t bucket_bytes = size_t{25} << 20;  // of gradients, at most; smaller where that would leave few buckets
  bool sharded = false;  // each rank keeps the moments of its shard of every bucket alone, and updates that (ZeRO stage
                         // 1: S. Rajbhandari et al., 2020); otherwise of all, and every rank updates everything
};

struct Partition {
  std::vector<Bucket>
      buckets;  // all elements, in order; decayed ones and others apart, as they are filled at different times
  std::vector<Piece> pieces;  // this rank's, none of them empty
  size_t kept = 0;            // elements of all pieces: of the moments
  bool sharded = false;
};

// Where AdamW finds the fp32 weights of a piece.
float* masters_of(const Parameters& parameters, const Piece& piece);

// One rank alone has one bucket and one piece of all.
Partition partition_of(const Parameters& parameters, int rank, int ranks, const PartitionSettings& settings);

}  // namespace glint
