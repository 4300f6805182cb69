#include "src/muon.h"

#include <algorithm>

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

}  // namespace

size_t muon_scratch(const Parameters& p, const Partition& partition) {
  size_t bytes = 0;
  for_each_matrix(p, partition, [&](size_t, const MatrixSize& size, bool own) {
    if (!own) return;
    const auto scratch = [&](const auto& ctx) { return orthogonalize_scratch(ctx, size, products_of(p)); };
    bytes = std::max(bytes, p.device().visit(scratch));
  });
  return bytes;
}

double muon_flops(const Parameters& p, const Partition& partition) {
  double flops = 0;
  for_each_matrix(p, partition,
                  [&](size_t, const MatrixSize& size, bool own) { flops += own ? orthogonalize_flops(size) : 0; });
  return flops;
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
  for_each_matrix(p, partition, [&](size_t offset, const MatrixSize& size, bool own) {
    p.device().visit([&](const auto& ctx) {
      float* const matrix = p.gradients() + offset;
      own ? orthogonalize(ctx, matrix, size, products_of(p), scratch) : set_zero(ctx, matrix, size.elements());
    });
  });
  if (partition.ranks > 1) exchange->sum_gradients(partition.muon);
  for_each_piece([&](const auto& ctx, const Piece& piece) {
    muon_update(ctx, masters_of(p, piece), p.rounded() ? p.rounded() + piece.begin : nullptr,
                p.gradients() + piece.begin, piece.size(), &state->adamw);
  });
}

}  // namespace glint
