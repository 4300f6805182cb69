#include "kernels/cross_entropy.h"

#include "kernels/check.h"
#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {
namespace {

template <typename Real>
struct Plain {
  std::vector<Real> losses, dlogits;  // (rows), (rows, V)
};

template <typename Real>
Plain<Real> plain_cross_entropy(const std::vector<Real>& logits, const std::vector<int32_t>& targets, Real scale,
                                size_t V) {
  Plain<Real> r{{}, logits};
  for (size_t row = 0; row < targets.size(); ++row) {
    const Real* z = logits.data() + row * V;
    const Real largest = *std::max_element(z, z + V);
    Real total = 0;
    for (size_t v = 0; v < V; ++v) total += std::exp(z[v] - largest);
    const size_t target = static_cast<size_t>(targets[row]);
    r.losses.push_back(std::log(total) + largest - z[target]);
    for (size_t v = 0; v < V; ++v) r.dlogits[row * V + v] = (std::exp(z[v] - largest) / total - (v == target)) * scale;
  }
  return r;
}

std::vector<int32_t> random_targets(RandomInputs& inputs, int rows, int V) {
  std::vector<int32_t> targets(static_cast<size_t>(rows));
  for (int32_t& target : targets) target = inputs.below(V);
  return targets;
}

}  // namespace

TEST_CASE("cross entropy agrees with double") {
  RandomInputs inputs(301);
  INFO("seed ", inputs.seed);
  for (const int V : {1, 2, 65, 128, 1025, 5001}) {
    for (const int threads : {1, 2, 3}) {
      INFO("V ", V, ", threads ", threads);
      const CrossEntropyShape shape{13, V};
      const size_t n = 13 * static_cast<size_t>(V);
      const std::vector<float> logits = inputs.normal(n, 4.0f);
      const std::vector<int32_t> targets = random_targets(inputs, 13, V);
      const auto exact = plain_cross_entropy<double>(convert<double>(logits), targets, 0.25, static_cast<size_t>(V));
      const auto plain = plain_cross_entropy<float>(logits, targets, 0.25f, static_cast<size_t>(V));
      std::vector<float> forward(13), losses(13), dlogits = logits, again = logits;
      cross_entropy_forward({.threads = threads}, forward.data(), logits.data(), targets.data(), shape);
      cross_entropy_forward_backward({.threads = threads}, losses.data(), dlogits.data(), targets.data(), 0.25f, shape);
      check_as_good("losses", losses, plain.losses, exact.losses);
      check_as_good("dlogits", dlogits, plain.dlogits, exact.dlogits);
      CHECK(same_bits(forward, losses));
      cross_entropy_forward_backward({.threads = threads}, losses.data(), again.data(), targets.data(), 0.25f, shape);
      CHECK(same_bits(again, dlogits));
    }
  }
}

TEST_CASE("the cross entropy oracle's gradient is the derivative of its loss") {
  RandomInputs inputs(302);
  INFO("seed ", inputs.seed);
  const std::vector<double> logits = convert<double>(inputs.normal(3 * 7, 2.0f));
  const std::vector<int32_t> targets = random_targets(inputs, 3, 7);
  const auto loss = [&](const std::vector<double>& z) {
    double total = 0.0;
    for (double value : plain_cross_entropy<double>(z, targets, 1.0, 7).losses) total += 0.5 * value;
    return total;
  };
  check_gradient("dlogits", plain_cross_entropy<double>(logits, targets, 0.5, 7).dlogits,
                 finite_differences(logits, loss));
}

TEST_CASE("cross entropy of large, far apart and broken logits") {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto loss_of = [](std::vector<float> logits, int32_t target) {
    float loss = -1.0f;
    cross_entropy_forward_backward(CpuContext{}, &loss, logits.data(), &target, 1.0f,
                                   {1, static_cast<int>(logits.size())});
    return loss;
  };
  CHECK(loss_of({1000.0f, 1000.0f, -1000.0f}, 0) == doctest::Approx(std::log(2.0)));
  CHECK(loss_of({1000.0f, 0.0f}, 1) == doctest::Approx(1000.0));
  CHECK(loss_of({0.0f, -infinity}, 0) == 0.0f);
  for (size_t place : {0, 3, 8, 40}) {
    for (float broken : {std::nanf(""), infinity}) {
      std::vector<float> logits(41, 0.5f);
      logits[place] = broken;
      CHECK_FALSE(std::isfinite(loss_of(logits, 1)));
    }
  }
}

TEST_CASE("cross entropy refuses a target that is no token") {
  float loss = 0.0f, logits[3] = {};
  for (const int32_t target : {-1, 3})
    CHECK_THROWS_AS(cross_entropy_forward(CpuContext{}, &loss, logits, &target, {1, 3}), Error);
}

}  // namespace glint::test
