#include "src/measure/attention_error.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <type_traits>

#include "kernels/check.h"
#include "src/measure/attention_on_device.h"

namespace glint {

namespace {

size_t query_elements(const AttentionShape& s) { return static_cast<size_t>(s.B) * s.T * s.NH * s.HS; }
size_t key_elements(const AttentionShape& s) { return static_cast<size_t>(s.B) * s.S * s.NKV * s.HS; }

template <typename Scalar, typename Ctx>
AttentionResults<float> run_on(const Device& device, const Ctx& ctx, AttentionKind kind, const AttentionCase& x) {
  size_t floats = std::max(attention_forward_scratch(ctx, x.shape), attention_backward_scratch(ctx, x.shape));
  if constexpr (std::is_same_v<Ctx, CpuContext>) floats = std::max(floats, reference_attention_scratch(ctx, x.shape));
  const AttentionOnDevice<Scalar, Ctx> call(device, ctx, x, floats);
  if (kind != AttentionKind::reference) {
    attention_forward(ctx, call.forward());
    attention_backward(ctx, call.backward());
  } else if constexpr (std::is_same_v<Ctx, CpuContext> && std::is_same_v<Scalar, float>) {
    reference_attention_forward(ctx, call.forward());
    reference_attention_backward(ctx, call.backward());
  } else {
    GLINT_CHECK(false, "the reference attention is for a CPU, in fp32");
  }
  return call.results();
}

}  // namespace

AttentionCase random_attention_case(const AttentionShape& shape, float p, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  const auto array = [&](size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = normal(engine);
    return values;
  };
  AttentionCase x{.shape = shape, .q = array(query_elements(shape)), .k = {}, .v = {}, .dout = {}, .p = p};
  x.k = array(key_elements(shape)), x.v = array(key_elements(shape)), x.dout = array(query_elements(shape));
  x.rng.seed = seed;
  return x;
}

AttentionCase rounded_to_bf16(AttentionCase x) {
  for (auto* array : {&x.q, &x.k, &x.v, &x.dout})
    for (float& value : *array) value = to_float(to_bf16(value));
  return x;
}

AttentionResults<float> run_attention(const Device& device, DType dtype, AttentionKind kind, const AttentionCase& x) {
  return device.visit([&](const auto& device_context) {
    const auto ctx = with_kernels(device_context, kind);
    return dtype == DType::bf16 ? run_on<Bf16>(device, ctx, kind, x) : run_on<float>(device, ctx, kind, x);
  });
}

AttentionResults<float> run_rung(const ladder::Rung& rung, const AttentionCase& x) {
  const CpuContext ctx;
  const AttentionOnDevice<float, CpuContext> call(ctx, ctx, x, rung.scratch(x.shape, x.p > 0).all(x.shape));
  rung.forward(call.forward());
  rung.backward(call.backward());
  return call.results();
}

AttentionResults<double> run_in_double(const AttentionCase& x, bool bf16_elements, double* ds_terms) {
  const AttentionShape& s = x.shape;
  const std::vector<double> of_queries(query_elements(s)), of_keys(key_elements(s));
  AttentionResults<double> exact{of_queries, of_queries, of_keys, of_keys};
  std::vector<double> scratch(ladder::attention_in_double_scratch(s));
  const CpuContext ctx;
  const AttentionOnDevice<float, CpuContext> call(ctx, ctx, x, 0);
  const double terms = ladder::attention_in_double({query_view(exact.out.data(), s), query_view(exact.dq.data(), s),
                                                    key_view(exact.dk.data(), s), key_view(exact.dv.data(), s)},
                                                   call.backward(), scratch.data(), bf16_elements);
  if (ds_terms) *ds_terms = terms;
  return exact;
}

double relative_error(const std::vector<float>& got, const std::vector<double>& exact) {
  GLINT_CHECK(got.size() == exact.size(), got.size(), " and ", exact.size());
  double errors = 0, values = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    errors += (got[i] - exact[i]) * (got[i] - exact[i]);
    values += exact[i] * exact[i];
  }
  return errors == 0 ? 0 : std::sqrt(errors / values);
}

AttentionErrors errors_of(const AttentionResults<float>& got, const AttentionResults<double>& exact) {
  return {relative_error(got.out, exact.out), relative_error(got.dq, exact.dq), relative_error(got.dk, exact.dk),
          relative_error(got.dv, exact.dv)};
}

AttentionResults<float> rounded_to_bf16(const AttentionResults<double>& exact) {
  const auto rounded = [](const std::vector<double>& values) {
    std::vector<float> result(values.size());
    std::transform(values.begin(), values.end(), result.begin(),
                   [](double value) { return to_float(to_bf16(static_cast<float>(value))); });
    return result;
  };
  return {rounded(exact.out), rounded(exact.dq), rounded(exact.dk), rounded(exact.dv)};
}

AttentionErrors errors_of_bf16(const AttentionResults<double>& exact) {
  return errors_of(rounded_to_bf16(exact), exact);
}

std::vector<int> random_order(int keys, uint64_t seed) {
  std::vector<int> order(static_cast<size_t>(keys));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 engine(seed);
  std::shuffle(order.begin(), order.end(), engine);
  return order;
}

namespace {

// to[n] = from[order[n]], or the other way round, for each row of `width` of the first sequence.
template <bool kBack>
void reorder(std::vector<float>& values, size_t width, const std::vector<int>& order) {
  const std::vector<float> from = values;
  for (size_t n = 0; n < order.size(); ++n) {
    const size_t there = static_cast<size_t>(order[n]) * width, here = n * width;
    std::copy_n(from.data() + (kBack ? here : there), width, values.data() + (kBack ? there : here));
  }
}

}  // namespace

AttentionCase with_keys_in(const AttentionCase& x, const std::vector<int>& order) {
  GLINT_CHECK(x.shape.B == 1 && !x.shape.causal && x.p == 0, "the order of keys matters beyond rounding");
  AttentionCase result = x;
  for (auto* array : {&result.k, &result.v})
    reorder<false>(*array, static_cast<size_t>(x.shape.NKV) * static_cast<size_t>(x.shape.HS), order);
  return result;
}

AttentionResults<float> in_order(AttentionResults<float> results, const AttentionCase& x,
                                 const std::vector<int>& order) {
  for (auto* array : {&results.dk, &results.dv})
    reorder<true>(*array, static_cast<size_t>(x.shape.NKV) * static_cast<size_t>(x.shape.HS), order);
  return results;
}

}  // namespace glint
