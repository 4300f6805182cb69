// The cases of kernels/cuda/ptx_sm90.cuh and wgmma.cuh. Layouts are those of the PTX ISA: "Tensor swizzling modes",
// "Asynchronous Warpgroup Level Matrix Register Fragment".
#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "kernels/bf16.h"
#include "tests/gpu/ptx_cases.h"

namespace glint::test {
namespace {

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }
uint32_t any_bits(RandomInputs& inputs) { return static_cast<uint32_t>(inputs.engine()); }
bool exact(const uint32_t*, int, uint32_t a, uint32_t b) { return a == b; }
uint32_t element_of(const uint32_t* words, int i) { return words[i / 2] >> (16 * (i % 2)) & 0xffff; }

template <int kWords>
void fill_bits(uint32_t* in, RandomInputs& inputs) {
  for (int i = 0; i < kWords; ++i) in[i] = any_bits(inputs);
}

// ---- TMA: of a box of 64 channels and 8 tokens, the chunk of 16 bytes c of row r lies where chunk c ^ r would.
void fill_tma(uint32_t* in, RandomInputs& inputs) {
  fill_bits<512>(in, inputs);
  // Channels by chunks of 16 bytes, from before the first one to beyond the last.
  const int at[4] = {8 * (inputs.below(TmaWords::kHS / 8 + 5) - 3), inputs.below(TmaWords::kHeads),
                     inputs.below(10) - 4, inputs.below(2)};
  for (int i = 0; i < 4; ++i) in[TmaWords::kFirstCoordinate + i] = static_cast<uint32_t>(at[i]);
}
void answer_tma(uint32_t* out, const uint32_t* in) {
  using W = TmaWords;
  int at[4];
  for (int i = 0; i < 4; ++i) at[i] = static_cast<int>(in[W::kFirstCoordinate + i]);
  std::fill(out, out + 256, 0);
  for (int row = 0; row < W::kRows; ++row) {
    for (int column = 0; column < 64; ++column) {
      const int channel = at[0] + column, token = at[2] + row;
      if (channel < 0 || channel >= W::kHS || token < 0 || token >= W::kT) continue;
      const uint32_t x = element_of(in + 256 * at[3], (token * W::kHeads + at[1]) * W::kHS + channel);
      const int place = 64 * row + 8 * (column / 8 ^ row) + column % 8;
      out[place / 2] |= x << (16 * (place % 2));
    }
  }
}

// ---- bulk copies: the words, and as floats each plus its counterpart from the end.
void fill_bulk(uint32_t* in, RandomInputs& inputs) {
  std::normal_distribution<float> normal;
  for (int i = 0; i < 512; ++i) in[i] = bits_of(normal(inputs.engine));
}
void answer_bulk(uint32_t* out, const uint32_t* in) {
  for (int i = 0; i < 512; ++i) {
    out[i] = in[i];
    out[512 + i] = bits_of(float_of(in[i]) + float_of(in[511 - i]));
  }
}

// ---- stmatrix: row i of matrix m is in register m of lanes 4i to 4i+3; lane 8m+i names where it goes.
void answer_stmatrix(uint32_t* out, const uint32_t* in) {
  const int turn = static_cast<int>(in[4] % 32);
  for (int lane = 0; lane < 32; ++lane) {
    for (int w = 0; w < 4; ++w) out[4 * (lane ^ turn) + w] = in[8 * (lane % 8 * 4 + w) + lane / 8];
  }
}

void answer_barriers(uint32_t* out, const uint32_t* in) {
  for (int lane = 64; lane < 128; ++lane) out[lane] = in[127 - lane] + in[lane];
  for (int lane = 0; lane < 64; ++lane) out[lane] = out[64 + (lane ^ 63)];
}

void answer_release(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < 64; ++lane) {
    out[2 * lane] = lane < 32 ? in[lane] * 3 : in[lane - 32] * 3 + in[lane];
    out[2 * lane + 1] = lane == 0;
  }
}

// ---- wgmma: register r of a lane of warp w is row 16 w + lane / 4 + 8 * (r / 2 % 2), column 8 * (r / 4) +
// 2 * (lane % 4) + r % 2.
struct Place {
  int row, column;
};
template <int kColumns>
Place place_of(int index) {
  const int lane = index / (kColumns / 2), r = index % (kColumns / 2);
  return {lane / 32 * 16 + lane % 32 / 4 + 8 * (r / 2 % 2), 8 * (r / 4) + 2 * (lane % 4) + r % 2};
}
// Over the products that make up an element, each through f.
template <typename F>
double sum_products(const uint32_t* in, Place place, const F& f) {
  const uint32_t* const b = in + 64 * 32;
  double sum = 0;
  for (int k = 0; k < 64; ++k) {
    const auto x = static_cast<double>(float_of(element_of(in, 64 * place.row + k) << 16));
    sum += f(x * float_of(element_of(b, 64 * place.column + k) << 16));
  }
  return sum;
}

template <int kColumns, typename F>
void fill_wgmma(uint32_t* in, const F& value) {
  for (int i = 0; i < 128 * (16 + kColumns / 4); ++i) {
    const uint32_t low = to_bf16(value()).bits, high = to_bf16(value()).bits;
    in[i] = high << 16 | low;
  }
}
template <int kColumns>
void fill_integers(uint32_t* in, RandomInputs& inputs) {
  fill_wgmma<kColumns>(in, [&] { return static_cast<float>(inputs.below(257) - 128); });
}
template <int kColumns>
void fill_normal(uint32_t* in, RandomInputs& inputs) {
  std::normal_distribution<float> normal;
  fill_wgmma<kColumns>(in, [&] { return normal(inputs.engine); });
}
template <int kColumns>
void answer_wgmma(uint32_t* out, const uint32_t* in) {
  for (int i = 0; i < 128 * kColumns / 2; ++i) {
    out[i] = bits_of(static_cast<float>(sum_products(in, place_of<kColumns>(i), [](double x) { return x; })));
  }
}
// As for mma: 64 terms and the sums of four products, each addition rounded or cut off at the last place of the
// largest.
template <int kColumns>
bool agree_wgmma(const uint32_t* in, int index, uint32_t a, uint32_t b) {
  const double size = sum_products(in, place_of<kColumns>(index), [](double x) { return std::abs(x); });
  return std::abs(static_cast<double>(float_of(a)) - float_of(b)) <= 2 * (64 + 4) * 0x1p-23 * size;
}

}  // namespace

std::vector<PtxCase> sm90_cases() {
  return {
      {"tma_load", Wrapper::tma_load, fill_tma, answer_tma, exact},
      {"bulk_copies", Wrapper::bulk_copies, fill_bulk, answer_bulk, exact},
      {"stmatrix", Wrapper::stmatrix, fill_bits<32 * 8>, answer_stmatrix, exact},
      {"named_barriers", Wrapper::named_barriers, fill_bits<128>, answer_barriers, exact},
      {"release_acquire", Wrapper::release_acquire, fill_bits<64>, answer_release, exact},
      {"wgmma_ss_k64", Wrapper::wgmma_ss_k64, fill_normal<64>, answer_wgmma<64>, agree_wgmma<64>},
      {"wgmma_rs_mn128", Wrapper::wgmma_rs_mn128, fill_normal<128>, answer_wgmma<128>, agree_wgmma<128>},
      {"wgmma_ss_k64_integers", Wrapper::wgmma_ss_k64, fill_integers<64>, answer_wgmma<64>, exact},
      {"wgmma_ss_k128_integers", Wrapper::wgmma_ss_k128, fill_integers<128>, answer_wgmma<128>, exact},
      {"wgmma_ss_mn64_integers", Wrapper::wgmma_ss_mn64, fill_integers<64>, answer_wgmma<64>, exact},
      {"wgmma_ss_mn128_integers", Wrapper::wgmma_ss_mn128, fill_integers<128>, answer_wgmma<128>, exact},
      {"wgmma_rs_mn64_integers", Wrapper::wgmma_rs_mn64, fill_integers<64>, answer_wgmma<64>, exact},
      {"wgmma_rs_mn128_integers", Wrapper::wgmma_rs_mn128, fill_integers<128>, answer_wgmma<128>, exact},
      {"wgmma_rs_k64_integers", Wrapper::wgmma_rs_k64, fill_integers<64>, answer_wgmma<64>, exact},
  };
}

}  // namespace glint::test
