// Warp collectives: __syncwarp, shuffles and votes.
#pragma once

#include <string>

#include "kernels/simt/block.h"

// Default arguments tell a CUDA function the line of its caller.
#define SIMT_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define SIMT_SITE(what) (simt::Site{what, file, line})

inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_HERE) {
  if (simt::left_out(SIMT_SITE("__syncwarp"), simt::Fault::no_syncwarp)) return;
  simt::self->block->collective(
      mask, SIMT_SITE("__syncwarp"), nullptr, [](const simt::Lanes&) {}, simt::Memory::ordered);
}

namespace simt {

template <typename T>
struct Exchange {
  T in, out;
  int source;
};

template <typename T>
T shuffle(unsigned mask, T value, int source, Site site) {
  Exchange<T> mine{value, value, source};
  collective(mask, site, mine, [&](const std::array<Exchange<T>*, 32>& lanes) {
    for (Exchange<T>* lane : lanes) {
      if (!lane) continue;  // not in the mask
      const Exchange<T>* from = lanes[static_cast<size_t>(lane->source)];
      if (!from) fail(std::string(site.what) + " reads lane " + std::to_string(lane->source) + ", which takes no part");
      lane->out = from->in;
    }
  });
  return mine.out;
}

inline int lane_id() { return static_cast<int>(self->lane()); }

// The lane to read: `source`, or the calling one where that lies outside the segment of `width` lanes.
inline int not_above(int source, int width) { return source / width > lane_id() / width ? lane_id() : source; }
inline int not_below(int source, int width) { return source < lane_id() / width * width ? lane_id() : source; }

}  // namespace simt

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SIMT_HERE) {
  return simt::shuffle(mask, value, simt::not_above(simt::lane_id() ^ lanes, width), SIMT_SITE("__shfl_xor_sync"));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const int source = simt::lane_id() + static_cast<int>(delta);
  return simt::shuffle(mask, value, simt::not_above(source, width), SIMT_SITE("__shfl_down_sync"));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const int source = simt::lane_id() - static_cast<int>(delta);
  return simt::shuffle(mask, value, simt::not_below(source, width), SIMT_SITE("__shfl_up_sync"));
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_HERE) {
  const int first = simt::lane_id() / width * width;
  return simt::shuffle(mask, value, first + (source & (width - 1)), SIMT_SITE("__shfl_sync"));
}

inline unsigned __ballot_sync(unsigned mask, bool predicate, SIMT_HERE) {
  simt::Exchange<unsigned> mine{predicate, 0, 0};
  simt::collective(mask, SIMT_SITE("__ballot_sync"), mine, [](const std::array<simt::Exchange<unsigned>*, 32>& lanes) {
    unsigned all = 0;
    for (size_t l = 0; l < 32; ++l) all |= (lanes[l] ? lanes[l]->in : 0u) << l;
    for (auto* lane : lanes) {
      if (lane) lane->out = all;
    }
  });
  return mine.out;
}
inline bool __any_sync(unsigned mask, bool predicate, SIMT_HERE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline bool __all_sync(unsigned mask, bool predicate, SIMT_HERE) {
  return __ballot_sync(mask, !predicate, file, line) == 0;
}

// The lanes of the mask with the same value.
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, SIMT_HERE) {
  struct Brought {
    T value;
    unsigned equal;
  } mine{value, 0};
  simt::collective(mask, SIMT_SITE("__match_any_sync"), mine, [](const std::array<Brought*, 32>& lanes) {
    for (Brought* lane : lanes) {
      for (size_t other = 0; lane && other < 32; ++other) {
        if (lanes[other] && lanes[other]->value == lane->value) lane->equal |= 1u << other;
      }
    }
  });
  return mine.equal;
}
