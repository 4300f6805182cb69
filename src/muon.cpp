#include "src/muon.h"

#include <algorithm>
#include <array>
#include <span>

namespace glint {

namespace {

MuonProducts products_of(const Parameters& p) {
  return p.dtype() == DType::bf16 ? MuonProducts::bf16 : MuonProducts::fp32;
}

// call(matrix's offset, size, whether it is this rank's). Without an allocation: it is part of each step.
template <typename Call>
void for_each_matrix(const Parameters& p, const Partition& partition, const Call& call) {
  if (partition.muon == 0) return;
  int number = 0;
  for (const Parameter& parameter : p.all()) {
    if (!parameter.hidden) continue;
    size_t offset = parameter.offset;
    const auto take = [&](int64_t rows) {
      const MatrixSize size{static_cast<int>(rows), parameter.shape.last()};
      const int owner = (number + number / partition.ranks) % partition.ranks;  // other sizes in each round
      call(offset, size, owner == partition.rank);
      ++number;
      offset += size.elements();
    };
    for (const auto& [name, rows] : parameter.parts) take(rows);
    if (parameter.parts.empty()) take(parameter.shape[0]);
  }
}

// call(offsets, size) for this rank's matrices, as many of one size together as the device takes at once.
template <typename AnyContext, typename Call>
void for_each_batch(const Parameters& p, const Partition& partition, const AnyContext& ctx, const Call& call) {
  struct Batch {
    MatrixSize size;
    int count;
    std::array<size_t, kMostMatrices> offsets;
  };
  std::array<Batch, 8> batches;  // more sizes than models have
  size_t sizes = 0;
  const auto finish = [&](Batch& batch) {
    if (batch.count > 0) call(std::span(batch.offsets).first(static_cast<size_t>(batch.count)), batch.size);
    batch.count = 0;
  };
  for_each_matrix(p, partition, [&](size_t offset, const MatrixSize& size, bool own) {
    if (!own) return;
    const auto begin = batches.begin(), end = begin + static_cast<ptrdiff_t>(sizes);
    auto batch = std::find_if(begin, end, [&](const Batch& b) { return b.size == size; });
    if (batch == end) {
      if (sizes == batches.size()) finish(*(batch = begin));
      else ++sizes;
      *batch = {size, 0, {}};
    }
    batch->offsets[static_cast<size_t>(batch->count++)] = offset;
    if (batch->count == matrices_at_once(ctx, size)) finish(*batch);
  });
  for (size_t i = 0; i < sizes; ++i) finish(batches[i]);
}

}  // namespace

size_t muon_scratch(const Parameters& p, const Partition& partition) {
  size_t bytes = 0;
  p.device().visit([&](const auto& ctx) {
    for_each_batch(p, partition, ctx, [&](std::span<const size_t> offsets, const MatrixSize& size) {
      bytes = std::max(bytes, orthogonalize_scratch(ctx, size, static_cast<int>(offsets.size()), products_of(p)));
    });
  });
  return bytes;
}

double muon_flops(const Parameters& p, const Partition& partition) {
  double flops = 0;
  for_each_matrix(p, partition,
                  [&](size_t, const MatrixSize& size, bool own) { flops += own ? orthogonalize_flops(size) : 0; });
  return flops;
}

void orthogonalize_own(Parameters& p, const Partition& partition, void* scratch) {
  p.device().visit([&](const auto& ctx) {
    for_each_batch(p, partition, ctx, [&](std::span<const size_t> offsets, const MatrixSize& size) {
      std::array<float*, kMostMatrices> matrices;
      std::transform(offsets.begin(), offsets.end(), matrices.begin(), [&](size_t at) { return p.gradients() + at; });
      orthogonalize(ctx, std::span(matrices).first(offsets.size()), size, products_of(p), scratch);
    });
  });
}

void muon_step(Parameters& p, const Partition& partition, GradientExchange* exchange, const Muon& settings,
               StepState* state, void* scratch) {
  if (partition.muon == 0) return;
  const auto for_each_piece = [&](const auto& call) {
    for (const Piece& piece : partition.pieces)
      if (piece.begin < partition.muon) p.device().visit([&](const auto& ctx) { call(ctx, piece); });
  };
  for_each_piece([&](const auto& ctx, const Piece& piece) {
    muon_momentum(ctx, p.gradients() + piece.begin, p.first_moments<float>() + piece.moments, piece.size(), settings,
                  &state->adamw);
  });
  if (partition.sharded) exchange->gather_gradients(partition.muon);
  p.device().visit([&](const auto& ctx) {
    for_each_matrix(p, partition, [&](size_t offset, const MatrixSize& size, bool own) {
      if (!own) set_zero(ctx, p.gradients() + offset, size.elements());
    });
  });
  orthogonalize_own(p, partition, scratch);
  if (partition.ranks > 1) exchange->sum_gradients(partition.muon);
  for_each_piece([&](const auto& ctx, const Piece& piece) {
    muon_update(ctx, masters_of(p, piece), p.rounded() ? p.rounded() + piece.begin : nullptr,
                p.gradients() + piece.begin, piece.size(), &state->adamw);
  });
}

}  // namespace glint
