#include "src/measure/ladder.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/check.h"
#include "src/device.h"

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
  std::vector<double> rows(ladder::attention_in_double_scratch(x.shape));
  const double ds_terms = ladder::attention_in_double(
      {exact.view(exact.out), exact.view(exact.dq), exact.view(exact.dk), exact.view(exact.dv)}, x.backward(),
      rows.data());
  const std::vector<double> allowed = allowed_ladder_errors(x, exact, ds_terms);
  const auto rungs = ladder::rungs();
  std::vector<RungResult> results;
  size_t most = 0;
  for (const Rung& rung : rungs) {
    const size_t floats = rung.scratch(x.shape, p > 0).all(x.shape);
    results.push_back({rung.traffic(x.shape, p > 0), static_cast<double>(sizeof(float) * (floats + x.lse.size()))});
    most = std::max(most, floats);
  }
  x.scratch.assign(most, 0.0f);
  for (int turn = 0; turn <= repeats; ++turn) {  // all rungs in turn, so that a slow moment does not hit one alone
    for (size_t n = 0; n < rungs.size(); ++n) {
      part_done(static_cast<double>(turn) / (repeats + 1));
      RungResult& r = results[n];
      run_rung(rungs[n], x, r);
      const std::vector<double> errors = ladder_errors(x, exact);
      for (size_t result = 0; result < errors.size(); ++result) {
        r.error = std::max(r.error, errors[result]);
        r.share = std::max(r.share, errors[result] / allowed[result]);
      }
    }
  }
  return results;
}

}  // namespace glint
