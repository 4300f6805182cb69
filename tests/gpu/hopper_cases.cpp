#include "tests/gpu/hopper_cases.h"

#include <bit>

#include "kernels/attention.h"
#include "kernels/bf16.h"
#include "kernels/check.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace glint::test {
namespace {

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }
float integer(RandomInputs& inputs) { return static_cast<float>(inputs.below(33) - 16); }

// Element i of a row of bf16, two in a word.
float element(const uint32_t* words, int i) { return float_of(words[i / 2] >> 16 * (i % 2) << 16); }

template <HopperProbe kProbe>
void fill_integers(uint32_t* in, RandomInputs& inputs) {
  for (int i = 0; i < words_of(kProbe).in; ++i) {
    const uint32_t low = to_bf16(integer(inputs)).bits, high = to_bf16(integer(inputs)).bits;
    in[i] = high << 16 | low;
  }
}
template <int kN>
void answer_product(uint32_t* out, const uint32_t* in) {
  const uint32_t* b = in + 64 * 32;
  for (int m = 0; m < 64; ++m) {
    for (int n = 0; n < kN; ++n) {
      float total = 0.0f;
      for (int k = 0; k < 64; ++k) total += element(in + 32 * m, k) * element(b + 32 * n, k);
      out[m * kN + n] = bits_of(total);
    }
  }
}

template <HopperProbe kProbe>
void fill_bits(uint32_t* in, RandomInputs& inputs) {
  for (int i = 0; i < words_of(kProbe).in; ++i) in[i] = static_cast<uint32_t>(inputs.engine());
}
// 16 bytes c of token r lie at c ^ (r % 8); what is outside of the array is zero.
void answer_tma_load(uint32_t* out, const uint32_t* in) {
  using Array = ProbeArray;
  for (int r = 0; r < 64; ++r) {
    for (int w = 0; w < 32; ++w) {
      const int token = Array::kFirstToken + r;
      const bool inside = token < Array::kTokens && 2 * w < Array::kChannels;
      out[32 * r + ((w / 4) ^ (r % 8)) * 4 + w % 4] =
          inside ? in[((token * Array::kHeads + 1) * Array::kChannels) / 2 + w] : 0;
    }
  }
}

void fill_floats(uint32_t* in, RandomInputs& inputs) {
  for (int i = 0; i < words_of(HopperProbe::bulk_copies).in; ++i) in[i] = bits_of(integer(inputs));
}
void answer_bulk_copies(uint32_t* out, const uint32_t* in) {
  for (int i = 0; i < 1024; ++i) out[i] = bits_of(i < 512 ? 2.0f * float_of(in[i]) : 1.0f + 4.0f * float_of(in[i]));
}

// Row r of matrix m goes where lane 8m+r says; lane 4r+c has its elements 2c and 2c+1 in word m.
void answer_stmatrix(uint32_t* out, const uint32_t* in) {
  for (int warp = 0; warp < 4; ++warp) {
    const uint32_t* words = in + warp * 32 * 5;
    for (int row = 0; row < 32; ++row) {
      const int place = row ^ static_cast<int>(words[4] % 32);
      for (int c = 0; c < 4; ++c) out[(32 * warp + place) * 4 + c] = words[(row % 8 * 4 + c) * 5 + row / 8];
    }
  }
}

template <HopperProbe kProbe, int kN>
HopperCase product(const char* name) {
  return {name, kProbe, fill_integers<kProbe>, answer_product<kN>};
}

}  // namespace

const std::vector<HopperCase>& hopper_cases() {
  static const std::vector<HopperCase> cases = {
      product<HopperProbe::ss_64, 64>("wgmma_ss_64"),
      product<HopperProbe::ss_128, 128>("wgmma_ss_128"),
      product<HopperProbe::ss_mn_64, 64>("wgmma_ss_mn_64"),
      product<HopperProbe::ss_mn_128, 128>("wgmma_ss_mn_128"),
      product<HopperProbe::rs_64, 64>("wgmma_rs_64"),
      product<HopperProbe::rs_128, 128>("wgmma_rs_128"),
      product<HopperProbe::rs_mn_64, 64>("wgmma_rs_mn_64"),
      product<HopperProbe::rs_mn_128, 128>("wgmma_rs_mn_128"),
      {"tma_load", HopperProbe::tma_load, fill_bits<HopperProbe::tma_load>, answer_tma_load},
      {"bulk_copies", HopperProbe::bulk_copies, fill_floats, answer_bulk_copies},
      {"stmatrix", HopperProbe::stmatrix, fill_bits<HopperProbe::stmatrix>, answer_stmatrix},
  };
  return cases;
}

bool has_hopper() {
#ifdef GLINT_SIMT
  return true;
#else
  return uses_hopper_attention(CudaContext{});
#endif
}

std::vector<uint32_t> random_words(const HopperCase& c, int blocks, RandomInputs& inputs) {
  const auto words = static_cast<size_t>(words_of(c.probe).in);
  std::vector<uint32_t> in(static_cast<size_t>(blocks) * words);
  for (size_t first = 0; first < in.size(); first += words) c.fill(&in[first], inputs);
  return in;
}

std::vector<uint32_t> plain_answer(const HopperCase& c, const std::vector<uint32_t>& in) {
  const auto words = static_cast<size_t>(words_of(c.probe).in), words_out = static_cast<size_t>(words_of(c.probe).out);
  std::vector<uint32_t> out(in.size() / words * words_out);
  for (size_t block = 0; block * words < in.size(); ++block) c.answer(&out[block * words_out], &in[block * words]);
  return out;
}

std::vector<uint32_t> run_case(const HopperCase& c, const std::vector<uint32_t>& in) {
  const size_t blocks = in.size() / static_cast<size_t>(words_of(c.probe).in);
  const DeviceBuffer<uint32_t> device_in(in);
  const DeviceBuffer<uint32_t> out(
      std::vector<uint32_t>(blocks * static_cast<size_t>(words_of(c.probe).out), 0xdeadbeef));
#if defined(GLINT_SIMT) || defined(GLINT_WITH_SM90A)
  run_probe(CudaContext{}, c.probe, out.data(), device_in.data(), static_cast<int>(blocks));
#else
  GLINT_CHECK(false, "this build has no code for sm_90a");
#endif
  return out.to_host();
}

}  // namespace glint::test
