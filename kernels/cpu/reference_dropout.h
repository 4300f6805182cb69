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
  float factor(int i, int j) {
    if (!mask_.on || variant_ == DropoutVariant::before_softmax) return 1.0f;
    if (variant_ == DropoutVariant::diagonal_kept && i == j) return 1.0f;
    if (variant_ == DropoutVariant::unscaled) return keeps(i, j, mask_.threshold);
    const KeepRule rule = rule_of_row(i);
    return keeps(i, j, rule.threshold) ? rule.scale : 0.0f;
  }
  // Whether the softmax of row i leaves out key j.
  bool hides(int i, int j) {
    return variant_ == DropoutVariant::before_softmax && mask_.on && !keeps(i, j, mask_.threshold);
  }

  // In forward, before row i is asked for: stores its mask, if that is to be stored.
  void store_row(int i, int keys) {
    for (int j = 0; bits_ && j < keys; ++j) {
      uint8_t& byte = bits_[at(i, j)];
      byte = static_cast<uint8_t>((j % 8 ? byte : 0) | (byte_of_mask(i, j) <= mask_.threshold) << j % 8);
    }
  }

 private:
  size_t at(int i, int j) const {
    return static_cast<size_t>(i) * ((static_cast<size_t>(shape_.S) + 7) / 8) + static_cast<size_t>(j) / 8;
  }
  bool keeps(int i, int j, uint32_t threshold) {
    return bits_ ? bits_[at(i, j)] >> j % 8 & 1 : byte_of_mask(i, j) <= threshold;
  }
  KeepRule rule_of_row(int i) const {
    if (variant_ != DropoutVariant::rate_by_row) return {static_cast<uint8_t>(mask_.threshold), mask_.scale};
    const int keys = attention::CausalRange(shape_).key_end(i);
    return keep_rule(2 * p_ * static_cast<float>(keys) / static_cast<float>(shape_.T + 1));
  }
  // The random byte of element (i, j), as kernels/dropout.h defines it. Four draws serve 32 elements of a row.
  uint8_t byte_of_mask(int i, int j) {
    const auto row = static_cast<uint32_t>(i), block = static_cast<uint32_t>(j) / 32;
    if (row != row_ || block != block_) {
      for (uint32_t n = 0; n < 4; ++n)
        draws_[n] = draw_attention(mask_.seed, mask_.offset, 0, row / 16, block, 4 * (row % 8) + n);
      row_ = row, block_ = block;
    }
    return byte_of(draws_[j % 8 / 2], j / 16 % 2 * 8 + j / 8 % 2 * 4 + i / 8 % 2 * 2 + j % 2);
  }

  DropoutMask mask_;
  DropoutVariant variant_;
  float p_;
  AttentionShape shape_;
  uint32_t row_ = ~0u, block_ = ~0u;  // of draws_
  PhiloxCounter draws_[4] = {};
  uint8_t* bits_ = nullptr;  // stored_mask: (T, S) bits, each row from a whole byte on
};

}  // namespace glint
