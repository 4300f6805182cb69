#include "src/measure/attention_error.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kernels/check.h"
#include "src/memory.h"

namespace glint {

namespace {

size_t query_elements(const AttentionShape& s) { return static_cast<size_t>(s.B) * s.T * s.NH * s.HS; }
size_t key_elements(const AttentionShape& s) { return static_cast<size_t>(s.B) * s.S * s.NKV * s.HS; }
size_t rows(const AttentionShape& s) { return static_cast<size_t>(s.B) * s.NH * s.T; }

template <typename Scalar>
HeadView<Scalar> queries(Scalar* data, const AttentionShape& s) {
  const int64_t row = int64_t{s.NH} * s.HS;
  return {data, s.T * row, row, s.HS};
}
template <typename Scalar>
HeadView<Scalar> keys(Scalar* data, const AttentionShape& s) {
  const int64_t row = int64_t{s.NKV} * s.HS;
  return {data, s.S * row, row, s.HS};
}

template <typename Real>
AttentionResults<Real> empty_results(const AttentionShape& s) {
  const std::vector<Real> of_queries(query_elements(s)), of_keys(key_elements(s));
  return {of_queries, of_queries, of_keys, of_keys};
}

// The arguments from arrays anywhere. Backward's include those of forward.
template <typename Scalar>
struct Arrays {
  const Scalar *q, *k, *v, *dout;
  Scalar *out, *dq, *dk, *dv;
  float *lse, *scratch;
};
template <typename Scalar>
AttentionForward<Scalar> forward_of(const Arrays<Scalar>& a, const AttentionShape& s, const Dropout& dropout) {
  return {queries(a.out, s), a.lse, queries(a.q, s), keys(a.k, s), keys(a.v, s), a.scratch, s, dropout};
}
template <typename Scalar>
AttentionBackward<Scalar> backward_of(const Arrays<Scalar>& a, const AttentionShape& s, const Dropout& dropout) {
  const HeadView<Scalar> out = queries(a.out, s);
  return {queries(a.dq, s), keys(a.dk, s), keys(a.dv, s), queries(a.dout, s), out, a.lse,
          queries(a.q, s),  keys(a.k, s),  keys(a.v, s),  a.scratch,          s,   dropout};
}
Arrays<float> arrays_of(const AttentionCase& x, AttentionResults<float>& r, float* lse, float* scratch) {
  return {x.q.data(),  x.k.data(),  x.v.data(),  x.dout.data(), r.out.data(),
          r.dq.data(), r.dk.data(), r.dv.data(), lse,           scratch};
}

template <typename Scalar, typename Ctx>
DeviceMemory upload(const Device& device, const Ctx& ctx, const std::vector<float>& values) {
  DeviceMemory memory(values.size() * sizeof(Scalar), "attention", device);
  std::vector<Scalar> host(values.size());
  std::transform(values.begin(), values.end(), host.begin(), [](float value) {
    if constexpr (std::is_same_v<Scalar, Bf16>) return to_bf16(value);
    else return value;
  });
  copy_to_device(ctx, memory.data(), host.data(), memory.bytes());
  return memory;
}
template <typename Scalar, typename Ctx>
void download(const Ctx& ctx, std::vector<float>& values, const DeviceMemory& memory) {
  std::vector<Scalar> host(values.size());
  copy_to_host(ctx, host.data(), memory.data(), memory.bytes());
  std::transform(host.begin(), host.end(), values.begin(), [](Scalar value) { return to_float(value); });
}

template <typename Scalar, typename Ctx>
AttentionResults<float> run_on(const Device& device, const Ctx& ctx, AttentionKind kind, const AttentionCase& x) {
  const AttentionShape& s = x.shape;
  auto results = empty_results<float>(s);
  const auto array = [&](size_t bytes) { return DeviceMemory(bytes, "attention", device); };
  const DeviceMemory q = upload<Scalar>(device, ctx, x.q), k = upload<Scalar>(device, ctx, x.k),
                     v = upload<Scalar>(device, ctx, x.v), dout = upload<Scalar>(device, ctx, x.dout),
                     out = array(q.bytes()), dq = array(q.bytes()), dk = array(k.bytes()), dv = array(k.bytes()),
                     lse = array(rows(s) * sizeof(float)), rng = array(sizeof(RngState));
  size_t floats = std::max(attention_forward_scratch(ctx, s), attention_backward_scratch(ctx, s));
  if constexpr (std::is_same_v<Ctx, CpuContext>) floats = std::max(floats, reference_attention_scratch(ctx, s));
  const DeviceMemory scratch = array(floats * sizeof(float));
  copy_to_device(ctx, rng.data(), &x.rng, sizeof x.rng);
  const Dropout dropout(x.p, static_cast<const RngState*>(rng.data()), 0);
  const auto at = [](const DeviceMemory& memory) { return static_cast<Scalar*>(memory.data()); };
  const Arrays<Scalar> arrays{at(q), at(k), at(v), at(dout), at(out), at(dq), at(dk), at(dv), lse.f32(), scratch.f32()};
  const auto forward = forward_of(arrays, s, dropout);
  const auto backward = backward_of(arrays, s, dropout);
  if (kind != AttentionKind::reference) {
    attention_forward(ctx, forward);
    attention_backward(ctx, backward);
  } else if constexpr (std::is_same_v<Ctx, CpuContext> && std::is_same_v<Scalar, float>) {
    reference_attention_forward(ctx, forward);
    reference_attention_backward(ctx, backward);
  } else {
    GLINT_CHECK(false, "the reference attention is for a CPU, in fp32");
  }
  download<Scalar>(ctx, results.out, out), download<Scalar>(ctx, results.dq, dq);
  download<Scalar>(ctx, results.dk, dk), download<Scalar>(ctx, results.dv, dv);
  return results;
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
  auto results = empty_results<float>(x.shape);
  std::vector<float> lse(rows(x.shape)), scratch(rung.scratch(x.shape, x.p > 0).all(x.shape));
  const Arrays<float> arrays = arrays_of(x, results, lse.data(), scratch.data());
  const Dropout dropout(x.p, &x.rng, 0);
  rung.forward(forward_of(arrays, x.shape, dropout));
  rung.backward(backward_of(arrays, x.shape, dropout));
  return results;
}

AttentionResults<double> run_in_double(const AttentionCase& x) {
  const AttentionShape& s = x.shape;
  auto exact = empty_results<double>(s);
  auto unused = empty_results<float>(s);
  std::vector<double> scratch(ladder::attention_in_double_scratch(s));
  ladder::attention_in_double(
      {queries(exact.out.data(), s), queries(exact.dq.data(), s), keys(exact.dk.data(), s), keys(exact.dv.data(), s)},
      backward_of(arrays_of(x, unused, nullptr, nullptr), s, Dropout(x.p, &x.rng, 0)), scratch.data());
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

AttentionErrors errors_of_bf16(const AttentionResults<double>& exact) {
  const auto rounded = [](const std::vector<double>& values) {
    std::vector<float> result(values.size());
    std::transform(values.begin(), values.end(), result.begin(),
                   [](double value) { return to_float(to_bf16(static_cast<float>(value))); });
    return result;
  };
  return errors_of({rounded(exact.out), rounded(exact.dq), rounded(exact.dk), rounded(exact.dv)}, exact);
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
