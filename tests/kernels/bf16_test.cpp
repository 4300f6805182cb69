// CPU kernels on Bf16 arrays give what the fp32 kernels give for the same values, rounded once when it is stored.
#include "kernels/bf16.h"

#include <bit>
#include <cstdint>

#include "kernels/cpu/vector_loops.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/residual.h"
#include "kernels/residual_layernorm.h"
#include "tests/kernels/dropout_site.h"

namespace glint::test {
namespace {

const CpuContext kThreads{.threads = 2};

std::vector<Bf16> narrow(const std::vector<float>& values) {
  std::vector<Bf16> result;
  for (const float value : values) result.push_back(to_bf16(value));
  return result;
}
std::vector<float> widen(const std::vector<Bf16>& values) {
  std::vector<float> result;
  for (const Bf16 value : values) result.push_back(to_float(value));
  return result;
}

// At most the last bit of bf16 differs, and seldom: fp32 values close to a tie may round to either side.
void check_rounding(const std::string& what, const std::vector<Bf16>& got, const std::vector<float>& fp32) {
  INFO(what);
  REQUIRE(got.size() == fp32.size());
  size_t apart = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const float expected = to_float(to_bf16(fp32[i]));
    apart += to_float(got[i]) != expected;
    CHECK(std::abs(to_float(got[i]) - expected) <= std::abs(expected) * 0x1p-7f);
  }
  CHECK(apart * 500 <= got.size());
}

}  // namespace

TEST_CASE("bf16 vectors round as to_bf16 does, every value and every tie") {
  for (uint32_t upper = 0; upper < 0x10000; upper += simd::kWidth) {
    for (const uint32_t lower : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      float values[simd::kWidth];
      Bf16 stored[simd::kWidth], partly[simd::kWidth] = {};
      for (uint32_t lane = 0; lane < simd::kWidth; ++lane)
        values[lane] = std::bit_cast<float>((upper + lane) << 16 | lower);
      simd::store(stored, simd::load(values));
      simd::store_first(partly, simd::load(values), simd::kWidth - 1);
      const simd::Floats back = simd::load(static_cast<const Bf16*>(stored));
      const simd::Floats part = simd::load_first(static_cast<const Bf16*>(stored), simd::kWidth - 1);
      bool same = partly[simd::kWidth - 1].bits == 0 && part[simd::kWidth - 1] == 0.0f;
      for (int lane = 0; lane < simd::kWidth; ++lane) {
        const uint32_t widened = uint32_t{stored[lane].bits} << 16;
        same = same && stored[lane].bits == to_bf16(values[lane]).bits &&
               std::bit_cast<uint32_t>(float(back[lane])) == widened;
        if (lane < simd::kWidth - 1) same = same && partly[lane].bits == stored[lane].bits;
        same = same && std::isnan(to_float(stored[lane])) == std::isnan(values[lane]);
      }
      REQUIRE_MESSAGE(same, "upper half from ", upper, ", lower half ", lower);
    }
  }
}

TEST_CASE("bf16 gelu, residual and layer norm are the fp32 kernels, rounded once") {
  RandomInputs inputs(901);
  INFO("seed ", inputs.seed);
  for (const int C : {1, 7, 64, 131}) {
    INFO("C ", C);
    const size_t n = 30 * static_cast<size_t>(C), width = static_cast<size_t>(C);
    const RngState rng{7, 0xfffffff0u, 0, 3};
    const Dropout dropout = make_site(0.2f, &rng, 64);
    const auto x = rounded<Bf16>(inputs.normal(n, 2.0f)), y = rounded<Bf16>(inputs.normal(n)),
               dout = rounded<Bf16>(inputs.normal(n));
    const auto weight = inputs.normal(width), bias = inputs.normal(width);
    const auto hx = narrow(x), hy = narrow(y), hdout = narrow(dout);
    std::vector<float> out(n), sum(n), dx = y, dy(n), mean(30), rstd(30), dweight(width), dbias(width);
    std::vector<Bf16> hout(n), hsum(n), hdx = hy, hdy(n);
    std::vector<float> hmean(30), hrstd(30), hdweight(width), hdbias(width);
    for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
      gelu_forward(kThreads, out.data(), x.data(), n, kind);
      gelu_forward(kThreads, hout.data(), hx.data(), n, kind);
      check_rounding("gelu", hout, out);
      gelu_backward(kThreads, out.data(), dout.data(), x.data(), n, kind);
      gelu_backward(kThreads, hout.data(), hdout.data(), hx.data(), n, kind);
      check_rounding("gelu backward", hout, out);
    }
    const ResidualLayerNormShape shape{3, 10, C};
    std::vector<float> scratch(residual_layernorm_backward_scratch(kThreads, shape));
    residual_layernorm_forward(kThreads, hout.data(), hsum.data(), hmean.data(), hrstd.data(), hx.data(), hy.data(),
                               weight.data(), bias.data(), shape, dropout);
    residual_layernorm_forward(kThreads, out.data(), sum.data(), mean.data(), rstd.data(), x.data(), y.data(),
                               weight.data(), bias.data(), shape, dropout);
    check_rounding("sum", hsum, sum);
    sum = widen(hsum);  // what is normalised
    layernorm_forward(kThreads, out.data(), mean.data(), rstd.data(), sum.data(), weight.data(), bias.data(), {30, C});
    check_rounding("layer norm", hout, out);
    CHECK(worst_error(hmean, convert<double>(mean)) <= 1e-5);
    residual_layernorm_backward(kThreads, hdx.data(), hdy.data(), hdweight.data(), hdbias.data(), hdout.data(),
                                hsum.data(), hmean.data(), hrstd.data(), weight.data(), scratch.data(), shape, dropout,
                                Write::set);
    residual_layernorm_backward(kThreads, dx.data(), dy.data(), dweight.data(), dbias.data(), dout.data(), sum.data(),
                                hmean.data(), hrstd.data(), weight.data(), scratch.data(), shape, dropout, Write::set);
    if (C > 1) check_rounding("dsum", hdx, dx);
    const auto stored = widen(hdx);
    residual_dropout_backward(kThreads, dy.data(), stored.data(), {3, 10, C}, dropout);
    check_rounding("dy", hdy, dy);
    CHECK(worst_error(hdweight, convert<double>(dweight)) <= 1e-4);
    CHECK(same_bits(hdbias, dbias));
  }
}

TEST_CASE("bf16 cross entropy and embedding are the fp32 kernels, rounded once") {
  RandomInputs inputs(902);
  INFO("seed ", inputs.seed);
  for (const int V : {1, 17, 1025}) {
    const auto logits = rounded<Bf16>(inputs.normal(9 * static_cast<size_t>(V), 3.0f));
    std::vector<int32_t> targets;
    for (int row = 0; row < 9; ++row) targets.push_back(inputs.below(V));
    std::vector<float> z = logits, losses(9), hlosses(9);
    std::vector<Bf16> hz = narrow(logits);
    cross_entropy_forward_backward(kThreads, losses.data(), z.data(), targets.data(), 0.25f, {9, V});
    cross_entropy_forward_backward(kThreads, hlosses.data(), hz.data(), targets.data(), 0.25f, {9, V});
    CHECK(same_bits(losses, hlosses));
    if (V > 1) check_rounding("dlogits", hz, z);
  }
  const RngState rng{5, 0, 0, 0};
  const Dropout dropout = make_site(0.3f, &rng, 0);
  const EmbeddingShape shape{3, 7, 40, 11};
  const auto wte = rounded<Bf16>(inputs.normal(11 * 40)), wpe = rounded<Bf16>(inputs.normal(7 * 40)),
             dout = rounded<Bf16>(inputs.normal(21 * 40));
  std::vector<int32_t> tokens;
  for (int i = 0; i < 21; ++i) tokens.push_back(inputs.below(11));
  std::vector<float> out(21 * 40), dwte(11 * 40), dwpe(7 * 40), hdwte(11 * 40), hdwpe(7 * 40);
  std::vector<Bf16> hout(21 * 40);
  embedding_forward(kThreads, out.data(), tokens.data(), wte.data(), wpe.data(), shape, dropout);
  embedding_forward(kThreads, hout.data(), tokens.data(), narrow(wte).data(), narrow(wpe).data(), shape, dropout);
  CHECK(widen(hout) == rounded<Bf16>(out));
  embedding_backward(kThreads, dwte.data(), dwpe.data(), dout.data(), tokens.data(), nullptr, shape, dropout,
                     Write::set, Write::set);
  embedding_backward(kThreads, hdwte.data(), hdwpe.data(), narrow(dout).data(), tokens.data(), nullptr, shape, dropout,
                     Write::set, Write::set);
  CHECK(same_bits(dwte, hdwte));
  CHECK(same_bits(dwpe, hdwpe));
}

}  // namespace glint::test
