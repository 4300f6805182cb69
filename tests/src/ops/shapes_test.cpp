#include <doctest/doctest.h>

#include "src/ops.h"

using namespace glint;

TEST_CASE("ops: packed arrays of another width are refused where they are recorded") {
  Graph g({.device = CpuContext{}});
  const AttentionHeads heads{.query = 2, .key_value = 1};  // 4 heads in all
  const Tensor fits = g.input("fits", {2, 3, 32}, DType::f32), other = g.input("other", {2, 3, 31}, DType::f32);
  CHECK_THROWS_AS(rope(g, other, heads, 10000.0f), Error);
  CHECK_THROWS_AS(qk_norm(g, other, heads, 1e-5f), Error);
  CHECK_THROWS_AS(attention(g, other, heads, 0.0f, AttentionKind::flash), Error);
  CHECK_THROWS_AS(swiglu(g, other), Error);
  rope(g, fits, heads, 10000.0f);
  qk_norm(g, fits, heads, 1e-5f);
  CHECK(attention(g, fits, heads, 0.0f, AttentionKind::flash).shape() == Shape{2, 3, 16});
  CHECK(swiglu(g, fits).shape() == Shape{2, 3, 16});
}
