#include "tests/kernels/attention_oracle.h"

#include <doctest/doctest.h>

namespace glint::test {
namespace {

// The oracle's gradients against central differences of its own output, in double.
TEST_CASE("the oracle's gradients are those of its output") {
  RandomInputs inputs(20260807);
  INFO("seed ", inputs.seed);
  Problem x(AttentionShape{1, 5, 7, 2, 1, 8, true, 0.35f}, Layout::separate, 0.0f, inputs);
  const auto loss = [&] {
    const std::vector<double> out = oracle<double>(x).out;
    const std::vector<float> dout = in_order(x.dout, 1, 2, 5, 8);
    double sum = 0.0;
    for (size_t n = 0; n < out.size(); ++n) sum += out[n] * dout[n];
    return sum;
  };
  const Answer<double> answer = oracle<double>(x);
  const auto check_element = [&](float& element, double gradient) {
    const float kept = element, step = 0x1p-8f;
    element = kept + step;
    const double up_by = static_cast<double>(element) - kept, up = loss();
    element = kept - step;
    const double down_by = static_cast<double>(kept) - element, down = loss();
    element = kept;
    CHECK((up - down) / (up_by + down_by) == doctest::Approx(gradient).epsilon(1e-3).scale(0.1));
  };
  for (int c = 0; c < 8; ++c) {
    check_element(x.q.view().at(0, 3, 1)[c], answer.dq[(1 * 5 + 3) * 8 + c]);
    check_element(x.k.view().at(0, 2, 0)[c], answer.dk[2 * 8 + c]);
    check_element(x.v.view().at(0, 4, 0)[c], answer.dv[4 * 8 + c]);
  }
}

}  // namespace
}  // namespace glint::test
