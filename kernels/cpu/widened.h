// bf16 arrays converted to fp32, for CPU kernels that only compute in fp32: matrix products. Allocates memory at each
// call: an oracle, not a fast path.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/context.h"
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

}  // namespace glint
