#include "tests/gpu/ptx_cases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>

#include "kernels/bf16.h"
#include "kernels/check.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace glint::test {
namespace {

constexpr int kLanes = 32;

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }
uint32_t any_bits(RandomInputs& inputs) { return static_cast<uint32_t>(inputs.engine()); }
float low_of(uint32_t pair) { return float_of(pair << 16); }
float high_of(uint32_t pair) { return float_of(pair & 0xffff0000); }

template <int kWords>
void fill_bits(uint32_t* in, RandomInputs& inputs) {
  for (int i = 0; i < kWords * kLanes; ++i) in[i] = any_bits(inputs);
}
bool exact(const uint32_t*, int, uint32_t a, uint32_t b) { return a == b; }

// ---- cp.async: row r of the first copy comes from lane r^5, of the second from lane r^9.
void answer_cp_async(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int copy = 0; copy < 2; ++copy) {
      const uint32_t* from = in + 12 * (lane ^ (copy ? 9 : 5));
      for (int w = 0; w < 4; ++w) out[8 * lane + 4 * copy + w] = from[8 + copy] & 1 ? from[4 * copy + w] : 0;
    }
  }
}

// ---- ldmatrix: lane l gets of matrix m the elements (l/4, 2*(l%4) + 0..1); row r of it is the one that lane 8m+r
// names.
template <bool kTransposed>
void answer_ldmatrix(uint32_t* out, const uint32_t* in) {
  const auto element = [&](int m, int r, int c) {
    const uint32_t word = in[8 * (in[8 * (8 * m + r) + 4] % 32) + static_cast<uint32_t>(c / 2)];
    return c % 2 ? word >> 16 : word & 0xffff;
  };
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int m = 0; m < 4; ++m) {
      const int i = lane / 4, j = 2 * (lane % 4);
      out[4 * lane + m] =
          kTransposed ? element(m, j, i) | element(m, j + 1, i) << 16 : element(m, i, j) | element(m, i, j + 1) << 16;
    }
  }
}

// ---- mma.m16n8k16: "Matrix Fragments for mma.m16n8k16 with floating point type".
struct Fragments {
  float A[16][16], B[16][8], D[16][8];

  explicit Fragments(const uint32_t* in) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint32_t* words = in + 10 * lane;
      const int g = lane / 4, t = 2 * (lane % 4);
      for (int r = 0; r < 4; ++r) {
        A[g + 8 * (r % 2)][t + 8 * (r / 2)] = low_of(words[r]);
        A[g + 8 * (r % 2)][t + 8 * (r / 2) + 1] = high_of(words[r]);
        D[row_of(lane, r)][column_of(lane, r)] = float_of(words[6 + r]);
      }
      for (int r = 0; r < 2; ++r) {
        B[t + 8 * r][g] = low_of(words[4 + r]);
        B[t + 8 * r + 1][g] = high_of(words[4 + r]);
      }
    }
  }
  static int row_of(int lane, int r) { return lane / 4 + 8 * (r / 2); }
  static int column_of(int lane, int r) { return 2 * (lane % 4) + r % 2; }

  template <typename F>
  double sum(int i, int n, const F& f) const {
    double total = f(D[i][n]);
    for (int k = 0; k < 16; ++k) total += f(static_cast<double>(A[i][k]) * B[k][n]);
    return total;
  }
};

void fill_mma(uint32_t* in, const std::function<float()>& value) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int w = 0; w < 6; ++w) {
      const uint32_t low = to_bf16(value()).bits, high = to_bf16(value()).bits;
      in[10 * lane + w] = high << 16 | low;
    }
    for (int w = 6; w < 10; ++w) in[10 * lane + w] = bits_of(value());
  }
}
void fill_mma_normal(uint32_t* in, RandomInputs& inputs) {
  std::normal_distribution<float> normal;
  fill_mma(in, [&] { return normal(inputs.engine); });
}
void fill_mma_integers(uint32_t* in, RandomInputs& inputs) {
  fill_mma(in, [&] { return static_cast<float>(inputs.below(257) - 128); });
}
void answer_mma(uint32_t* out, const uint32_t* in) {
  const Fragments f(in);
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int r = 0; r < 4; ++r) {
      const double d = f.sum(Fragments::row_of(lane, r), Fragments::column_of(lane, r), [](double x) { return x; });
      out[4 * lane + r] = bits_of(static_cast<float>(d));
    }
  }
}
// 17 terms, in any order, each addition rounded or cut off at the last place of the largest term (tensor cores do the
// latter: M. Fasi and others, "Numerical behavior of NVIDIA tensor cores", 2021): 2^-23 of the sum of magnitudes, each,
// on either side.
bool agree_mma(const uint32_t* in, int index, uint32_t a, uint32_t b) {
  const double size =
      Fragments(in).sum(Fragments::row_of(index / 4, index % 4), Fragments::column_of(index / 4, index % 4),
                        [](double x) { return std::abs(x); });
  return std::abs(static_cast<double>(float_of(a)) - float_of(b)) <= 2 * 17 * 0x1p-23 * size;
}

// ---- cvt.rn.bf16x2: to nearest, ties to even; every NaN becomes 0x7fff.
void answer_pack_bf16(uint32_t* out, const uint32_t* in) {
  const auto half = [](float x) { return std::isnan(x) ? 0x7fffu : uint32_t{to_bf16(x).bits}; };
  for (int lane = 0; lane < kLanes; ++lane) {
    out[lane] = half(float_of(in[2 * lane + 1])) << 16 | half(float_of(in[2 * lane]));
  }
}

// ---- ex2.approx.ftz: special values first, then the range of finite results and a bit more.
void fill_exp2(uint32_t* in, RandomInputs& inputs) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  const float special[] = {0.0f,    -0.0f,  kInfinity, -kInfinity, kNaN, 1e-40f,
                           -1e-40f, 128.0f, -126.0f,   -1e30f,     1.0f, -1.0f};
  std::uniform_real_distribution<float> wide(-160.0f, 140.0f), narrow(-1.0f, 1.0f);
  for (int lane = 0; lane < kLanes; ++lane) {
    const size_t n = static_cast<size_t>(lane);
    const float x = n < std::size(special) ? special[n] : lane % 2 ? wide(inputs.engine) : narrow(inputs.engine);
    in[lane] = bits_of(x);
  }
}
void answer_exp2(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < kLanes; ++lane)
    out[lane] = bits_of(static_cast<float>(std::exp2(static_cast<double>(float_of(in[lane])))));
}
// The CUDA C++ Programming Guide gives exp2f, which is this instruction, 2 ulp. Results below the smallest normal
// number may be flushed to zero.
bool agree_exp2(const uint32_t*, int, uint32_t a, uint32_t b) {
  const float x = float_of(a), y = float_of(b);
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && std::isnan(y);
  if (std::max(x, y) < 0x1p-125f) return std::min(x, y) >= 0.0f && std::abs(x - y) <= 0x1p-126f;
  return std::abs(static_cast<int64_t>(a) - static_cast<int64_t>(b)) <= 2;  // neighbours' bits are neighbours
}

// ---- rcp.approx.ftz: the PTX ISA gives 1 ulp.
void fill_reciprocal(uint32_t* in, RandomInputs& inputs) {
  std::uniform_real_distribution<float> exponents(-126.0f, 126.0f);
  for (int lane = 0; lane < kLanes; ++lane)
    in[lane] = lane ? bits_of((lane % 2 ? 1.0f : -1.0f) * std::exp2(exponents(inputs.engine))) : 0x7fc00000u;
}
void answer_reciprocal(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < kLanes; ++lane) out[lane] = bits_of(1.0f / float_of(in[lane]));
}
bool agree_reciprocal(const uint32_t*, int, uint32_t a, uint32_t b) {
  if (std::isnan(float_of(a)) || std::isnan(float_of(b))) return std::isnan(float_of(a)) && std::isnan(float_of(b));
  return std::abs(static_cast<int64_t>(a) - static_cast<int64_t>(b)) <= 1;  // neighbours' bits are neighbours
}

// ---- prmt.
void answer_byte_permute(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint32_t selector = in[3 * lane + 1];
    const uint64_t bytes = uint64_t{in[3 * lane + 2]} << 32 | in[3 * lane];
    out[lane] = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t nibble = selector >> (4 * i) & 15, from = nibble & 7;
      const uint32_t byte = static_cast<uint32_t>(bytes >> (8 * from) & 0xff);
      out[lane] |= (nibble & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << (8 * i);
    }
  }
}

// ---- set.le and setp.le of two f16. Their order is that of integers, with the sign as in a complement; no NaN is in
// order, and the zeros are equal. Half of the values are a byte behind 0x3c, as in dropout.
template <int kWords>
void fill_halves(uint32_t* in, RandomInputs& inputs) {
  for (int i = 0; i < kWords * kLanes; ++i) {
    in[i] = any_bits(inputs);
    if (i / kWords % 2 && i % kWords >= kWords - 2) in[i] = (in[i] & 0x00ff00ff) | 0x3c003c00;
    if (i / kWords % 5 == 0) in[i] = (in[i] & 0x83ff83ff);  // subnormal
  }
}
bool less_equal_f16(uint32_t a, uint32_t b) {
  const auto is_nan = [](uint32_t x) { return (x & 0x7fff) > 0x7c00; };
  const auto order = [](uint32_t x) { return x & 0x8000 ? -static_cast<int>(x & 0x7fff) : static_cast<int>(x); };
  return !is_nan(a) && !is_nan(b) && order(a) <= order(b);
}
void answer_keep_up_to(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < kLanes; ++lane, in += 3) {
    const uint32_t low = less_equal_f16(in[1] & 0xffff, in[2] & 0xffff) ? 0xffff : 0;
    const uint32_t high = less_equal_f16(in[1] >> 16, in[2] >> 16) ? 0xffff0000 : 0;
    out[lane] = in[0] & (low | high);
  }
}
void answer_keep_floats(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < kLanes; ++lane, in += 4) {
    out[2 * lane] = less_equal_f16(in[2] & 0xffff, in[3] & 0xffff) ? in[0] : 0;
    out[2 * lane + 1] = less_equal_f16(in[2] >> 16, in[3] >> 16) ? in[1] : 0;
  }
}

void answer_multiply_wide(uint32_t* out, const uint32_t* in) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint64_t product = uint64_t{in[2 * lane]} * in[2 * lane + 1];
    out[2 * lane] = static_cast<uint32_t>(product);
    out[2 * lane + 1] = static_cast<uint32_t>(product >> 32);
  }
}

// ---- redux.sync.or of what is the same in all lanes.
void fill_uniform(uint32_t* in, RandomInputs& inputs) { std::fill_n(in, kLanes, any_bits(inputs)); }
void answer_uniform(uint32_t* out, const uint32_t* in) { std::fill_n(out, 2 * kLanes, in[0]); }

std::vector<PtxCase> make_cases() {
  std::vector<PtxCase> cases = {
      {"cp_async", Wrapper::cp_async, fill_bits<12>, answer_cp_async, exact},
      {"ldmatrix", Wrapper::ldmatrix, fill_bits<8>, answer_ldmatrix<false>, exact},
      {"ldmatrix_transposed", Wrapper::ldmatrix_transposed, fill_bits<8>, answer_ldmatrix<true>, exact},
      {"mma", Wrapper::mma, fill_mma_normal, answer_mma, agree_mma},
      {"mma_integers", Wrapper::mma, fill_mma_integers, answer_mma, exact},
      {"pack_bf16", Wrapper::pack_bf16, fill_bits<2>, answer_pack_bf16, exact},
      {"exp2", Wrapper::exp2, fill_exp2, answer_exp2, agree_exp2},
      {"reciprocal", Wrapper::reciprocal, fill_reciprocal, answer_reciprocal, agree_reciprocal},
      {"byte_permute", Wrapper::byte_permute, fill_bits<3>, answer_byte_permute, exact},
      {"keep_up_to", Wrapper::keep_up_to, fill_halves<3>, answer_keep_up_to, exact},
      {"keep_floats", Wrapper::keep_floats, fill_halves<4>, answer_keep_floats, exact},
      {"multiply_wide", Wrapper::multiply_wide, fill_bits<2>, answer_multiply_wide, exact},
      {"uniform", Wrapper::uniform, fill_uniform, answer_uniform, exact},
  };
  for (const PtxCase& c : sm90_cases()) cases.push_back(c);
  return cases;
}

struct GroupWords {
  size_t in, out;
};
GroupWords group_words(const PtxCase& c) {
  const LaneWords words = words_of(c.wrapper);
  return {static_cast<size_t>(words.in * words.lanes), static_cast<size_t>(words.out * words.lanes)};
}

template <typename F>
void for_each_group(const PtxCase& c, size_t in_words, const F& f) {
  const auto [in, out] = group_words(c);
  for (size_t group = 0; group * in < in_words; ++group) f(group * in, group * out);
}
size_t answer_size(const PtxCase& c, const std::vector<uint32_t>& in) {
  const GroupWords words = group_words(c);
  return in.size() / words.in * words.out;
}

}  // namespace

const std::vector<PtxCase>& ptx_cases() {
  static const std::vector<PtxCase> cases = make_cases();
  return cases;
}

const char* why_not([[maybe_unused]] const PtxCase& c) {
#ifndef GLINT_SIMT
  if (!is_sm90(c.wrapper)) return nullptr;
#ifndef GLINT_WITH_SM90A
  return "this build has no kernels for sm_90a";
#endif
  int major = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  if (error != cudaSuccess || major != 9) return "this GPU is not of compute capability 9.0";
#endif
  return nullptr;
}

std::vector<uint32_t> random_words(const PtxCase& c, int groups, RandomInputs& inputs) {
  std::vector<uint32_t> in(static_cast<size_t>(groups) * group_words(c).in);
  for_each_group(c, in.size(), [&](size_t first, size_t) { c.fill(&in[first], inputs); });
  return in;
}

std::vector<uint32_t> plain_answer(const PtxCase& c, const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(answer_size(c, in));
  for_each_group(c, in.size(), [&](size_t first, size_t first_out) { c.answer(&out[first_out], &in[first]); });
  return out;
}

std::vector<uint32_t> run_case(const PtxCase& c, const std::vector<uint32_t>& in) {
  const DeviceBuffer<uint32_t> device_in(in), out(std::vector<uint32_t>(answer_size(c, in), kUnwritten));
  const int groups = static_cast<int>(in.size() / group_words(c).in);
#if defined(GLINT_SIMT) || defined(GLINT_WITH_SM90A)
  const auto run = is_sm90(c.wrapper) ? run_sm90_wrapper : run_wrapper;
#else
  const auto run = run_wrapper;
#endif
  run(CudaContext{}, c.wrapper, out.data(), device_in.data(), groups);
  return out.to_host();
}

std::vector<size_t> disagreements(const PtxCase& c, const std::vector<uint32_t>& in, const std::vector<uint32_t>& a,
                                  const std::vector<uint32_t>& b) {
  GLINT_CHECK(a.size() == answer_size(c, in) && b.size() == a.size(), c.name, ": ", a.size(), " and ", b.size(),
              " words");
  const size_t per_group = group_words(c).out;
  std::vector<size_t> wrong;
  for_each_group(c, in.size(), [&](size_t first, size_t first_out) {
    for (size_t i = 0; i < per_group; ++i) {
      if (!c.agree(&in[first], static_cast<int>(i), a[first_out + i], b[first_out + i])) wrong.push_back(first_out + i);
    }
  });
  return wrong;
}

}  // namespace glint::test
