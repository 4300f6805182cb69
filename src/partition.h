// How the flat buffers of parameters are divided among ranks: into buckets, in which gradients are exchanged, and
// pieces of them that this rank updates, with moments in fp32 or bf16.
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
  size_t moments = 0;  // offset of its moments, in elements
  size_t size() const { return end - begin; }
};

struct PartitionSettings {
  size_t bucket_bytes = size_t{25} << 20;  // largest size; smaller if there would be too few buckets
  // Each rank holds only the moments of its shard of every bucket, and updates that shard (ZeRO stage 1: S. Rajbhandari
  // et al., 2020). Otherwise every rank holds all moments and updates all elements.
  bool sharded = false;
  DType moments = DType::f32;  // or bf16
  bool muon = false;           // updates the matrices of layers, which then have first moments only, in fp32
};

struct Partition {
  // All elements, in order. No bucket mixes elements below `muon`, other decayed ones, and the rest, which are
  // complete at different times.
  std::vector<Bucket> buckets;
  std::vector<Piece> pieces;  // of this rank, none empty
  size_t kept = 0;            // elements of all pieces, and of the first moments
  size_t muon = 0;            // elements [0, muon) are those of Muon, of which this rank keeps muon_kept
  size_t muon_kept = 0;       // second moments begin behind them
  int rank = 0, ranks = 1;
  DType moments = DType::f32;
  bool sharded = false;
};

// The fp32 weights of a piece, which the optimizer updates.
float* masters_of(const Parameters& parameters, const Piece& piece);

// For one rank: one bucket with all elements, and one piece (with Muon two).
Partition partition_of(const Parameters& parameters, int rank, int ranks, const PartitionSettings& settings);

}  // namespace glint
