// Loads and stores of a whole vector: what load_vector and store_vector of kernels/cuda/device.cuh do under emulation.
// Word by word, so that arrays of any type may be read and ThreadSanitizer detects what the running thread touches.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>

#include "kernels/simt/simt.h"

namespace simt {

typedef uint32_t Word __attribute__((may_alias));

inline void check_aligned(const void* p, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) fail("misaligned address of " + std::to_string(bytes) + " bytes");
}

template <typename Vector>
Vector load_vector(const void* from) {
  check_aligned(from, sizeof(Vector));
  std::array<uint32_t, sizeof(Vector) / 4> words;
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<const Word*>(from)[i];
  return std::bit_cast<Vector>(words);
}
template <typename Vector>
void store_vector(void* to, Vector value) {
  check_aligned(to, sizeof(Vector));
  const auto words = std::bit_cast<std::array<uint32_t, sizeof(Vector) / 4>>(value);
  for (size_t i = 0; i < words.size(); ++i) static_cast<Word*>(to)[i] = words[i];
}

}  // namespace simt
