// The sm_80 instructions behind the wrappers of kernels/cuda/ptx.cuh: cp.async, ldmatrix, mma.sync. Fragment layouts
// are those of the PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
#pragma once

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/simt/cuda.h"

namespace simt {

// ldmatrix phases whose eight rows do not lie in eight different groups of four banks.
inline std::atomic<unsigned> ldmatrix_conflicts = 0;

// barrier.cpp
void barrier_sync(int id, int threads);
void barrier_arrive(int id, int threads);

inline bool aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// Byte by byte, so that ThreadSanitizer detects what the running thread touches: it may ignore library calls.
inline void copy_bytes(void* to, const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) static_cast<char*>(to)[i] = static_cast<const char*>(from)[i];
}
inline void fill(void* to, unsigned char value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) static_cast<unsigned char*>(to)[i] = value;
}

// cp.async of `bytes` bytes, those from from_bytes on zero. As late as the ISA allows: the target holds poison
// until the wait that covers the copy, which is when it is performed.
inline void cp_async(void* to, const void* from, unsigned bytes, unsigned from_bytes) {
  if (!aligned(to, bytes) || !aligned(from, bytes)) fail("cp.async: misaligned address");
  fill(to, options.poison, bytes);
  if (options.fault == Fault::short_copy && from_bytes >= 2) from_bytes -= 2;
  self->copies.push_back({to, from, bytes, from_bytes, self->copy_groups});
}
inline void cp_async_commit() { ++self->copy_groups; }
inline void cp_async_wait(unsigned pending) {  // for all but the `pending` latest groups
  if (options.fault == Fault::no_wait) return;
  if (options.fault == Fault::late_wait) ++pending;
  auto& copies = self->copies;
  for (; !copies.empty() && copies.front().group + pending < self->copy_groups; copies.pop_front()) {
    const Copy& copy = copies.front();
    copy_bytes(copy.to, copy.from, copy.from_bytes);
    fill(static_cast<char*>(copy.to) + copy.from_bytes, 0, copy.bytes - copy.from_bytes);
  }
}

// redux.sync.or of a value that all lanes must share.
inline uint32_t uniform(uint32_t x) {
  collective(0xffffffffu, {"redux.sync"}, x, [](const std::array<uint32_t*, 32>& lane) {
    for (const uint32_t* other : lane) {
      if (other && *other != *lane[0]) {
        fail("uniform: lanes bring " + std::to_string(*lane[0]) + " and " + std::to_string(*other));
      }
    }
  });
  return x;
}

// set.le.u32.f16x2: 0xffff for each half of a that is at most b's, as f16; never for a NaN. Subnormals count.
inline uint32_t less_equal_f16x2(uint32_t a, uint32_t b) {
  const auto value = [](uint32_t half) {
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    float x = exponent ? std::ldexp(1024.0f + mantissa, exponent - 25) : std::ldexp(1.0f * mantissa, -24);
    if (exponent == 31) x = mantissa ? NAN : INFINITY;
    return half & 0x8000 ? -x : x;
  };
  return (value(a & 0xffff) <= value(b & 0xffff) ? 0xffffu : 0u) |
         (value(a >> 16) <= value(b >> 16) ? 0xffff0000u : 0u);
}

struct LoadMatrix {
  uint16_t row[8];
  uint32_t* out;
  const void* address;
};

// ldmatrix.x4: lane l reads row l%8 of matrix l/8 and gets, of each matrix, elements (lane/4, 2*(lane%4) + 0..1); of
// the transposed one if kTransposed.
template <bool kTransposed>
void ldmatrix_x4(uint32_t (&out)[4], const void* row) {
  if (!aligned(row, 16)) fail("ldmatrix: misaligned row");
  LoadMatrix mine{{}, out, row};
  copy_bytes(mine.row, row, 16);  // here, so that the access is this thread's
  const Site site = {kTransposed ? "ldmatrix.x4.trans" : "ldmatrix.x4"};
  collective(0xffffffffu, site, mine, [](const std::array<LoadMatrix*, 32>& lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      unsigned groups = 0;
      for (int r = 0; r < 8; ++r) groups |= 1u << (reinterpret_cast<uintptr_t>(lane[matrix * 8 + r]->address) / 16 % 8);
      if (groups != 0xff) ++ldmatrix_conflicts;
      for (int l = 0; l < 32; ++l) {
        uint32_t pair = 0;
        for (int e = 0; e < 2; ++e) {
          const int i = l / 4, j = 2 * (l % 4) + e;
          const uint16_t element = kTransposed ? lane[matrix * 8 + j]->row[i] : lane[matrix * 8 + i]->row[j];
          pair |= uint32_t{element} << (16 * e);
        }
        lane[l]->out[matrix] = pair;
      }
    }
  });
}

inline float bf16_low(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
inline float bf16_high(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

struct Mma {
  float* d;
  const uint32_t *a, *b;
};

// mma.sync.m16n8k16 bf16: d += a b.
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const uint32_t swapped[4] = {a[0], a[2], a[1], a[3]};
  Mma mine{d, options.fault == Fault::swap_fragments ? swapped : a, b};
  collective(0xffffffffu, {"mma.m16n8k16"}, mine, [](const std::array<Mma*, 32>& lane) {
    float A[16][16], B[16][8], D[16][8];
    for (int l = 0; l < 32; ++l) {
      const int g = l / 4, t = 2 * (l % 4);
      for (int r = 0; r < 4; ++r) {
        const int i = g + 8 * (r & 1), k = t + 8 * (r >> 1);
        A[i][k] = bf16_low(lane[l]->a[r]);
        A[i][k + 1] = bf16_high(lane[l]->a[r]);
        D[g + 8 * (r >> 1)][t + (r & 1)] = lane[l]->d[r];
      }
      for (int r = 0; r < 2; ++r) {
        B[t + 8 * r][g] = bf16_low(lane[l]->b[r]);
        B[t + 8 * r + 1][g] = bf16_high(lane[l]->b[r]);
      }
    }
    for (int i = 0; i < 16; ++i) {
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < 8; ++n) D[i][n] += A[i][k] * B[k][n];
      }
    }
    for (int l = 0; l < 32; ++l) {
      for (int r = 0; r < 4; ++r) lane[l]->d[r] = D[l / 4 + 8 * (r >> 1)][2 * (l % 4) + (r & 1)];
    }
  });
}

}  // namespace simt
