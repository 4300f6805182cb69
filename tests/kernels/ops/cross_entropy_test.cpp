#include "kernels/cross_entropy.h"

#include <limits>

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename Real>
struct Plain {
  std::vector<Real> losses, dlogits;  // (rows), (rows, V)

  Plain(const std::vector<Real>& logits, const std::vector<int32_t>& targets, Real scale, size_t V) : dlogits(logits) {
    for (size_t row = 0; row < targets.size(); ++row) {
      const Real* z = logits.data() + row * V;
      const Real most = *std::max_element(z, z + V);
      Real total = 0;
      for (size_t v = 0; v < V; ++v) total += std::exp(z[v] - most);
      const size_t target = static_cast<size_t>(targets[row]);
      losses.push_back(std::log(total) + most - z[target]);
      for (size_t v = 0; v < V; ++v) dlogits[row * V + v] = (std::exp(z[v] - most) / total - (v == target)) * scale;
    }
  }
};

struct Results {
  std::vector<float> losses, dlogits;
};

template <typename Scalar>
Results run(const Context& ctx, const std::vector<float>& logits, const std::vector<int32_t>& targets, float scale,
            int V, size_t offset = 0) {
  const CrossEntropyShape shape{static_cast<int>(targets.size()), V};
  const Guarded<Scalar> z(logits, offset);
  const Guarded<float> forward(targets.size()), losses(targets.size());
  const Buffer<int32_t> t(targets);
  cross_entropy_forward<Scalar>(ctx, forward.data(), z.data(), t.data(), shape);
  cross_entropy_forward_backward<Scalar>(ctx, losses.data(), z.data(), t.data(), scale, shape);
  CHECK(same_bits(forward.values(), losses.values()));
  return {losses.values(), z.values()};
}

std::vector<int32_t> random_targets(RandomInputs& inputs, int rows, int V) {
  std::vector<int32_t> targets;
  for (int row = 0; row < rows; ++row) targets.push_back(row == 0 ? V - 1 : inputs.below(V));
  return targets;
}

template <typename Scalar>
void check(RandomInputs& inputs, int rows, int V, size_t offset = 0) {
  INFO("rows ", rows, ", V ", V, ", offset ", offset, ", bytes ", sizeof(Scalar));
  const auto logits = rounded<Scalar>(inputs.normal(static_cast<size_t>(rows) * static_cast<size_t>(V), 4.0f));
  const auto targets = random_targets(inputs, rows, V);
  const Plain<double> exact(convert<double>(logits), targets, 0.25, static_cast<size_t>(V));
  const Plain<float> plain(logits, targets, 0.25f, static_cast<size_t>(V));
  for_each_context([&](const Context& ctx) {
    const Results got = run<Scalar>(ctx, logits, targets, 0.25f, V, offset);
    check_as_good("losses", got.losses, plain.losses, exact.losses);
    check_as_good_in<Scalar>("dlogits", got.dlogits, plain.dlogits, exact.dlogits);
    if (kOnCpu && sizeof(Scalar) == 2) {
      const Results fp32 = run<float>(ctx, logits, targets, 0.25f, V, offset);
      CHECK(same_bits(got.losses, fp32.losses));
      if (V > 1) check_rounded_once("dlogits", got.dlogits, fp32.dlogits);
    }
  });
}

template <typename Scalar>
float loss_of(const std::vector<float>& logits, int32_t target) {
  return run<Scalar>({}, logits, {target}, 1.0f, static_cast<int>(logits.size())).losses[0];
}

}  // namespace

TEST_CASE("cross entropy: agrees with double, small shapes") {
  RandomInputs inputs(1301);
  INFO("seed ", inputs.seed);
  for (const int V : {1, 2, 3, 17, 63, 64, 65, 128, 129, 257, 1000, 1025}) {
    check<float>(inputs, 5, V);
    check<Bf16>(inputs, 5, V);
  }
  check<float>(inputs, 3, 72, 1);
  check<Bf16>(inputs, 3, 72, 3);
}

// On a GPU with 227 KB, rows of 115712 bytes lie in shared memory in pairs, of 231936 alone, and longer ones nowhere.
TEST_CASE("cross entropy: large vocabularies, those that a GPU holds in shared memory and longer ones") {
  RandomInputs inputs(1302);
  INFO("seed ", inputs.seed);
  check<float>(inputs, 13, 5001);
  for (const int V : {4097, 50257, 50304, 57600, 57601, 115968, 115969, 128256}) check<Bf16>(inputs, 2, V);
  for (const int V : {2049, 28800, 28801, 50304, 57984, 57985}) check<float>(inputs, 2, V);
}

TEST_CASE("cross entropy: columns of padding change no bit of the others, and get a gradient of 0") {
  RandomInputs inputs(1304);
  INFO("seed ", inputs.seed);
  const auto check_padded = [&]<typename Scalar>(Scalar, int V, int columns) {
    INFO("V ", V, ", columns ", columns, ", bytes ", sizeof(Scalar));
    constexpr int kRows = 3;
    const auto n = static_cast<size_t>(V), wide = static_cast<size_t>(columns);
    const auto logits = rounded<Scalar>(inputs.normal(kRows * n, 4.0f));
    const auto targets = random_targets(inputs, kRows, V);
    std::vector<float> padded(kRows * wide, std::nanf(""));
    for (size_t i = 0; i < logits.size(); ++i) padded[i / n * wide + i % n] = logits[i];
    const Results plain = run<Scalar>({}, logits, targets, 0.5f, V);
    const Guarded<Scalar> z(padded);
    const Guarded<float> losses(kRows), forward(kRows);
    const Buffer<int32_t> t(targets);
    cross_entropy_forward<Scalar>(Context{}, forward.data(), z.data(), t.data(), {kRows, V, columns});
    cross_entropy_forward_backward<Scalar>(Context{}, losses.data(), z.data(), t.data(), 0.5f, {kRows, V, columns});
    CHECK(same_bits(losses.values(), plain.losses));
    CHECK(same_bits(forward.values(), plain.losses));
    const std::vector<float> got = z.values();
    std::vector<float> dlogits, padding;
    for (size_t i = 0; i < got.size(); ++i) (i % wide < n ? dlogits : padding).push_back(got[i]);
    CHECK(same_bits(dlogits, plain.dlogits));
    CHECK(std::count(padding.begin(), padding.end(), 0.0f) == kRows * (columns - V));
  };
  for (const auto& [V, columns] : {std::pair{5, 8}, {63, 64}, {257, 320}, {9001, 9024}, {33001, 33024}}) {
    check_padded(0.0f, V, columns);
    check_padded(Bf16{}, V, columns);
  }
}

TEST_CASE("cross entropy: the oracle's gradient is the derivative of its loss") {
  RandomInputs inputs(302);
  INFO("seed ", inputs.seed);
  const std::vector<double> logits = convert<double>(inputs.normal(3 * 7, 2.0f));
  const auto targets = random_targets(inputs, 3, 7);
  const auto loss = [&](const std::vector<double>& z) {
    double total = 0.0;
    for (const double value : Plain<double>(z, targets, 1.0, 7).losses) total += 0.5 * value;
    return total;
  };
  check_gradient("dlogits", Plain<double>(logits, targets, 0.5, 7).dlogits, finite_differences(logits, loss));
}

TEST_CASE("cross entropy: the same bits in every order") {
  RandomInputs inputs(1303);
  INFO("seed ", inputs.seed);
  for (const int V : {300, 9001, 33001}) {  // on a GPU two loads a thread, seven, and a row that is read twice
    const auto logits = inputs.normal(2 * static_cast<size_t>(V), 4.0f);
    const Results once = run<float>({}, logits, {7, 0}, 0.5f, V);
    in_every_order(
        [&](const Context& ctx) {
          const Results again = run<float>(ctx, logits, {7, 0}, 0.5f, V);
          CHECK(same_bits(again.losses, once.losses));
          CHECK(same_bits(again.dlogits, once.dlogits));
        },
        2);
  }
}

TEST_CASE("cross entropy: large, far apart, absent and broken logits") {
  CHECK(loss_of<float>({1000.0f, 1000.0f, -1000.0f}, 0) == doctest::Approx(std::log(2.0)));
  CHECK(loss_of<float>({1000.0f, 0.0f}, 1) == doctest::Approx(1000.0));
  CHECK(loss_of<float>({0.0f, -kInfinity}, 0) == 0.0f);
  for (const size_t V : {size_t{41}, size_t{33000}}) {
    for (const size_t place : {0, 3, 8, 40}) {
      for (const float broken : {std::nanf(""), kInfinity}) {
        std::vector<float> logits(V, 0.5f);
        logits[place] = broken;
        CHECK_FALSE(std::isfinite(loss_of<float>(logits, 1)));
        CHECK_FALSE(std::isfinite(loss_of<Bf16>(logits, 1)));
      }
    }
    // All tokens but two are impossible: most threads have nothing to add.
    std::vector<float> logits(V, -kInfinity);
    logits[1] = logits[40] = -900.0f;
    const Results got = run<float>({}, logits, {40}, 1.0f, static_cast<int>(V));
    CHECK(got.losses[0] == doctest::Approx(std::log(2.0)));
    CHECK(got.dlogits[1] == doctest::Approx(0.5));
    CHECK(got.dlogits[40] == doctest::Approx(-0.5));
    CHECK(got.dlogits[2] == 0.0f);
  }
}

TEST_CASE("cross entropy: a target that is no token is refused, on a GPU by a loss of NaN") {
  for (const int32_t target : {-1, 3, 1 << 30}) {
    if constexpr (kOnCpu) CHECK_THROWS_AS(loss_of<float>({0.0f, 1.0f, 2.0f}, target), Error);
    else CHECK(std::isnan(loss_of<float>({0.0f, 1.0f, 2.0f}, target)));
  }
}

}  // namespace glint::test
