#include "src/optimizer.h"

#include <algorithm>

#include "kernels/reduce.h"

namespace glint {

size_t training_bytes(const Parameters& p, const Partition& partition) {
  const size_t n = p.elements(), decayed = p.decayed_elements();
  const bool bf16 = p.dtype() == DType::bf16;
  size_t weights = n;  // in fp32
  if (bf16 && partition.sharded) {
    weights -= decayed;
    for (const Piece& piece : partition.pieces) weights += piece.begin < decayed ? piece.size() : 0;
  }
  return sizeof(float) * (weights + n) + bytes_of(partition.moments) * (2 * partition.kept - partition.muon_kept) +
         (bf16 ? sizeof(Bf16) * n : 0);
}

size_t optimizer_traffic(const Parameters& p, const Partition& partition) {
  // The gradient is read twice (also for its norm); weight and moments are read and written; the rounded copy is
  // written. Muon writes two updates in place of gradients, and reads them again.
  return partition.kept *
             (4 * sizeof(float) + 4 * bytes_of(partition.moments) + (p.dtype() == DType::bf16 ? sizeof(Bf16) : 0)) +
         partition.muon_kept * 2 * sizeof(float);
}

namespace {

// The scratch memory starts with the sums of squares of the pieces.
size_t squares_bytes(const Partition& partition) {
  return (partition.pieces.size() * sizeof(double) + 255) / 256 * 256;
}

}  // namespace

size_t optimizer_scratch(const Parameters& p, const Partition& partition) {
  const size_t rest = p.device().visit([&](const auto& ctx) { return reduce_scratch(ctx, p.elements()); });
  return squares_bytes(partition) + std::max(rest, muon_scratch(p, partition));
}

void optimizer_step(Parameters& p, const Partition& partition, GradientExchange* exchange, const AdamW& settings,
                    const Muon& muon, double grad_clip, StepState* state, void* scratch) {
  auto* squares = static_cast<double*>(scratch);
  void* rest = static_cast<char*>(scratch) + squares_bytes(partition);
  p.device().visit([&](const auto& ctx) {
    // A pass of its own, 4 of the 34 bytes a parameter that a step moves in bf16. A kernel after each product, while
    // its gradient is in the cache, would by estimate take longer than it saves; after each layer or bucket,
    // activations have displaced it. AdamW from the end, where the norm has just been, was no faster (measured on an
    // H100, 27 November 2026).
    const size_t pieces = partition.pieces.size();
    for (size_t i = 0; i < pieces; ++i) {
      double* out = pieces == 1 ? &state->gradient_squares : &squares[i];
      const Piece& piece = partition.pieces[i];
      sum_of_squares(ctx, out, p.gradients() + piece.begin, piece.size(), rest);
    }
    if (pieces != 1) sum(ctx, &state->gradient_squares, squares, pieces);
    if (partition.sharded) exchange->sum_and_join(&state->gradient_squares, 1);
    prepare_update(ctx, state, static_cast<float>(grad_clip), settings);
    for (const Piece& piece : partition.pieces) {
      if (piece.begin < partition.muon) continue;
      const size_t decayed = std::clamp(p.decayed_elements(), piece.begin, piece.end) - piece.begin;
      const auto update = [&]<typename Moment>(Moment* m, Moment* v) {
        adamw(ctx,
              AdamWArrays<Moment>{masters_of(p, piece), m + piece.moments, v + (piece.moments - partition.muon_kept),
                                  p.gradients() + piece.begin, p.rounded() ? p.rounded() + piece.begin : nullptr,
                                  piece.size(), decayed, piece.begin},
              &state->adamw);
      };
      if (partition.moments == DType::bf16) update(p.first_moments<Bf16>(), p.second_moments<Bf16>());
      else update(p.first_moments<float>(), p.second_moments<float>());
    }
  });
  muon_step(p, partition, exchange, muon, state, rest);
  if (partition.sharded) exchange->gather(p);
}

}  // namespace glint
