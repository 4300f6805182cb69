#include "kernels/kv_cache.h"

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

// Keys and values as attention gets them, packed (T, query heads + 2 * heads, HS): queries, keys, values.
template <typename Scalar>
void check(RandomInputs& inputs, const Context& ctx, const KvCacheShape& shape, int query_heads, int first,
           size_t offset = 0) {
  INFO("T ", shape.T, ", heads ", shape.heads, ", HS ", shape.HS, ", first ", first, ", bytes ", sizeof(Scalar));
  const size_t row = static_cast<size_t>(shape.heads * shape.HS), T = static_cast<size_t>(shape.T);
  const size_t queries = static_cast<size_t>(query_heads * shape.HS), packed = queries + 2 * row;
  const size_t capacity = static_cast<size_t>(shape.capacity);
  const auto qkv = rounded<Scalar>(inputs.normal(T * packed)), old = rounded<Scalar>(inputs.normal(2 * capacity * row));
  auto expected = old;
  for (size_t t = 0; t < T; ++t)
    for (size_t i = 0; i < row; ++i) {
      expected[(static_cast<size_t>(first) + t) * row + i] = qkv[t * packed + queries + i];
      expected[(capacity + static_cast<size_t>(first) + t) * row + i] = qkv[t * packed + queries + row + i];
    }
  const Guarded<Scalar> from(qkv, offset), cache(old, offset);
  const auto view = [&](size_t at) {
    return HeadView<const Scalar>{from.data() + at, 0, static_cast<int64_t>(packed), shape.HS};
  };
  kv_cache_append<Scalar>(ctx, cache.data(), first, view(queries), view(queries + row), shape);
  CHECK(cache.values() == expected);
}

}  // namespace

TEST_CASE("kv cache: keys and values land at their positions, no others change, small shapes") {
  RandomInputs inputs(1801);
  INFO("seed ", inputs.seed);
  for (const KvCacheShape& shape : {KvCacheShape{1, 1, 8, 3}, {5, 3, 17, 9}, {1, 12, 64, 4}, {7, 2, 129, 8}}) {
    for (const int query_heads : {shape.heads, 2 * shape.heads}) {
      for (const int first : {0, 1}) {
        check<float>(inputs, {}, shape, query_heads, first);
        check<Bf16>(inputs, {}, shape, query_heads, first);
      }
    }
  }
  check<float>(inputs, {}, {3, 2, 16, 4}, 2, 1, 1);
  check<Bf16>(inputs, {}, {3, 2, 16, 4}, 2, 1, 3);
  in_every_order([&](const Context& ctx) { check<Bf16>(inputs, ctx, {3, 2, 24, 4}, 2, 0); });
}

TEST_CASE("kv cache: positions beyond its capacity are refused") {
  const Guarded<float> cache(2 * 4 * 8), keys(2 * 8);
  const HeadView<const float> view{keys.data(), 0, 8, 8};
  for (const int first : {3, -1})
    CHECK_THROWS_AS(kv_cache_append<float>(Context{}, cache.data(), first, view, view, {2, 1, 8, 4}), Error);
}

}  // namespace glint::test
