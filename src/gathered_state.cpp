#include "src/gathered_state.h"

#include <algorithm>
#include <span>

#include "kernels/convert.h"

namespace glint {

namespace {

size_t kept_before(const Partition& partition, size_t end) {
  size_t kept = 0;
  for (const Piece& piece : partition.pieces) kept += std::min(piece.end, end) - std::min(piece.begin, end);
  return kept;
}

}  // namespace

template <typename Scalar>
GatheredState<Scalar>::GatheredState(const Parameters& parameters, const Partition& partition, Communicator& comm,
                                     Scalar* kept, size_t begin, size_t end)
    : partition_(partition),
      comm_(comm),
      begin_(begin),
      end_(end),
      first_kept_(kept_before(partition, begin)),
      kept_elements_(kept_before(partition, end) - first_kept_),
      kept_(parameters, kept, kept_elements_) {
  if (partition.sharded && comm.rank() == 0) whole_.resize(parameters.elements() - begin);
}

// Bucket by bucket: ranks other than 0 then need memory for one bucket only.
template <typename Scalar>
void GatheredState<Scalar>::gather() {
  if (!partition_.sharded) return;
  auto piece = std::find_if(partition_.pieces.begin(), partition_.pieces.end(),
                            [&](const Piece& it) { return it.begin >= begin_; });
  std::vector<Scalar> all;
  for (const Bucket& bucket : partition_.buckets) {
    if (bucket.begin < begin_) continue;
    if (bucket.begin >= end_) return;
    all.resize(bucket.size());
    if (piece != partition_.pieces.end() && piece->begin < bucket.end) {
      std::copy_n(kept_.data() + (piece->moments - first_kept_), piece->size(),
                  all.data() + (piece->begin - bucket.begin));
      ++piece;
    }
    comm_.all_gather(std::span(all));
    if (!whole_.empty())
      std::copy(all.begin(), all.end(), whole_.begin() + static_cast<std::ptrdiff_t>(bucket.begin - begin_));
  }
}

template <typename Scalar>
void GatheredState<Scalar>::scatter() {
  if (!partition_.sharded) {
    comm_.broadcast(std::as_writable_bytes(std::span(kept_.data(), kept_elements_)), 0);
    return kept_.store();
  }
  auto piece = std::find_if(partition_.pieces.begin(), partition_.pieces.end(),
                            [&](const Piece& it) { return it.begin >= begin_; });
  std::vector<Scalar> all;
  for (const Bucket& bucket : partition_.buckets) {
    if (bucket.begin < begin_) continue;
    if (bucket.begin >= end_) break;
    all.resize(bucket.size());
    if (!whole_.empty())
      std::copy_n(whole_.begin() + static_cast<std::ptrdiff_t>(bucket.begin - begin_), bucket.size(), all.begin());
    comm_.broadcast(std::as_writable_bytes(std::span(all)), 0);
    if (piece == partition_.pieces.end() || piece->begin >= bucket.end) continue;
    std::copy_n(all.data() + (piece->begin - bucket.begin), piece->size(),
                kept_.data() + (piece->moments - first_kept_));
    ++piece;
  }
  kept_.store();
}

template class GatheredState<float>;
template class GatheredState<Bf16>;

GatheredParameters::GatheredParameters(Parameters& parameters, const Partition& partition, Communicator& comm)
    : parameters_(parameters), partition_(partition), comm_(comm) {
  if (parameters.masters())
    masters_.emplace(parameters, partition, comm, parameters.masters(), 0, parameters.decayed_elements());
  else all_.emplace(parameters, parameters.values());
}

void GatheredParameters::gather() {
  if (!masters_) return;
  masters_->gather();
  if (comm_.rank() != 0) return;
  const size_t decayed = parameters_.decayed_elements(), rest = parameters_.elements() - decayed;
  HostCopy values(parameters_, parameters_.value_at(decayed), rest);
  std::copy_n(values.data(), rest, data() + decayed);
}

void GatheredParameters::scatter(GradientExchange* exchange) {
  if (!masters_) {
    comm_.broadcast(std::as_writable_bytes(std::span(all_->data(), parameters_.elements())), 0);
    all_->store();
    return parameters_.refresh_rounded();
  }
  masters_->scatter();
  const size_t decayed = parameters_.decayed_elements(), rest = parameters_.elements() - decayed;
  HostCopy values(parameters_, parameters_.value_at(decayed), rest);
  if (comm_.rank() == 0) std::copy_n(data() + decayed, rest, values.data());
  comm_.broadcast(std::as_writable_bytes(std::span(values.data(), rest)), 0);
  values.store();
  parameters_.device().visit([&](const auto& ctx) {
    for (const Piece& piece : partition_.pieces)
      convert(ctx, parameters_.rounded() + piece.begin, masters_of(parameters_, piece), piece.size());
  });
  exchange->gather(parameters_);
}

void keep_own_masters(Parameters& parameters, const Partition& partition) {
  HostCopy values(parameters, parameters.values());
  std::vector<float> kept;
  for (const Piece& piece : partition.pieces)
    if (piece.begin < parameters.decayed_elements())
      kept.insert(kept.end(), values.data() + piece.begin, values.data() + piece.end);
  parameters.keep_masters(kept);
}

}  // namespace glint
