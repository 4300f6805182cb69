#include "kernels/muon.h"

#include <algorithm>
#include <array>

#include "kernels/newton_schulz.h"
#include "tests/kernels/ops/linear_oracle.h"

namespace glint::test {
namespace {

// Row-major.
template <typename Real>
struct Matrix {
  size_t rows, columns;
  std::vector<Real> values;

  Real operator()(size_t i, size_t j) const { return values[i * columns + j]; }
  Matrix transposed() const {
    Matrix result{columns, rows, {}};
    for (size_t j = 0; j < columns; ++j)
      for (size_t i = 0; i < rows; ++i) result.values.push_back((*this)(i, j));
    return result;
  }
};
template <typename Real>
Matrix<Real> operator*(const Matrix<Real>& a, const Matrix<Real>& b) {
  Matrix<Real> result{a.rows, b.columns, {}};
  for (size_t i = 0; i < a.rows; ++i)
    for (size_t j = 0; j < b.columns; ++j) {
      Real total = 0;
      for (size_t k = 0; k < a.columns; ++k) total += a(i, k) * b(k, j);
      result.values.push_back(total);
    }
  return result;
}

// As torch.optim.Muon has it: a matrix is rounded to Scalar after each of its steps.
template <typename Scalar, typename Real>
std::vector<Real> plain(const std::vector<float>& start, const MatrixSize& size) {
  const auto round = [](Matrix<Real> matrix) {
    if constexpr (sizeof(Real) == sizeof(float)) matrix.values = rounded<Scalar>(matrix.values);
    return matrix;
  };
  Matrix<Real> x{static_cast<size_t>(size.rows), static_cast<size_t>(size.columns), convert<Real>(start)};
  if (size.tall()) x = x.transposed();
  double squares = 0;
  for (const Real value : x.values) squares += static_cast<double>(value) * static_cast<double>(value);
  for (Real& value : x.values) value /= static_cast<Real>(std::max(std::sqrt(squares), 1e-7));
  x = round(x);
  const Real a = Real(3.4445), b = Real(-4.7750), c = Real(2.0315);
  for (int step = 0; step < 5; ++step) {
    const auto gram = round(x * x.transposed());
    auto polynomial = gram * gram;
    for (size_t i = 0; i < gram.values.size(); ++i)
      polynomial.values[i] = b * gram.values[i] + c * polynomial.values[i];
    auto next = round(polynomial) * x;
    for (size_t i = 0; i < x.values.size(); ++i) next.values[i] += a * x.values[i];
    x = round(next);
  }
  if (size.tall()) x = x.transposed();
  for (Real& value : x.values) value *= Real(0.2) * std::sqrt(static_cast<Real>(size.longer()));
  return x.values;
}

double distance(const std::vector<float>& got, const std::vector<double>& exact) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) error += std::pow(got[i] - exact[i], 2), norm += exact[i] * exact[i];
  return std::sqrt(error / norm);
}

template <typename Scalar>
void check_orthogonalize(RandomInputs& inputs, const MatrixSize& size) {
  INFO(size.rows, " x ", size.columns);
  constexpr auto kProducts = std::is_same_v<Scalar, Bf16> ? MuonProducts::bf16 : MuonProducts::fp32;
  const std::vector<float> starts[] = {inputs.normal(size.elements()), inputs.normal(size.elements(), 3.0f)};
  const std::vector<double> exact[] = {plain<float, double>(starts[0], size), plain<float, double>(starts[1], size)};
  // Each step enlarges the rounding errors of those before, some matrices' more than others': the whole matrix's is
  // compared, with the larger of two such matrices.
  double allowed = 0;
  for (size_t i = 0; i < 2; ++i)
    allowed = std::max(allowed, 2 * distance(plain<Scalar, float>(starts[i], size), exact[i]) + 1e-6);
  for_each_matmul_context([&](const Context& ctx) {
    // NaN, which shows if it is read. (On an H200 initcheck took what cuBLASLt had written for unwritten.)
    const Buffer<char> scratch(std::vector<char>(orthogonalize_scratch(ctx, size, 2, kProducts), '\xff'));
    const auto run = [&] {
      const Guarded<float> a(starts[0]), b(starts[1]);
      const std::array<float*, 2> matrices = {a.data(), b.data()};
      orthogonalize(ctx, matrices, size, kProducts, scratch.data());
      return std::array{a.values(), b.values()};
    };
    const auto got = run();
    for (size_t i = 0; i < got.size(); ++i) CHECK(distance(got[i], exact[i]) <= allowed);
    const auto again = run();
    for (size_t i = 0; i < got.size(); ++i) CHECK(same_bits(again[i], got[i]));
  });
}

}  // namespace

TEST_CASE("muon: orthogonalize is as near to double as PyTorch's steps in the same format, small shapes") {
  RandomInputs inputs(2001);
  INFO("seed ", inputs.seed);
  for (const MatrixSize size : {MatrixSize{1, 1}, {8, 8}, {8, 24}, {24, 8}, {17, 40}, {33, 18}, {48, 48}, {1, 16}}) {
    if (kOnCpu) check_orthogonalize<float>(inputs, size);
    check_orthogonalize<Bf16>(inputs, size);
  }
}

TEST_CASE("muon: singular values come near to 1, times the scale; a zero matrix stays zero") {
  const MatrixSize size{40, 16};
  RandomInputs inputs(2002);
  INFO("seed ", inputs.seed);
  for_each_matmul_context([&](const Context& ctx) {
    constexpr auto kProducts = MuonProducts::fp32;
    const Buffer<char> scratch(orthogonalize_scratch(ctx, size, 1, kProducts));
    const Guarded<float> matrix(inputs.normal(size.elements())), zeros(size.elements(), 0.0f, 0);
    const auto run = [&](float* one) { orthogonalize(ctx, std::array{one}, size, kProducts, scratch.data()); };
    run(matrix.data());
    const Matrix<float> x{40, 16, matrix.values()};
    const auto gram = x.transposed() * x;
    const float squared = size.update_scale() * size.update_scale();
    for (size_t i = 0; i < 16; ++i) {
      CHECK(gram(i, i) > 0.4f * squared);
      CHECK(gram(i, i) < 1.5f * squared);
    }
    run(zeros.data());
    CHECK(zeros.values() == std::vector<float>(size.elements()));
    set_zero(ctx, matrix.data(), size.elements());
    CHECK(matrix.values() == std::vector<float>(size.elements()));
  });
}

TEST_CASE("muon: momentum and update agree with double, and change nothing once the state is halted, small shapes") {
  RandomInputs inputs(2003);
  INFO("seed ", inputs.seed);
  for (const size_t n : {size_t{1}, size_t{15}, size_t{64}, size_t{1027}}) {
    INFO("n ", n);
    const size_t offset = n == 1027;
    const auto start = inputs.normal(n), old = inputs.normal(n), gradients = inputs.normal(n);
    AdamWStep step{.learning_rate = 0.25f, .gradient_scale = 0.5f};
    step.factors.keep = 0.75f;
    const auto run = [&]<typename Real>(Real) {
      std::array<std::vector<Real>, 3> results;  // update, m, params
      for (size_t i = 0; i < n; ++i) {
        const Real g = gradients[i] * Real(0.5), m = Real(0.95f) * old[i] + (1 - Real(0.95f)) * g;
        results[0].push_back((1 - Real(0.95f)) * g + Real(0.95f) * m);
        results[1].push_back(m);
        results[2].push_back(start[i] * Real(0.75) - Real(0.25) * old[i]);
      }
      return results;
    };
    const auto same = run(0.0f);
    const auto exact = run(0.0);
    in_every_order(
        [&](const Context& ctx) {
          const OnDevice<AdamWStep> at(step);
          const Guarded<float> g(gradients, offset), m(old, offset), update(old, offset), params(start, offset);
          const Guarded<Bf16> copy(n, offset);
          muon_momentum(ctx, g.data(), m.data(), n, {}, at.data());
          check_as_good("update", g.values(), same[0], exact[0]);
          check_as_good("m", m.values(), same[1], exact[1]);
          muon_update(ctx, params.data(), copy.data(), update.data(), n, at.data());
          const auto got = params.values();
          check_as_good("params", got, same[2], exact[2]);
          CHECK(copy.values() == rounded<Bf16>(got));
          AdamWStep halted = step;
          halted.halted = 1;
          at.set(halted);
          const auto before_g = g.values(), before_m = m.values();
          muon_momentum(ctx, g.data(), m.data(), n, {}, at.data());
          muon_update(ctx, params.data(), nullptr, update.data(), n, at.data());
          CHECK(same_bits(g.values(), before_g));
          CHECK(same_bits(m.values(), before_m));
          CHECK(same_bits(params.values(), got));
        },
        0);
  }
}

}  // namespace glint::test
