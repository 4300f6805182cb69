// Dropout of one head of the reference attention, by each of the variants.
#pragma once

#include "kernels/attention.h"
#include "kernels/causal_range.h"

namespace glint {

class HeadDropout {
 public:
  HeadDropout(const Dropout& dropout, const AttentionShape& shape, const ReferenceDropout& how, int b, int h)
      : mask_(dropout, shape.NH, b, h), variant_(how.variant), p_(dropout.p), shape_(shape) {
    if (variant_ == DropoutVariant::stored_mask && mask_.on)
      bits_ = how.bits + stored_mask_bytes(shape) / (static_cast<size_t>(shape.B) * shape.NH) * (b * shape.NH + h);
  }

  // What element (i, j) of P is multiplied with, after the softmax.
  float factor(int i, int j) const {
    if (!mask_.on || variant_ == DropoutVariant::before_softmax) return 1.0f;
    if (variant_ == DropoutVariant::diagonal_kept && i == j) return 1.0f;
    if (variant_ == DropoutVariant::unscaled) return keeps(mask_, i, j);
    const DropoutMask mask = mask_of_row(i);
    return keeps(mask, i, j) ? mask.scale : 0.0f;
  }
  // Whether the softmax of row i leaves out key j.
  bool hides(int i, int j) const { return variant_ == DropoutVariant::before_softmax && !keeps(mask_, i, j); }

  // In forward, before row i is asked for: stores its mask, if that is to be stored.
  void store_row(int i, int keys) const {
    if (!bits_) return;
    for (int j = 0; j < keys; ++j) {
      const uint32_t row = static_cast<uint32_t>(i), key = static_cast<uint32_t>(j);
      uint8_t& byte = bits_[at(i, j)];
      byte = static_cast<uint8_t>((j % 8 ? byte : 0) | mask_.keeps_attention(row, key) << j % 8);
    }
  }

 private:
  size_t at(int i, int j) const {
    return static_cast<size_t>(i) * ((static_cast<size_t>(shape_.S) + 7) / 8) + static_cast<size_t>(j) / 8;
  }
  bool keeps(const DropoutMask& mask, int i, int j) const {
    if (bits_) return bits_[at(i, j)] >> j % 8 & 1;
    return mask.keeps_attention(static_cast<uint32_t>(i), static_cast<uint32_t>(j));
  }
  DropoutMask mask_of_row(int i) const {
    DropoutMask mask = mask_;
    if (variant_ != DropoutVariant::rate_by_row) return mask;
    const int keys = attention::CausalRange(shape_).key_end(i);
    const KeepRule rule = keep_rule(2 * p_ * static_cast<float>(keys) / static_cast<float>(shape_.T + 1));
    mask.threshold = rule.threshold, mask.scale = rule.scale;
    return mask;
  }

  DropoutMask mask_;
  DropoutVariant variant_;
  float p_;
  AttentionShape shape_;
  uint8_t* bits_ = nullptr;  // stored_mask: (T, S) bits, each row from a whole byte on
};

}  // namespace glint
