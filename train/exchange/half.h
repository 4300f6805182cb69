// IEEE 754's binary16, as files hold it.
#pragma once

#include <cmath>
#include <cstdint>

namespace glint {

struct Half {
  uint16_t bits;
};

inline float to_float(Half value) {
  const uint32_t sign = uint32_t{value.bits} >> 15 << 31, exponent = value.bits >> 10 & 31u,
                 fraction = value.bits & 1023u;
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(fraction), -24), sign ? -1.0f : 1.0f);
  const uint32_t wide = exponent == 31 ? 255u : exponent + 112;
  return __builtin_bit_cast(float, sign | wide << 23 | fraction << 13);
}

// To nearest, ties to even; too large becomes infinite, NaN stays NaN.
inline Half to_half(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const float size = std::fabs(value);
  if (std::isnan(value)) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (size >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00u)};
  if (size < 0x1p-14f)  // the rounding carries into the exponent as it should
    return {static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(size, 24))))};
  const uint32_t rounded = (bits & 0x7fffffffu) + 0xfffu + (bits >> 13 & 1);
  return {static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)))};
}

}  // namespace glint
