// bf16 arrays converted to fp32, for CPU kernels that only compute in fp32: matrix products and attention. Allocates
// memory at each call: an oracle, not a fast path.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/attention.h"
#include "kernels/convert.h"

namespace glint {

class Widened {
 public:
  Widened(const CpuContext& ctx, const Bf16* from, size_t n) : values_(from ? n : 0) {
    if (from) convert(ctx, values_.data(), from, n);
  }
  explicit Widened(size_t n) : values_(n) {}
  float* data() { return values_.empty() ? nullptr : values_.data(); }
  const float* data() const { return values_.empty() ? nullptr : values_.data(); }
  void store(const CpuContext& ctx, Bf16* to) const { convert(ctx, to, values_.data(), values_.size()); }

 private:
  std::vector<float> values_;
};

// A (B, T, heads, HS) view, copied without gaps.
class WidenedView {
 public:
  WidenedView(int B, int T, int heads, int HS)
      : B_(B),
        T_(T),
        heads_(heads),
        HS_(HS),
        values_(static_cast<size_t>(B) * static_cast<size_t>(T) * static_cast<size_t>(heads * HS)) {}
  WidenedView(HeadView<const Bf16> from, int B, int T, int heads, int HS) : WidenedView(B, T, heads, HS) {
    for_each([&](int b, int t, int h) {
      const Bf16* source = from.at(b, t, h);
      float* to = view().at(b, t, h);
      for (int c = 0; c < HS_; ++c) to[c] = to_float(source[c]);
    });
  }
  HeadView<float> view() {
    const int64_t row = int64_t{heads_} * HS_;
    return {values_.data(), T_ * row, row, HS_};
  }
  void store(HeadView<Bf16> to) {
    for_each([&](int b, int t, int h) {
      const float* source = view().at(b, t, h);
      Bf16* target = to.at(b, t, h);
      for (int c = 0; c < HS_; ++c) target[c] = to_bf16(source[c]);
    });
  }

 private:
  template <typename F>
  void for_each(const F& f) const {
    for (int b = 0; b < B_; ++b)
      for (int t = 0; t < T_; ++t)
        for (int h = 0; h < heads_; ++h) f(b, t, h);
  }
  int B_, T_, heads_, HS_;
  std::vector<float> values_;
};

}  // namespace glint
