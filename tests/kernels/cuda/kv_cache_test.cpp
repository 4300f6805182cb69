#include "kernels/kv_cache.h"

#include "kernels/check.h"
#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

// Keys and values as they come, packed (T, 3, heads, HS) behind queries.
template <typename Scalar>
void check(RandomInputs& inputs, const KvCacheShape& shape, int first, size_t offset = 0) {
  INFO("T ", shape.T, ", heads ", shape.heads, ", HS ", shape.HS, ", first ", first, ", bytes ", sizeof(Scalar));
  const size_t row = static_cast<size_t>(shape.heads * shape.HS), T = static_cast<size_t>(shape.T);
  const size_t capacity = static_cast<size_t>(shape.capacity);
  const auto qkv = rounded<Scalar>(inputs.normal(T * 3 * row)),
             before = rounded<Scalar>(inputs.normal(2 * capacity * row));
  auto expected = before;
  for (size_t t = 0; t < T; ++t)
    for (size_t i = 0; i < row; ++i) {
      expected[(static_cast<size_t>(first) + t) * row + i] = qkv[(t * 3 + 1) * row + i];
      expected[(capacity + static_cast<size_t>(first) + t) * row + i] = qkv[(t * 3 + 2) * row + i];
    }
  const Guarded<Scalar> from(qkv, offset), cache(before, offset);
  const auto view = [&](const Scalar* data, size_t part) {
    return HeadView<const Scalar>{data + part * row, 0, static_cast<int64_t>(3 * row), shape.HS};
  };
  kv_cache_append<Scalar>(kCuda, cache.data(), first, view(from.data(), 1), view(from.data(), 2), shape);
  CHECK(cache.values() == expected);

  std::vector<Scalar> host, host_cache;
  for (const float value : qkv) host.push_back(from_float_to<Scalar>(value));
  for (const float value : before) host_cache.push_back(from_float_to<Scalar>(value));
  kv_cache_append<Scalar>(kCpu, host_cache.data(), first, view(host.data(), 1), view(host.data(), 2), shape);
  for (size_t i = 0; i < expected.size(); ++i) CHECK(to_float(host_cache[i]) == expected[i]);
}

}  // namespace

TEST_CASE("cuda kv cache: keys and values land at their positions, no others change, small shapes") {
  RandomInputs inputs(1801);
  INFO("seed ", inputs.seed);
  for (const KvCacheShape& shape : {KvCacheShape{1, 1, 8, 3}, {5, 3, 17, 9}, {1, 12, 64, 4}, {7, 2, 129, 8}}) {
    for (const int first : {0, 1}) {
      check<float>(inputs, shape, first);
      check<Bf16>(inputs, shape, first);
    }
  }
  check<float>(inputs, {3, 2, 16, 4}, 1, 1);
  check<Bf16>(inputs, {3, 2, 16, 4}, 1, 3);
  simt::in_every_order([&] { check<Bf16>(inputs, {3, 2, 24, 4}, 0); });
}

TEST_CASE("cuda kv cache: what does not fit is refused") {
  const Guarded<float> cache(2 * 4 * 8), keys(2 * 8);
  const HeadView<const float> view{keys.data(), 0, 8, 8};
  CHECK_THROWS_AS(kv_cache_append<float>(kCuda, cache.data(), 3, view, view, {2, 1, 8, 4}), Error);
  CHECK_THROWS_AS(kv_cache_append<float>(kCuda, cache.data(), -1, view, view, {2, 1, 8, 4}), Error);
}

}  // namespace glint::test
