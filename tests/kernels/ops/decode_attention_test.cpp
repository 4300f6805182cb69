#include "kernels/decode_attention.h"

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

// A decoding step on random values: B sequences at one position.
template <typename Scalar>
struct Step {
  AttentionShape shape;
  int capacity, position;
  std::vector<float> qkv, cache;  // (B, (NH + 2 NKV) * HS), (B, 2, capacity, NKV * HS)

  Step(RandomInputs& inputs, const AttentionShape& s, int of_cache, int at)
      : shape(s),
        capacity(of_cache),
        position(at),
        qkv(rounded<Scalar>(inputs.normal(static_cast<size_t>(s.B) * width(), 2.0f))),
        cache(rounded<Scalar>(inputs.normal(static_cast<size_t>(s.B) * of_sequence()))) {}

  size_t row() const { return static_cast<size_t>(shape.NKV * shape.HS); }
  size_t width() const { return static_cast<size_t>(shape.NH * shape.HS) + 2 * row(); }
  size_t of_sequence() const { return 2 * static_cast<size_t>(capacity) * row(); }
  Step alone(int b) const {
    Step one = *this;
    one.shape.B = 1;
    const auto part = [&](const std::vector<float>& all, size_t n) {
      const auto begin = all.begin() + static_cast<int64_t>(n) * b;
      return std::vector<float>(begin, begin + static_cast<int64_t>(n));
    };
    one.qkv = part(qkv, width()), one.cache = part(cache, of_sequence());
    return one;
  }

  struct Result {
    std::vector<float> out, cache;
  };
  Result run(const Context& ctx) const {
    const size_t n = static_cast<size_t>(shape.B * shape.NH * shape.HS);
    const Guarded<Scalar> from(qkv), memory(cache), out(n);
    const Guarded<float> scratch(decode_attention_scratch(ctx, shape, capacity));
    const OnDevice<int> place(position);
    const auto view = [&](int head) {
      const auto stride = static_cast<int64_t>(width());
      return HeadView<const Scalar>{from.data() + head * shape.HS, stride, stride, shape.HS};
    };
    const int64_t of_out = shape.NH * shape.HS;
    decode_attention(ctx, DecodeAttention<Scalar>{.out = {out.data(), of_out, of_out, shape.HS},
                                                  .q = view(0),
                                                  .k = view(shape.NH),
                                                  .v = view(shape.NH + shape.NKV),
                                                  .cache = memory.data(),
                                                  .position = place.data(),
                                                  .scratch = scratch.data(),
                                                  .shape = shape,
                                                  .capacity = capacity});
    scratch.values();
    return {out.values(), memory.values()};
  }

  std::vector<float> expected_cache() const {
    std::vector<float> expected = cache;
    for (size_t b = 0; b < static_cast<size_t>(shape.B); ++b)
      for (size_t kind = 0; kind < 2; ++kind)
        for (size_t i = 0; i < row(); ++i)
          expected[b * of_sequence() + (kind * static_cast<size_t>(capacity) + static_cast<size_t>(position)) * row() +
                   i] = qkv[b * width() + static_cast<size_t>(shape.NH * shape.HS) + kind * row() + i];
    return expected;
  }
  // From the definition, in double.
  std::vector<double> expected() const {
    const auto all = expected_cache();
    std::vector<double> out;
    for (int b = 0; b < shape.B; ++b)
      for (int h = 0; h < shape.NH; ++h) {
        const float* q = qkv.data() + static_cast<size_t>(b) * width() + h * shape.HS;
        const float* k = all.data() + static_cast<size_t>(b) * of_sequence() + h / (shape.NH / shape.NKV) * shape.HS;
        const float* v = k + static_cast<size_t>(capacity) * row();
        double total = 0;
        std::vector<double> sums(static_cast<size_t>(shape.HS));
        for (size_t j = 0; j <= static_cast<size_t>(position); ++j) {
          double score = 0;
          for (int c = 0; c < shape.HS; ++c) score += static_cast<double>(q[c]) * k[j * row() + static_cast<size_t>(c)];
          const double p = std::exp(score * shape.scale);
          total += p;
          for (size_t c = 0; c < sums.size(); ++c) sums[c] += p * v[j * row() + c];
        }
        for (const double sum : sums) out.push_back(sum / total);
      }
    return out;
  }
};

template <typename Scalar>
void check(RandomInputs& inputs, const AttentionShape& shape, int capacity, int position) {
  INFO("B ", shape.B, ", NH ", shape.NH, ", NKV ", shape.NKV, ", HS ", shape.HS, ", position ", position, " of ",
       capacity, ", bytes ", sizeof(Scalar));
  const Step<Scalar> step(inputs, shape, capacity, position);
  const auto got = step.run({});
  CHECK(got.cache == step.expected_cache());
  const auto expected = step.expected();
  const double tolerance = sizeof(Scalar) == 2 ? 1.0 / 256 : 4e-6;  // of values of about 1
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(got.out[i]) - expected[i]) / (1 + std::abs(expected[i])));
  CHECK(worst <= tolerance);
  std::vector<float> alone;
  for (int b = 0; b < shape.B; ++b) {
    const auto one = step.alone(b).run({}).out;
    alone.insert(alone.end(), one.begin(), one.end());
  }
  CHECK(got.out == alone);
}

AttentionShape shape_of(int B, int NH, int NKV, int HS) {
  return {.B = B, .T = 1, .S = 1, .NH = NH, .NKV = NKV, .HS = HS, .scale = 1.0f / std::sqrt(static_cast<float>(HS))};
}

}  // namespace

TEST_CASE("decode attention: the definition, and the same bits for a sequence alone, small shapes") {
  RandomInputs inputs(1609);
  INFO("seed ", inputs.seed);
  for (const int HS : {8, 24, 64, 128}) {
    const AttentionShape shape = shape_of(2, 4, HS == 24 ? 1 : 2, HS);
    for (const int position : {0, 5, 40}) {
      check<float>(inputs, shape, 41, position);
      check<Bf16>(inputs, shape, 41, position);
    }
  }
}

TEST_CASE("decode attention: caches that are split among blocks") {
  RandomInputs inputs(1610);
  INFO("seed ", inputs.seed);
  for (const int position : {3, 1023, 1024, 2110}) {
    check<float>(inputs, shape_of(1, 2, 1, 32), 2112, position);
    check<Bf16>(inputs, shape_of(2, 2, 2, 16), 2112, position);
  }
  const Step<Bf16> step(inputs, shape_of(1, 2, 1, 32), 1100, 1090);
  const auto once = step.run({}).out;
  in_every_order([&](const Context& ctx) { CHECK(step.run(ctx).out == once); });
}

}  // namespace glint::test
