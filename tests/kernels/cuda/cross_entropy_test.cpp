#include "kernels/cross_entropy.h"

#include <limits>

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

constexpr float kScale = 0.25f;

template <typename Real>
struct Plain {
  std::vector<Real> losses, dlogits;  // (rows), (rows, V)

  Plain(const std::vector<Real>& logits, const std::vector<int32_t>& targets, size_t V) : dlogits(logits.size()) {
    for (size_t row = 0; row < targets.size(); ++row) {
      const Real* z = logits.data() + row * V;
      const Real largest = *std::max_element(z, z + V);
      Real total = 0;
      for (size_t v = 0; v < V; ++v) total += std::exp(z[v] - largest);
      const size_t target = static_cast<size_t>(targets[row]);
      losses.push_back(std::log(total) + largest - z[target]);
      for (size_t v = 0; v < V; ++v) dlogits[row * V + v] = (std::exp(z[v] - largest) / total - (v == target)) * Real(kScale);
    }
  }
};

struct Results {
  std::vector<float> forward, losses, dlogits;
};

template <typename Scalar>
Results run(const std::vector<float>& logits, const std::vector<int32_t>& targets, int V, size_t offset) {
  const CrossEntropyShape shape{static_cast<int>(targets.size()), V};
  const DeviceBuffer<int32_t> on_device(targets);
  const Guarded<Scalar> in(logits, offset), in_place(logits, offset);
  const Guarded<float> forward(targets.size()), losses(targets.size());
  cross_entropy_forward(kCuda, forward.data(), static_cast<const Scalar*>(in.data()), on_device.data(), shape);
  cross_entropy_forward_backward(kCuda, losses.data(), in_place.data(), on_device.data(), kScale, shape);
  CHECK(same_bits(in.values(), logits));
  return {forward.values(), losses.values(), in_place.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, int rows, int V, size_t offset = 0) {
  INFO("rows ", rows, ", V ", V, ", offset ", offset, ", bytes ", sizeof(Scalar));
  const auto logits = rounded<Scalar>(inputs.normal(static_cast<size_t>(rows) * static_cast<size_t>(V), 4.0f));
  std::vector<int32_t> targets;
  for (int row = 0; row < rows; ++row) targets.push_back(inputs.below(V));
  const Plain<double> exact(convert<double>(logits), targets, static_cast<size_t>(V));
  const Plain<float> plain(logits, targets, static_cast<size_t>(V));
  const Results r = run<Scalar>(logits, targets, V, offset);
  check_as_good("losses", r.losses, plain.losses, exact.losses, 8.0);  // exp2 by the hardware is a few units off
  check_as_good_in<Scalar>("dlogits", r.dlogits, plain.dlogits, exact.dlogits, 1.0);
  CHECK(same_bits(r.forward, r.losses));
  const Results again = run<Scalar>(logits, targets, V, offset);
  CHECK(same_bits(again.losses, r.losses));
  CHECK(same_bits(again.dlogits, r.dlogits));
}

}  // namespace

TEST_CASE("cuda cross entropy agrees with double, small shapes") {
  RandomInputs inputs(2301);
  INFO("seed ", inputs.seed);
  for (const int V : {1, 2, 65, 129, 1000}) {
    check<float>(inputs, 11, V);
    check<Bf16>(inputs, 11, V);
  }
  check<Bf16>(inputs, 3, 65, 1);
  simt::in_every_order([&] { check<Bf16>(inputs, 3, 70); }, 1);
}

TEST_CASE("cuda cross entropy agrees with double: rows of many warps") {
  RandomInputs inputs(2302);
  INFO("seed ", inputs.seed);
  check<float>(inputs, 2, 1025);
  check<Bf16>(inputs, 2, 8191, 3);
  check<float>(inputs, 1, 8193);
  check<Bf16>(inputs, 2, 20003);
}

TEST_CASE("cuda cross entropy of large, far apart and broken logits") {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto loss_of = [](const std::vector<float>& logits, int32_t target) {
    return run<float>(logits, {target}, static_cast<int>(logits.size()), 0).losses[0];
  };
  CHECK(loss_of({1000.0f, 1000.0f, -1000.0f}, 0) == doctest::Approx(std::log(2.0)));
  CHECK(loss_of({-infinity, 0.0f}, 1) == 0.0f);
  CHECK(loss_of(std::vector<float>(40, -infinity), 1) != loss_of({0.0f, 0.0f}, 1));
  CHECK(std::isnan(loss_of({std::nanf(""), 0.0f}, 1)));
  std::vector<float> wide(3000, 0.0f);
  wide[2500] = std::nanf("");
  CHECK(std::isnan(loss_of(wide, 1)));
  wide[2500] = infinity;
  CHECK_FALSE(std::isfinite(loss_of(wide, 1)));
}

}  // namespace glint::test
