// What the CUDA attention kernels drop, emulated, bit for bit against kernels/dropout.h: in forward, in the kernel of
// dK and dV and in that of dQ. Scores are all zero, so that P is 1 / (keys seen) and nothing underflows; an identity
// matrix for V, dO, K or Q makes every element of the dropped matrix show as zero or not in a result.
#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "tests/kernels/cuda/attention_device.h"
#include "tests/kernels/cuda/emulation.h"

namespace glint {
namespace {

using test::Layout;
using test::Problem;
using test::RandomInputs;
using test::square_shape;

void fill(Problem& x, test::Array& array, int heads, const std::function<float(int t, int c)>& value) {
  for (int b = 0; b < x.shape.B; ++b) {
    for (int t = 0; t < x.shape.T; ++t) {
      for (int h = 0; h < heads; ++h) {
        for (int c = 0; c < x.shape.HS; ++c) array.view().at(b, t, h)[c] = value(t, c);
      }
    }
  }
}

bool kept(const Problem& x, int b, int h, int i, int j) {
  const uint64_t sequence_head = (x.rng.first_sequence + b) * x.shape.NH + h;
  return (!x.shape.causal || j <= i) && keep_attention(x.rng.seed, x.rng.offset + x.dropout.site, sequence_head, i, j,
                                                       keep_rule(x.dropout.p).threshold);
}

enum class Shows { rows, columns };  // element (token, c) of the result is (i, j) = (token, base + c), or the transpose

// Elements in which a result, cut to the HS columns (or rows) from `base` on, differs from the mask.
int wrong_elements(const Problem& x, const test::Array& result, int base, Shows shows) {
  const AttentionShape& s = x.shape;
  int wrong = 0;
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.NH; ++h) {
      for (int t = 0; t < s.T; ++t) {
        for (int c = 0; c < s.HS && base + c < s.T; ++c) {
          const int i = shows == Shows::rows ? t : base + c, j = shows == Shows::rows ? base + c : t;
          const float value = result.read().at(b, t, h)[c];
          wrong += (value != 0.0f) != kept(x, b, h, i, j) || std::isnan(value);
        }
      }
    }
  }
  return wrong;
}

// The kernels' masks, HS columns at a time.
template <typename Scalar>
void check_masks(Problem& x) {
  const AttentionShape& s = x.shape;
  INFO("T ", s.T, ", HS ", s.HS, ", causal ", s.causal, ", p ", x.dropout.p, ", seed ", x.rng.seed, ", offset ",
       x.rng.offset, ", bytes ", sizeof(Scalar));
  const auto zero = [](int, int) { return 0.0f; };
  const auto first = [](int, int c) { return c == 0 ? 1.0f : 0.0f; };
  for (int base = 0; base < s.T; base += s.HS) {
    INFO("from column ", base);
    const auto identity = [base](int t, int c) { return t == base + c ? 1.0f : 0.0f; };
    // P shows in O = dropout(P) V and in dV = dropout(P)^T dO.
    fill(x, x.q, s.NH, zero);
    fill(x, x.k, s.NKV, zero);
    fill(x, x.v, s.NKV, identity);
    fill(x, x.dout, s.NH, identity);
    test::run_kernels<Scalar>(x);
    CHECK(wrong_elements(x, x.out, base, Shows::rows) == 0);
    CHECK(wrong_elements(x, x.dv, base, Shows::columns) == 0);
    // With dO V^T = 1 and O taken for 0, dS is scale * dropout(P): it shows in dQ = dS K and dK = dS^T Q.
    fill(x, x.dout, s.NH, first);
    fill(x, x.v, s.NKV, first);
    fill(x, x.out, s.NH, zero);
    fill(x, x.k, s.NKV, identity);
    test::run_backward<Scalar>(x);
    CHECK(wrong_elements(x, x.dq, base, Shows::rows) == 0);
    fill(x, x.k, s.NKV, zero);
    fill(x, x.q, s.NH, identity);
    test::run_backward<Scalar>(x);
    CHECK(wrong_elements(x, x.dk, base, Shows::columns) == 0);
  }
}

template <typename Scalar>
void check_masks(int T, int HS, bool causal, float p, uint64_t offset, RandomInputs& inputs) {
  Problem x(square_shape(T < 100 ? 2 : 1, T, 2, 2, HS, causal), Layout::packed, p, inputs);
  x.rng.offset = offset;
  check_masks<Scalar>(x);
}

TEST_CASE("cuda attention: small masks, bit for bit") {
  RandomInputs inputs(20261120);
  INFO("seed ", inputs.seed);
  for (const int T : {1, 3, 17, 40}) {
    check_masks<Bf16>(T, 32, T % 2 == 0, 0.5f, 0xfffffff0, inputs);
    check_masks<float>(T, 32, T % 2 == 1, 0.5f, 0xfffffff0, inputs);
  }
}

TEST_CASE("cuda attention: masks, bit for bit" * doctest::test_suite("large")) {
  RandomInputs inputs(20261121);
  INFO("seed ", inputs.seed);
  const simt::SavedOptions saved;
  simt::options.workers = 2;
  constexpr uint64_t kOffsets[] = {0, 0xffffffe0, 0xffffffffffffffa0};  // carry across 32 bits, wrap around 64
  int turn = 0;
  for (const int T : {63, 64, 65, 127, 129, 200, 257}) {
    for (const int HS : {32, 64, 96, 128}) {
      if (T > 4 * HS) continue;  // HS columns at a time: it would take long
      const float p = turn % 3 == 0 ? 0.1f : turn % 3 == 1 ? 0.5f : 0.9f;
      check_masks<Bf16>(T, HS, turn % 2 == 0, p, kOffsets[turn % 3], inputs);
      if (turn % 4 == 0) check_masks<float>(T, HS, turn % 8 == 0, p, kOffsets[turn % 3], inputs);
      ++turn;
    }
    ++turn;
  }
}

// Thresholds on both sides of 128, where a packed compare of bytes changes its form, and the extremes.
TEST_CASE("cuda attention: masks at every kind of threshold") {
  RandomInputs inputs(20261122);
  INFO("seed ", inputs.seed);
  for (const float p : {1e-9f, 0.003f, 0.05f, 0.49f, 0.4980392f, 0.5f, 0.505f, 0.75f, 0.99f, 0.9999f}) {
    check_masks<Bf16>(48, 64, false, p, 64, inputs);
    check_masks<float>(48, 64, false, p, 64, inputs);
  }
}

TEST_CASE("cuda attention: the state of the random numbers is read when the kernel runs") {
  RandomInputs inputs(20261123);
  INFO("seed ", inputs.seed);
  Problem x(square_shape(1, 33, 1, 1, 32, true), Layout::packed, 0.5f, inputs);
  test::DeviceDropout dropout(x);
  const Dropout recorded = dropout.get();  // what a captured graph would hold: a pointer, no numbers
  test::run_forward<Bf16>(x, recorded);
  const std::vector<float> before = x.out.buffer;
  x.rng.offset += 1000;
  dropout.set(x.rng);
  test::run_forward<Bf16>(x, recorded);
  CHECK(x.out.buffer != before);
  x.rng.offset -= 1000;
  dropout.set(x.rng);
  test::run_forward<Bf16>(x, recorded);
  CHECK(x.out.buffer == before);
}

}  // namespace
}  // namespace glint
