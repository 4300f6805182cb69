// What only the emulator shows of the attention kernels: their bank conflicts; and, since they are sound, whether their
// tests would notice if they were not. A bug is planted by the emulator into the running kernel, or else into what it
// is held against; every one must show.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/simt/ptx.h"
#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {
namespace {

AttentionShape square_shape(int T, int HS) { return attention_shape(1, T, T, 1, 1, HS, true); }

TEST_CASE("cuda attention reads its fragments without bank conflicts") {
  RandomInputs inputs(20261137);
  INFO("seed ", inputs.seed);
  for (const int HS : {32, 64, 96, 128}) {
    INFO("HS ", HS);
    AttentionProblem x(square_shape(129, HS), Layout::packed, 0.1f, inputs);
    simt::ldmatrix_conflicts = 0;
    run_attention<Bf16>(CudaContext{}, x);
    CHECK(simt::ldmatrix_conflicts == 0);
  }
}

// Whether all results keep to their bounds.
template <typename Scalar>
bool is_good(const AttentionProblem& x, const AttentionBounds<Scalar>& bounds) {
  bool good = true;
  bounds.for_each(x, [&](const std::string&, double error, double bound) { good = good && error <= bound; });
  return good;
}

// Whether the planted bug shows, as an error of the emulator or in wrong results, in one of the orders.
template <typename Scalar>
bool fault_shows(const AttentionProblem& start, const AttentionBounds<Scalar>& bounds) {
  bool shows = false;
  simt::in_every_order(
      [&] {
        if (shows) return;
        try {
          AttentionProblem x = start;
          run_attention<Scalar>(CudaContext{}, x);
          shows = !is_good(x, bounds);
        } catch (const simt::Error&) {
          shows = true;
        }
      },
      8);
  return shows;
}

template <typename Scalar>
void check_faults(const std::vector<simt::Fault>& faults, uint64_t seed) {
  RandomInputs inputs(seed);
  INFO("seed ", inputs.seed);
  AttentionProblem x(square_shape(200, 64), Layout::packed, 0.2f, inputs);
  x.round_inputs<Scalar>();
  const AttentionBounds<Scalar> bounds(x);
  simt::take_barrier_sites();
  REQUIRE_FALSE(fault_shows(x, bounds));
  const std::set<std::string> barriers = simt::take_barrier_sites();
  const simt::SavedOptions saved;
  for (const simt::Fault fault : faults) {
    INFO("fault ", static_cast<int>(fault));
    simt::options.fault = fault;
    CHECK(fault_shows(x, bounds));
  }
  simt::options.fault = simt::Fault::no_barrier;
  CHECK_FALSE(barriers.empty());
  for (const std::string& site : barriers) {
    INFO("without the barrier at ", site);
    simt::options.fault_site = site;
    CHECK(fault_shows(x, bounds));
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
  AttentionProblem x(square_shape(100, 64), Layout::packed, 0.2f, inputs);
  x.round_inputs<Bf16>();
  run_attention<Bf16>(CudaContext{}, x);
  AttentionProblem other = x;
  other.rng.offset ^= 1;  // lanes 2k and 2k+1 change places (offset and site are even)
  other.site &= ~uint64_t{1};
  CHECK_FALSE(is_good(x, AttentionBounds<Bf16>(other)));
}

TEST_CASE("cuda attention: a row sum of the dropped P would show") {
  RandomInputs inputs(20261143);
  INFO("seed ", inputs.seed);
  AttentionProblem x(square_shape(100, 64), Layout::packed, 0.2f, inputs);
  x.round_inputs<Bf16>();
  run_attention<Bf16>(CudaContext{}, x);
  AttentionBounds<Bf16> bounds(x);
  CHECK(is_good(x, bounds));
  for (int i = 0; i < x.shape.T; ++i) {
    double all = 0.0, left = 0.0;
    for (int j = 0; j <= i; ++j) {
      double score = 0.0;
      for (int c = 0; c < 64; ++c) score += x.shape.scale * x.q.at(0, i, 0)[c] * x.k.at(0, j, 0)[c];
      const double p = std::exp(score - bounds.exact.lse[i]);
      all += p;
      left += x.keeps(0, 0, i, j) * p;
    }
    for (int c = 0; c < 64 && left > 0.0; ++c) {
      bounds.exact.out[i * 64 + c] *= all / left;
      bounds.plain.out[i * 64 + c] *= static_cast<float>(all / left);
    }
  }
  CHECK_FALSE(is_good(x, bounds));
}

TEST_SUITE_END();

}  // namespace
}  // namespace glint::test
