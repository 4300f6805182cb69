// Dropout of activations: the row layout of kernels/dropout.h, in which one draw serves 16 neighbouring channels.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/dropout.h"

namespace glint {

inline constexpr int kRowGroup = 16;  // channels of one draw

// A site as its kernel takes it; rng is null where nothing is dropped.
struct RowDropoutSite {
  const RngState* rng;
  uint64_t site;
  uint8_t threshold;
  float scale;
};
inline RowDropoutSite row_dropout_site(const Dropout& dropout) {
  if (!dropout.on()) return {nullptr, 0, 255, 1.0f};
  const KeepRule rule = keep_rule(dropout.p);
  return {dropout.rng, dropout.site, rule.threshold, rule.scale};
}

// The mask of one launch.
class RowDropout {
 public:
  __device__ explicit RowDropout(const RowDropoutSite& site) : threshold_(site.threshold), scale_(site.scale) {
    if (!site.rng) return;
    on_ = true;
    seed_ = site.rng->seed;
    offset_ = site.rng->offset + site.site;
    first_sequence_ = site.rng->first_sequence;
  }
  // Drops, and scales what is kept, in channels 16*group .. of token t of sequence b of the batch at hand.
  __device__ void apply(float (&values)[kRowGroup], int b, int t, int group) const {
    if (!on_) return;
    const PhiloxCounter draw = draw_row(seed_, offset_, first_sequence_ + static_cast<uint64_t>(b), static_cast<uint32_t>(t),
                                        static_cast<uint32_t>(group));
#pragma unroll
    for (int i = 0; i < kRowGroup; ++i) values[i] = byte_of(draw, i) <= threshold_ ? values[i] * scale_ : 0.0f;
  }

 private:
  bool on_ = false;
  uint8_t threshold_;
  float scale_;
  uint64_t seed_ = 0, offset_ = 0, first_sequence_ = 0;
};

}  // namespace glint
