// The CUDA attention kernels, emulated, against double: outputs, log-sum-exp and gradients. A bf16 kernel's error may
// be twice (outputs), three times (gradients) that of the same computation done plainly in bf16; an fp32 kernel's, that
// of plain fp32.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/kernels/cuda/attention_device.h"
#include "tests/kernels/cuda/emulation.h"

namespace glint {
namespace {

using test::Answer;
using test::Layout;
using test::Problem;
using test::RandomInputs;
using test::square_shape;

struct Bounds {
  Answer<double> truth;
  Answer<float> plain;
  double roundings;    // of fp32, that each result is allowed besides: plain fp32 may be exact by luck
  double delta_error;  // of D = rowsum(dO * O), by the rounding of the O that forward wrote
};

// NaN counts as infinitely far.
void check_close(const std::string& name, const std::vector<float>& values, const std::vector<float>& plain,
                 const std::vector<double>& truth, double factor, double allowance) {
  INFO(name);
  REQUIRE(values.size() == truth.size());
  CHECK(test::distance(values, truth) <= factor * test::distance(plain, truth) + allowance);
}

double largest_delta_term(const Problem& x) {
  const AttentionShape& s = x.shape;
  double most = 0.0;
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.NH; ++h) {
      for (int t = 0; t < s.T; ++t) {
        most = std::max(most, test::dot_of_magnitudes(x.dout.read().at(b, t, h), x.out.read().at(b, t, h), s.HS));
      }
    }
  }
  return most;
}

void check_results(const Problem& x, const Bounds& bounds) {
  const AttentionShape& s = x.shape;
  const auto& [truth, plain, roundings, delta_error] = bounds;
  const double unit = roundings * 0x1p-24;
  const double q_size = test::magnitude(in_order(x.q, s.B, s.NH, s.T, s.HS));
  const double k_size = test::magnitude(in_order(x.k, s.B, s.NKV, s.S, s.HS));
  const double ds_error = unit * truth.ds_terms + delta_error * s.scale;
  check_close("out", in_order(x.out, s.B, s.NH, s.T, s.HS), plain.out, truth.out, 2, unit * test::magnitude(truth.out));
  check_close("dq", in_order(x.dq, s.B, s.NH, s.T, s.HS), plain.dq, truth.dq, 3, ds_error * k_size);
  check_close("dk", in_order(x.dk, s.B, s.NKV, s.S, s.HS), plain.dk, truth.dk, 3, ds_error * q_size);
  check_close("dv", in_order(x.dv, s.B, s.NKV, s.S, s.HS), plain.dv, truth.dv, 3, unit * test::magnitude(truth.dv));
}

template <typename Scalar>
void check_problem(Problem& x) {
  const AttentionShape& s = x.shape;
  constexpr bool kBf16 = sizeof(Scalar) == 2;
  INFO("B ", s.B, ", T ", s.T, ", S ", s.S, ", NH ", s.NH, ", NKV ", s.NKV, ", HS ", s.HS, ", causal ", s.causal,
       ", p ", x.dropout.p, ", offset ", x.rng.offset, ", bf16 ", kBf16);
  if (kBf16) round_inputs(x);
  test::run_kernels<Scalar>(x);
  const Answer<float> fp32 = test::oracle<float>(x);
  Bounds bounds{test::oracle<double>(x), kBf16 ? test::plain_bf16(x) : fp32, kBf16 ? 0.0 : 8.0, 0.0};
  // With very few keys plain bf16 has no error at all in dS, since a softmax over one key is exact.
  if (kBf16 && s.T < 16) bounds.delta_error = 0x1p-9 * largest_delta_term(x);
  check_results(x, bounds);
  INFO("lse");  // fp32 in either case
  const double size = test::magnitude(bounds.truth.lse);
  CHECK(test::distance(x.lse, bounds.truth.lse) <= 2 * test::distance(fp32.lse, bounds.truth.lse) + 8 * 0x1p-24 * size);
}

constexpr float kRates[] = {0.0f, 0.1f, 0.5f, 0.9f};
// The last of them carry across 32 bits, and wrap around 64, within a problem's range of offsets.
constexpr uint64_t kOffsets[] = {0, 64, 0xfffffff0, 0x1ffffffe0, 0xffffffffffffffc0};

// The shape of turn `turn`: heads, layout, rate and offset go round with different periods.
template <typename Scalar>
void check_turn(int turn, int T, int HS, bool causal, RandomInputs& inputs) {
  const int group = 1 + turn % 3, NKV = turn % 2 ? 1 : (T > 150 ? 1 : 2), NH = NKV * group;
  const Layout layout = turn / 2 % 2 ? Layout::packed : Layout::separate;
  Problem x(square_shape(T < 70 ? 2 : 1, T, NH, NKV, HS, causal), layout, kRates[turn % 4], inputs);
  x.rng.offset = kOffsets[turn % 5];
  simt::options.order = static_cast<simt::Order>(turn % 3);
  simt::options.seed = static_cast<uint64_t>(turn);
  check_problem<Scalar>(x);
}

template <typename Scalar>
void check_shapes(const std::vector<int>& lengths, uint64_t seed) {
  RandomInputs inputs(seed);
  INFO("seed ", inputs.seed);
  const simt::SavedOptions saved;
  simt::options.workers = 2;
  int turn = 0;
  for (const int T : lengths) {
    for (const int HS : {32, 64, 96, 128}) {
      for (const bool causal : {true, false}) check_turn<Scalar>(turn++, T, HS, causal, inputs);
    }
    ++turn;  // else a rate would always meet the same head sizes
  }
}

TEST_CASE("cuda attention, bf16: small shapes") { check_shapes<Bf16>({1, 3, 17, 33}, 20261110); }
TEST_CASE("cuda attention, fp32: small shapes") { check_shapes<float>({1, 3, 17, 33}, 20261111); }

TEST_CASE("cuda attention: head sizes between those of the kernels") {
  RandomInputs inputs(20261117);
  INFO("seed ", inputs.seed);
  for (const int HS : {8, 24, 40, 72, 88, 104, 120}) {
    Problem x(square_shape(1, 35, 2, 1, HS, HS % 16 == 0), Layout::packed, HS % 24 == 0 ? 0.2f : 0.0f, inputs), y = x;
    check_problem<Bf16>(x);
    check_problem<float>(y);
  }
}

TEST_CASE("cuda attention: with more keys than queries, aligned to the bottom right") {
  RandomInputs inputs(20261118);
  INFO("seed ", inputs.seed);
  const int sizes[][2] = {{1, 2}, {1, 65}, {5, 70}, {17, 64}, {33, 97}};
  for (const auto& [T, S] : sizes) {
    for (const bool causal : {true, false}) {
      AttentionShape shape = square_shape(1, T, 2, 1, 32, causal);
      shape.S = S;
      Problem x(shape, Layout::separate, 0.0f, inputs), y = x;
      check_problem<Bf16>(x);
      check_problem<float>(y);
    }
  }
}

TEST_SUITE_BEGIN("large");

TEST_CASE("cuda attention, bf16: lengths around a tile") { check_shapes<Bf16>({63, 64, 65, 127, 128, 129}, 20261112); }
TEST_CASE("cuda attention, fp32: lengths around a tile") { check_shapes<float>({63, 64, 65, 127, 128, 129}, 20261113); }
TEST_CASE("cuda attention, bf16: several tiles") { check_shapes<Bf16>({200, 257}, 20261114); }
TEST_CASE("cuda attention, fp32: several tiles") { check_shapes<float>({200, 257}, 20261115); }

TEST_CASE("cuda attention: every rate at every head size") {
  RandomInputs inputs(20261116);
  INFO("seed ", inputs.seed);
  for (const int HS : {32, 64, 96, 128}) {
    for (const float p : kRates) {
      Problem x(square_shape(1, 97, 2, 1, HS, HS % 64 == 0), Layout::packed, p, inputs);
      check_problem<Bf16>(x);
      check_problem<float>(x);
    }
  }
}

TEST_SUITE_END();

}  // namespace
}  // namespace glint
