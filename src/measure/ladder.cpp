#include "src/measure/ladder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
#include <utility>

#include "kernels/check.h"
#include "src/measure/attention_on_device.h"
#include "src/measure/median.h"

namespace glint {

namespace {

using ladder::Rung;

using Errors = std::array<double, 4>;  // of out, dq, dk, dv

// The largest differences from double.
Errors largest_errors(const AttentionResults<float>& got, const AttentionResults<double>& exact) {
  const auto worst = [](const std::vector<float>& a, const std::vector<double>& b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double error = std::abs(a[i] - b[i]);
      most = std::isnan(error) ? INFINITY : std::max(most, error);
    }
    return most;
  };
  return {worst(got.out, exact.out), worst(got.dq, exact.dq), worst(got.dk, exact.dk), worst(got.dv, exact.dv)};
}

double largest_of(const auto& values) {
  double largest = 0;
  for (const auto value : values) largest = std::max<double>(largest, std::abs(value));
  return largest;
}

// The rule of FlashAttention's tests, and of ours: twice (out) or three times (gradients) the error of the reference,
// which is plain fp32, and a few roundings of the largest result or of the terms that cancel.
Errors allowed_errors(const AttentionCase& x, const AttentionResults<double>& exact, double ds_terms) {
  const double largest[] = {largest_of(exact.out), std::max(largest_of(exact.dq), ds_terms * largest_of(x.k)),
                            std::max(largest_of(exact.dk), ds_terms * largest_of(x.q)), largest_of(exact.dv)};
  Errors allowed = largest_errors(run_attention(CpuContext{}, DType::f32, AttentionKind::reference, x), exact);
  constexpr double kRoundings = 8 * 0x1p-24;
  for (size_t n = 0; n < allowed.size(); ++n)
    allowed[n] = (n == 0 ? 2 : 3) * allowed[n] + (n == 0 ? 2 : 1) * kRoundings * largest[n];
  return allowed;
}
// The same against what is exact but for the roundings that tensor cores need. (Unused without CUDA.)
[[maybe_unused]] Errors allowed_errors_in_bf16(const AttentionCase& x, const AttentionResults<double>& exact) {
  Errors allowed = largest_errors(rounded_to_bf16(run_in_double(x, true)), exact);
  for (size_t n = 0; n < allowed.size(); ++n) allowed[n] = (n == 0 ? 2 : 3) * allowed[n] + 1e-5;
  return allowed;
}

void add_errors(RungResult& r, const Errors& errors, const Errors& allowed) {
  for (size_t n = 0; n < errors.size(); ++n) {
    r.error = std::max(r.error, errors[n]);
    r.share = std::max(r.share, errors[n] / allowed[n]);
  }
}

// Times both directions. The fastest run counts: what else runs on the machine can only slow it down.
template <typename AnyContext>
void time_run(RungResult& r, const AnyContext& ctx, const std::function<void()>& forward,
              const std::function<void()>& backward) {
  const auto time = [&](double& ms, const std::function<void()>& call) {
    const int calls = calls_at_a_time(ctx, 1e-3 * ms);  // by the run before
    ms = std::min(ms, 1000.0 / calls * measure_seconds(ctx, [&] {
                        for (int n = 0; n < calls; ++n) call();
                      }));
  };
  time(r.forward_ms, forward);
  time(r.backward_ms, backward);
}

void check_shape(const AttentionShape& shape) {
  GLINT_CHECK(shape.B == 1 && shape.T == shape.S && shape.NH == shape.NKV, "one sequence, as many keys as queries");
}

}  // namespace

std::vector<RungResult> measure_rungs(const AttentionShape& shape, float p, int repeats, uint64_t seed,
                                      const std::function<void(double)>& part_done) {
  check_shape(shape);
  const AttentionCase x = random_attention_case(shape, p, seed);
  double ds_terms = 0;
  const AttentionResults<double> exact = run_in_double(x, false, &ds_terms);
  const Errors allowed = allowed_errors(x, exact, ds_terms);
  const auto rungs = ladder::rungs();
  const double lse_bytes = sizeof(float) * static_cast<double>(shape.NH) * shape.T;
  std::vector<RungResult> results;
  size_t most = 0;
  for (const Rung& rung : rungs) {
    const size_t floats = rung.scratch(shape, p > 0).all(shape);
    results.push_back(
        {rung.name, rung.idea, rung.traffic(shape, p > 0), static_cast<double>(sizeof(float) * floats) + lse_bytes});
    most = std::max(most, floats);
  }
  const CpuContext ctx;
  AttentionOnDevice<float, CpuContext> call(ctx, ctx, x, most);
  for (int turn = 0; turn <= repeats; ++turn) {  // all rungs in turn, so that a slow moment does not hit one alone
    for (size_t n = 0; n < rungs.size(); ++n) {
      part_done(static_cast<double>(turn) / (repeats + 1));
      call.poison_results();
      time_run(
          results[n], ctx, [&] { rungs[n].forward(call.forward()); }, [&] { rungs[n].backward(call.backward()); });
      add_errors(results[n], largest_errors(call.results(), exact), allowed);
    }
  }
  return results;
}

namespace {

template <typename Scalar, typename AnyContext>
RungResult measure_device_rung(const Device& device, const AnyContext& ctx, AttentionCase x, int repeats,
                               const char* name, const char* idea) {
  constexpr bool kBf16 = std::is_same_v<Scalar, Bf16>;
  if (kBf16) x = rounded_to_bf16(std::move(x));
  double ds_terms = 0;
  const AttentionResults<double> exact = run_in_double(x, false, &ds_terms);
  const Errors allowed = kBf16 ? allowed_errors_in_bf16(x, exact) : allowed_errors(x, exact, ds_terms);
  const double array = static_cast<double>(x.q.size() * sizeof(Scalar));
  AttentionOnDevice<Scalar, AnyContext> call(
      device, ctx, x, std::max(attention_forward_scratch(ctx, x.shape), attention_backward_scratch(ctx, x.shape)));
  RungResult r{name, idea, {4 * array, 8 * array}, static_cast<double>(call.bytes_beside())};
  for (int turn = 0; turn <= repeats; ++turn) {
    call.poison_results();
    time_run(
        r, ctx, [&] { attention_forward(ctx, call.forward()); }, [&] { attention_backward(ctx, call.backward()); });
    add_errors(r, largest_errors(call.results(), exact), allowed);
  }
  return r;
}

}  // namespace

std::vector<RungResult> measure_device_rungs(const Device& device, const AttentionShape& shape, float p, int repeats,
                                             uint64_t seed, const std::function<void(double)>& part_done) {
  check_shape(shape);
  const AttentionCase x = random_attention_case(shape, p, seed);
  std::vector<RungResult> results;
  device.visit([&]<typename AnyContext>(const AnyContext& ctx) {
    if constexpr (!std::is_same_v<AnyContext, CpuContext>) {
      const AnyContext sm80 = with_kernels(ctx, AttentionKind::flash_sm80);
      results.push_back(
          measure_device_rung<float>(device, sm80, x, repeats, "fp32", "a lane per key, no tensor cores"));
      part_done(1.0 / 3);
      results.push_back(
          measure_device_rung<Bf16>(device, sm80, x, repeats, "mma.sync", "bf16 on tensor cores (FlashAttention-2)"));
      part_done(2.0 / 3);
      if (uses_hopper_attention(ctx))
        results.push_back(measure_device_rung<Bf16>(device, ctx, x, repeats, "wgmma",
                                                    "Hopper: TMA, warpgroups, products that do not wait"));
    }
  });
  return results;
}

}  // namespace glint
