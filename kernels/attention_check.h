// Argument checks shared by all attention functions.
#pragma once

#include "kernels/attention.h"
#include "kernels/check.h"

namespace glint::attention {

inline void check_attention(const AttentionShape& shape, const Dropout& dropout) {
  GLINT_CHECK(shape.B >= 1 && shape.T >= 1 && shape.S >= shape.T, "B ", shape.B, ", T ", shape.T, ", S ", shape.S);
  GLINT_CHECK(shape.NKV >= 1 && shape.NH % shape.NKV == 0, "NH ", shape.NH, ", NKV ", shape.NKV);
  GLINT_CHECK(shape.HS >= 8 && shape.HS <= 256 && shape.HS % 8 == 0, "HS ", shape.HS);
  GLINT_CHECK(!dropout.on() || shape.S == shape.T, "dropout needs S == T; S ", shape.S, ", T ", shape.T);
}

}  // namespace glint::attention
