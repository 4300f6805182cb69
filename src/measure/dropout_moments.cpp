#include "src/measure/dropout_moments.h"

#include <cmath>
#include <random>
#include <utility>

#include "kernels/attention.h"

namespace glint {

namespace {

constexpr int kMasksAtOnce = 64;

// (NH, T, HS): O, and the sum over keys of P^2 V^2.
struct Exact {
  std::vector<double> out, squares;
};

Exact exact_attention(const AttentionShape& s, const HeadView<const float>& q, const HeadView<const float>& k,
                      const HeadView<const float>& v) {
  const size_t elements = static_cast<size_t>(s.NH) * static_cast<size_t>(s.T) * static_cast<size_t>(s.HS);
  Exact exact{std::vector<double>(elements), std::vector<double>(elements)};
  std::vector<double> p(static_cast<size_t>(s.T));
  for (int h = 0; h < s.NH; ++h) {
    for (int i = 0; i < s.T; ++i) {
      double sum = 0;
      for (int j = 0; j <= i; ++j) {
        double score = 0;
        for (int c = 0; c < s.HS; ++c) score += static_cast<double>(q.at(0, i, h)[c]) * k.at(0, j, h)[c];
        sum += p[static_cast<size_t>(j)] = std::exp(static_cast<double>(s.scale) * score);
      }
      for (int j = 0; j <= i; ++j) {
        const double weight = p[static_cast<size_t>(j)] / sum;
        const size_t row = static_cast<size_t>((h * s.T + i) * s.HS);
        for (int c = 0; c < s.HS; ++c) {
          const double term = weight * v.at(0, j, h)[c];
          exact.out[row + static_cast<size_t>(c)] += term;
          exact.squares[row + static_cast<size_t>(c)] += term * term;
        }
      }
    }
  }
  return exact;
}

}  // namespace

Estimate estimate_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  for (const double value : values) squares += (value - sum / n) * (value - sum / n);
  return {sum / n, n > 1 ? std::sqrt(squares / (n - 1) / n) : 0};
}

double kept_rate(float p) { return p > 0 ? (keep_rule(p).threshold + 1) / 256.0 : 1.0; }

namespace {

// Sums over the outputs of many masks.
class MomentSums {
 public:
  MomentSums(const MomentSettings& x, const Exact& exact, double masks)
      : x_(x), exact_(exact), masks_(masks), sums_(exact.out.size()), squares_(exact.out.size()) {
    for (const double value : exact.out) norm_ += value * value;
    for (const double value : exact.squares) formula_ += of_squares_ * value;
    moments_.row_variance.resize(static_cast<size_t>(x.T));
    moments_.row_formula.resize(static_cast<size_t>(x.T));
  }

  // The output of sequence b of out (B, T, NH, HS), under one mask.
  void add(const HeadView<float>& out, int b) {
    double product = 0, deviation = 0;
    size_t n = 0;  // of (NH, T, HS)
    for (int h = 0; h < x_.heads; ++h) {
      for (int i = 0; i < x_.T; ++i) {
        const float* value = out.at(b, i, h);
        if (i == 0) moments_.lost_rows += (value[0] == 0.0f) / (masks_ * x_.heads);
        for (int c = 0; c < x_.HS; ++c, ++n) {
          const double difference = value[c] - q_ * s_ * exact_.out[n];
          product += value[c] * exact_.out[n];
          deviation += difference * difference;
          sums_[n] += value[c], squares_[n] += static_cast<double>(value[c]) * value[c];
          moments_.row_variance[static_cast<size_t>(i)] += difference * difference / (masks_ * row_);
        }
      }
    }
    scales_.push_back(product / norm_);
    variances_.push_back(deviation / formula_);
  }

  DropoutMoments finish() {
    moments_.scale = estimate_of(scales_);
    moments_.variance = estimate_of(variances_);
    for (size_t n = 0; n < sums_.size(); ++n) {
      const double mean = sums_[n] / masks_, off = mean - exact_.out[n];
      moments_.distance += off * off / norm_;
      moments_.chance += (squares_[n] / masks_ - mean * mean) / (masks_ - 1) / norm_;
      moments_.row_formula[n / static_cast<size_t>(x_.HS) % static_cast<size_t>(x_.T)] +=
          of_squares_ * exact_.squares[n] / row_;
    }
    moments_.distance = std::sqrt(moments_.distance);
    moments_.chance = std::sqrt(moments_.chance);
    return std::move(moments_);
  }

 private:
  const MomentSettings& x_;
  const Exact& exact_;
  const double masks_, row_ = static_cast<double>(x_.heads) * x_.HS;
  const double q_ = kept_rate(x_.p), s_ = 1.0 / (1.0 - static_cast<double>(x_.p)),
               of_squares_ = q_ * (1 - q_) * s_ * s_;
  double norm_ = 0, formula_ = 0;
  DropoutMoments moments_;
  std::vector<double> sums_, squares_, scales_, variances_;
};

}  // namespace

DropoutMoments measure_moments(const MomentSettings& x, AttentionKind kind, DropoutVariant variant) {
  GLINT_CHECK(x.p > 0, "p ", x.p);
  const AttentionShape shape{kMasksAtOnce, x.T,  x.T,  x.heads,
                             x.heads,      x.HS, true, 1.0f / std::sqrt(static_cast<float>(x.HS))};
  const size_t row = static_cast<size_t>(x.heads) * static_cast<size_t>(x.HS), size = static_cast<size_t>(x.T) * row;
  std::mt19937_64 engine(x.seed);
  std::normal_distribution<float> normal;
  std::vector<float> inputs(3 * size);
  for (float& value : inputs) value = normal(engine);
  const auto width = static_cast<int64_t>(row);
  const auto input = [&](size_t n) { return HeadView<const float>{inputs.data() + n * size, 0, width, x.HS}; };
  const Exact exact = exact_attention(shape, input(0), input(1), input(2));

  const CpuContext ctx;
  std::vector<float> out(kMasksAtOnce * size), lse(kMasksAtOnce * size / static_cast<size_t>(x.HS));
  std::vector<float> scratch(kind == AttentionKind::reference ? reference_attention_scratch(ctx, shape)
                                                              : attention_forward_scratch(ctx, shape));
  std::vector<uint8_t> bits(stored_mask_bytes(shape));
  const HeadView<float> out_view{out.data(), static_cast<int64_t>(size), width, x.HS};
  RngState rng{.seed = x.seed};
  const auto run = [&](const Dropout& dropout) {
    const AttentionForward<float> arguments{.out = out_view,
                                            .lse = lse.data(),
                                            .q = input(0),
                                            .k = input(1),
                                            .v = input(2),
                                            .scratch = scratch.data(),
                                            .shape = shape,
                                            .dropout = dropout};
    if (kind == AttentionKind::reference) reference_attention_forward(ctx, arguments, {variant, bits.data()});
    else attention_forward(ctx, arguments);
  };
  run({});
  const std::vector<float> undropped_lse = lse;
  const int rounds = (x.masks + kMasksAtOnce - 1) / kMasksAtOnce;
  MomentSums sums(x, exact, rounds * kMasksAtOnce);
  bool same_lse = true;
  for (int round = 0; round < rounds; ++round) {
    run(Dropout(x.p, &rng, 0));
    rng.offset += dropout_offsets(kMasksAtOnce, static_cast<uint64_t>(x.heads));
    same_lse = same_lse && lse == undropped_lse;
    for (int b = 0; b < kMasksAtOnce; ++b) sums.add(out_view, b);
  }
  DropoutMoments moments = sums.finish();
  moments.same_lse = same_lse;
  return moments;
}

}  // namespace glint
