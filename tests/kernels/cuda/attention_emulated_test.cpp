// What only the emulator shows of the attention kernels: their bank conflicts; and, since they are sound, whether their
// tests would notice if they were not. A bug is planted by the emulator into the running kernel, or else into what it
// is held against; every one must show.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/simt/ptx.h"
#include "tests/kernels/cuda/attention_device.h"
#include "tests/kernels/cuda/emulation.h"

namespace glint {
namespace {

using test::Answer;
using test::Layout;
using test::Problem;
using test::RandomInputs;
using test::square_shape;

TEST_CASE("cuda attention reads its fragments without bank conflicts") {
  RandomInputs inputs(20261137);
  INFO("seed ", inputs.seed);
  for (const int HS : {32, 64, 96, 128}) {
    INFO("HS ", HS);
    Problem x(square_shape(1, 129, 1, 1, HS, true), Layout::packed, 0.1f, inputs);
    simt::ldmatrix_conflicts = 0;
    test::run_kernels<Bf16>(x);
    CHECK(simt::ldmatrix_conflicts == 0);
  }
}

struct Reference {
  Answer<double> truth;
  Answer<float> plain;
};

// Whether all results keep to their bounds: those of attention_accuracy_test.cpp.
bool is_good(const Problem& x, const Reference& r, double unit) {
  const AttentionShape& s = x.shape;
  const auto close = [&](const test::Array& result, int heads, const auto& plain, const auto& truth, double factor) {
    const double bound = factor * test::distance(plain, truth) + unit * test::magnitude(truth);
    return test::distance(in_order(result, s.B, heads, s.T, s.HS), truth) <= bound;
  };
  return close(x.out, s.NH, r.plain.out, r.truth.out, 2) && close(x.dq, s.NH, r.plain.dq, r.truth.dq, 3) &&
         close(x.dk, s.NKV, r.plain.dk, r.truth.dk, 3) && close(x.dv, s.NKV, r.plain.dv, r.truth.dv, 3);
}

// Whether the planted bug shows, as an error of the emulator or in wrong results, in one of the orders.
template <typename Scalar>
bool fault_shows(const Problem& start, const Reference& reference, double unit) {
  bool shows = false;
  simt::in_every_order(
      [&] {
        if (shows) return;
        try {
          Problem x = start;
          test::run_kernels<Scalar>(x);
          shows = !is_good(x, reference, unit);
        } catch (const simt::Error&) {
          shows = true;
        }
      },
      8);
  return shows;
}

template <typename Scalar>
void check_faults(const std::vector<simt::Fault>& faults, uint64_t seed) {
  constexpr bool kBf16 = sizeof(Scalar) == 2;
  RandomInputs inputs(seed);
  INFO("seed ", inputs.seed);
  Problem x(square_shape(1, 200, 1, 1, 64, true), Layout::packed, 0.2f, inputs);
  if (kBf16) round_inputs(x);
  const Reference reference{test::oracle<double>(x), kBf16 ? test::plain_bf16(x) : test::oracle<float>(x)};
  const double unit = kBf16 ? 0.0 : 32 * 0x1p-24;
  simt::take_barrier_sites();
  REQUIRE_FALSE(fault_shows<Scalar>(x, reference, unit));
  const std::set<std::string> barriers = simt::take_barrier_sites();
  const simt::SavedOptions saved;
  for (const simt::Fault fault : faults) {
    INFO("fault ", static_cast<int>(fault));
    simt::options.fault = fault;
    CHECK(fault_shows<Scalar>(x, reference, unit));
  }
  simt::options.fault = simt::Fault::no_barrier;
  CHECK_FALSE(barriers.empty());
  for (const std::string& site : barriers) {
    INFO("without the barrier at ", site);
    simt::options.fault_site = site;
    CHECK(fault_shows<Scalar>(x, reference, unit));
  }
}

TEST_SUITE_BEGIN("large");  // a planted race would be ThreadSanitizer's to report

TEST_CASE("cuda attention, bf16: every planted bug shows") {
  using enum simt::Fault;
  check_faults<Bf16>({no_wait, late_wait, short_copy, swap_fragments}, 20261140);
}
TEST_CASE("cuda attention, fp32: every missing barrier shows") { check_faults<float>({}, 20261141); }

// Not the emulator's to plant: the kernels are held against a mask, or a softmax, that is slightly wrong.
TEST_CASE("cuda attention: a wrong lane order in the mask would show") {
  RandomInputs inputs(20261142);
  INFO("seed ", inputs.seed);
  Problem x(square_shape(1, 100, 1, 1, 64, true), Layout::packed, 0.2f, inputs);
  round_inputs(x);
  test::run_kernels<Bf16>(x);
  Problem other = x;
  other.rng.offset ^= 1;  // lanes 2k and 2k+1 change places (offset and site are even)
  other.dropout.site &= ~uint64_t{1};
  CHECK_FALSE(is_good(x, {test::oracle<double>(other), test::plain_bf16(other)}, 0.0));
}

TEST_CASE("cuda attention: a row sum of the dropped P would show") {
  RandomInputs inputs(20261143);
  INFO("seed ", inputs.seed);
  Problem x(square_shape(1, 100, 1, 1, 64, true), Layout::packed, 0.2f, inputs);
  round_inputs(x);
  test::run_kernels<Bf16>(x);
  Reference reference{test::oracle<double>(x), test::plain_bf16(x)};
  CHECK(is_good(x, reference, 0.0));
  for (int i = 0; i < x.shape.T; ++i) {
    const std::vector<float> keep = test::mask_row(x, 0, 0, i, i + 1);
    double all = 0.0, left = 0.0;
    const float* q = x.q.read().at(0, i, 0);
    for (int j = 0; j <= i; ++j) {
      const double score = x.shape.scale * test::dot<double>(q, x.k.read().at(0, j, 0), 64);
      const double p = std::exp(score - reference.truth.lse[i]);
      all += p;
      left += keep[j] * p;
    }
    for (int c = 0; c < 64 && left > 0.0; ++c) {
      reference.truth.out[i * 64 + c] *= all / left;
      reference.plain.out[i * 64 + c] *= static_cast<float>(all / left);
    }
  }
  CHECK_FALSE(is_good(x, reference, 0.0));
}

TEST_SUITE_END();

}  // namespace
}  // namespace glint
