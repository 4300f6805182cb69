#include "src/measure/ladder.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <type_traits>
#include <utility>

#include "kernels/check.h"
#include "src/device.h"
#include "src/memory.h"
#include "src/ops.h"

namespace glint {

namespace {

using ladder::Rung;

// Arrays (T, NH, HS) of one sequence.
template <typename Real>
struct LadderResults {
  explicit LadderResults(const AttentionShape& s)
      : shape(s), out(static_cast<size_t>(s.T) * s.NH * s.HS), dq(out), dk(out), dv(out) {}
  template <typename T>
  HeadView<T> view(std::vector<T>& array) const {
    return {array.data(), 0, int64_t{shape.NH} * shape.HS, shape.HS};
  }

  AttentionShape shape;
  std::vector<Real> out, dq, dk, dv;
};

// One problem, and what a rung makes of it.
struct LadderProblem : LadderResults<float> {
  LadderProblem(const AttentionShape& s, float p, uint64_t seed)
      : LadderResults(s), q(out), k(out), v(out), dout(out), rng{.seed = seed} {
    std::mt19937_64 engine(seed);
    std::normal_distribution<float> normal;
    for (auto* array : {&q, &k, &v, &dout}) {
      for (float& value : *array) value = normal(engine);
    }
    lse.resize(static_cast<size_t>(s.T) * s.NH);
    dropout = Dropout(p, &rng, 0);
  }
  AttentionForward<float> forward() {
    return {view(out), lse.data(), view(q), view(k), view(v), scratch.data(), shape, dropout};
  }
  AttentionBackward<float> backward() {
    return {view(dq), view(dk), view(dv), view(dout),     view(out), lse.data(),
            view(q),  view(k),  view(v),  scratch.data(), shape,     dropout};
  }

  std::vector<float> q, k, v, dout, lse, scratch;
  RngState rng;
  Dropout dropout;
};

// The largest differences from double of out, dq, dk, dv.
std::vector<double> ladder_errors(const LadderResults<float>& got, const LadderResults<double>& exact) {
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
std::vector<double> allowed_ladder_errors(LadderProblem& x, const LadderResults<double>& exact, double ds_terms) {
  const CpuContext ctx;
  x.scratch.assign(reference_attention_scratch(ctx, x.shape), 0.0f);
  reference_attention_forward(ctx, x.forward());
  reference_attention_backward(ctx, x.backward());
  const double largest[] = {largest_of(exact.out), std::max(largest_of(exact.dq), ds_terms * largest_of(x.k)),
                            std::max(largest_of(exact.dk), ds_terms * largest_of(x.q)), largest_of(exact.dv)};
  std::vector<double> allowed = ladder_errors(x, exact);
  constexpr double kRoundings = 8 * 0x1p-24;
  for (size_t n = 0; n < allowed.size(); ++n)
    allowed[n] = (n == 0 ? 2 : 3) * allowed[n] + (n == 0 ? 2 : 1) * kRoundings * largest[n];
  return allowed;
}

double compute_in_double(LadderResults<double>& r, LadderProblem& x, bool bf16_elements = false) {
  std::vector<double> rows(ladder::attention_in_double_scratch(x.shape));
  return ladder::attention_in_double({r.view(r.out), r.view(r.dq), r.view(r.dk), r.view(r.dv)}, x.backward(),
                                     rows.data(), bf16_elements);
}

void add_errors(RungResult& r, const std::vector<double>& errors, const std::vector<double>& allowed) {
  for (size_t n = 0; n < errors.size(); ++n) {
    r.error = std::max(r.error, errors[n]);
    r.share = std::max(r.share, errors[n] / allowed[n]);
  }
}

// Forward and backward once. Of one thread, the fastest run counts: what else runs on the machine can only slow it
// down.
void run_rung(const Rung& rung, LadderProblem& x, RungResult& r) {
  for (auto* array : {&x.out, &x.dq, &x.dk, &x.dv, &x.lse}) std::fill(array->begin(), array->end(), NAN);
  const double forward = measure_seconds(CpuContext{}, [&] { rung.forward(x.forward()); }),
               backward = measure_seconds(CpuContext{}, [&] { rung.backward(x.backward()); });
  r.forward_ms = std::min(r.forward_ms, 1000 * forward);
  r.backward_ms = std::min(r.backward_ms, 1000 * backward);
}

}  // namespace

std::vector<RungResult> measure_rungs(const AttentionShape& shape, float p, int repeats, uint64_t seed,
                                      const std::function<void(double)>& part_done) {
  GLINT_CHECK(shape.B == 1 && shape.T == shape.S && shape.NH == shape.NKV, "one sequence, as many keys as queries");
  LadderProblem x(shape, p, seed);
  LadderResults<double> exact(x.shape);
  const double ds_terms = compute_in_double(exact, x);
  const std::vector<double> allowed = allowed_ladder_errors(x, exact, ds_terms);
  const auto rungs = ladder::rungs();
  std::vector<RungResult> results;
  size_t most = 0;
  for (const Rung& rung : rungs) {
    const size_t floats = rung.scratch(x.shape, p > 0).all(x.shape);
    results.push_back({rung.name, rung.idea, rung.traffic(x.shape, p > 0),
                       static_cast<double>(sizeof(float) * (floats + x.lse.size()))});
    most = std::max(most, floats);
  }
  x.scratch.assign(most, 0.0f);
  for (int turn = 0; turn <= repeats; ++turn) {  // all rungs in turn, so that a slow moment does not hit one alone
    for (size_t n = 0; n < rungs.size(); ++n) {
      part_done(static_cast<double>(turn) / (repeats + 1));
      RungResult& r = results[n];
      run_rung(rungs[n], x, r);
      add_errors(r, ladder_errors(x, exact), allowed);
    }
  }
  return results;
}

namespace {

template <typename Scalar>
Scalar narrowed(float value) {
  if constexpr (std::is_same_v<Scalar, Bf16>) return to_bf16(value);
  else return value;
}
template <typename Scalar>
void round_all(std::vector<float>& array) {
  for (float& value : array) value = to_float(narrowed<Scalar>(value));
}

// The problem in the memory of a device.
template <typename Scalar, typename AnyContext>
class ProblemOnDevice {
 public:
  ProblemOnDevice(const Device& device, const AnyContext& ctx, const LadderProblem& x)
      : ctx_(ctx),
        x_(x),
        scratch_floats_(std::max(attention_forward_scratch(ctx, x.shape), attention_backward_scratch(ctx, x.shape))) {
    constexpr size_t kGap = 256;  // each array begins at a multiple of it
    const size_t n = x.q.size();
    memory_ = DeviceMemory(8 * n * sizeof(Scalar) + (x.lse.size() + scratch_floats_) * sizeof(float) + 12 * kGap,
                           "the ladder", device);
    char* next = static_cast<char*>(memory_.data());
    const auto take = [&]<typename T>(T*& array, size_t count) {
      array = reinterpret_cast<T*>(next);
      next += (count * sizeof(T) + kGap - 1) / kGap * kGap;
    };
    for (Scalar*& array : arrays_) take(array, n);
    take(lse_, x.lse.size()), take(scratch_, scratch_floats_), take(rng_, 1);
    copy_to_device(ctx, rng_, &x.rng, sizeof x.rng);
    for (const auto& [array, values] : {std::pair(kQ, &x.q), {kK, &x.k}, {kV, &x.v}, {kDout, &x.dout}}) {
      std::vector<Scalar> host(n);
      for (size_t i = 0; i < n; ++i) host[i] = narrowed<Scalar>((*values)[i]);
      copy_to_device(ctx, arrays_[array], host.data(), n * sizeof(Scalar));
    }
  }
  size_t memory_beside() const { return (scratch_floats_ + x_.lse.size()) * sizeof(float); }

  void run(RungResult& r) {
    const Dropout dropout(x_.dropout.p, rng_, 0);
    const AttentionForward<Scalar> forward{view(kOut), lse_, view(kQ), view(kK), view(kV), scratch_, x_.shape, dropout};
    const AttentionBackward<Scalar> backward{view(kDq), view(kDk), view(kDv), view(kDout), view(kOut), lse_,
                                             view(kQ),  view(kK),  view(kV),  scratch_,    x_.shape,   dropout};
    r.forward_ms = std::min(r.forward_ms, 1000 * measure_seconds(ctx_, [&] { attention_forward(ctx_, forward); }));
    r.backward_ms = std::min(r.backward_ms, 1000 * measure_seconds(ctx_, [&] { attention_backward(ctx_, backward); }));
  }
  LadderResults<float> results() const {
    LadderResults<float> results(x_.shape);
    for (const auto& [array, values] :
         {std::pair(kOut, &results.out), {kDq, &results.dq}, {kDk, &results.dk}, {kDv, &results.dv}}) {
      std::vector<Scalar> host(values->size());
      copy_to_host(ctx_, host.data(), arrays_[array], host.size() * sizeof(Scalar));
      for (size_t i = 0; i < host.size(); ++i) (*values)[i] = to_float(host[i]);
    }
    return results;
  }

 private:
  enum Array { kQ, kK, kV, kOut, kDout, kDq, kDk, kDv, kArrays };
  HeadView<Scalar> view(Array array) const {
    return {arrays_[array], 0, int64_t{x_.shape.NH} * x_.shape.HS, x_.shape.HS};
  }

  const AnyContext& ctx_;
  const LadderProblem& x_;
  size_t scratch_floats_;
  DeviceMemory memory_;
  Scalar* arrays_[kArrays];
  float *lse_, *scratch_;
  RngState* rng_;
};

template <typename Scalar, typename AnyContext>
RungResult measure_device_rung(const Device& device, const AnyContext& ctx, LadderProblem x, int repeats,
                               const char* name, const char* idea) {
  x.dropout = Dropout(x.dropout.p, &x.rng, 0);  // the copy's own state
  constexpr bool kBf16 = std::is_same_v<Scalar, Bf16>;
  for (auto* array : {&x.q, &x.k, &x.v, &x.dout}) round_all<Scalar>(*array);
  LadderResults<double> exact(x.shape);
  const double ds_terms = compute_in_double(exact, x);
  std::vector<double> allowed;
  if constexpr (kBf16) {  // as below, against what is exact but for the roundings that tensor cores need
    LadderResults<double> plain(x.shape);
    compute_in_double(plain, x, true);
    LadderResults<float> rounded(x.shape);
    const auto round = [](const std::vector<double>& from, std::vector<float>& to) {
      for (size_t i = 0; i < from.size(); ++i) to[i] = to_float(narrowed<Scalar>(static_cast<float>(from[i])));
    };
    round(plain.out, rounded.out), round(plain.dq, rounded.dq), round(plain.dk, rounded.dk),
        round(plain.dv, rounded.dv);
    allowed = ladder_errors(rounded, exact);
    for (size_t n = 0; n < allowed.size(); ++n) allowed[n] = (n == 0 ? 2 : 3) * allowed[n] + 1e-5;
  } else {
    allowed = allowed_ladder_errors(x, exact, ds_terms);
  }
  const double array = static_cast<double>(x.q.size() * sizeof(Scalar));
  ProblemOnDevice<Scalar, AnyContext> problem(device, ctx, x);
  RungResult r{name, idea, {4 * array, 8 * array}, static_cast<double>(problem.memory_beside())};
  for (int turn = 0; turn <= repeats; ++turn) {
    problem.run(r);
    add_errors(r, ladder_errors(problem.results(), exact), allowed);
  }
  return r;
}

}  // namespace

std::vector<RungResult> measure_device_rungs(const Device& device, const AttentionShape& shape, float p, int repeats,
                                             uint64_t seed, const std::function<void(double)>& part_done) {
  GLINT_CHECK(shape.B == 1 && shape.T == shape.S && shape.NH == shape.NKV, "one sequence, as many keys as queries");
  const LadderProblem x(shape, p, seed);
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
