// Linear layers by cuBLASLt: that the right product is asked for. (Emulated, the library is a stand-in; on a GPU it is
// itself.)
#include "kernels/cuda/matmul.h"
#include "kernels/kv_cache.h"
#include "kernels/linear_gelu.h"
#include "kernels/matmul.h"

#include <memory>

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

struct Blas {
  std::unique_ptr<CudaMatmul, void (*)(CudaMatmul*)> state{make_cuda_matmul(), free_cuda_matmul};
  CudaContext ctx{nullptr, state.get()};
};

// Within the rounding of Scalar and of sums of `terms` products of standard normals.
template <typename Scalar>
void check_close(const char* what, const std::vector<float>& got, const std::vector<float>& expected, int terms) {
  INFO(what);
  const double unit = sizeof(Scalar) == 2 ? 4e-3 : 1.2e-7 * std::sqrt(terms);
  CHECK(worst_error(got, convert<double>(expected)) <= 4.0 * unit * std::max(1.0, largest(convert<double>(expected))));
}

template <typename Scalar>
void check(RandomInputs& inputs, const LinearShape& s, bool with_bias, Write write) {
  INFO("rows ", s.rows, ", in ", s.in, ", out ", s.out, ", tied ", s.layout == WeightLayout::out_in, ", bias ",
       with_bias, ", add ", write == Write::add, ", bytes ", sizeof(Scalar));
  const Blas blas;
  const size_t rows = static_cast<size_t>(s.rows), in = static_cast<size_t>(s.in), out = static_cast<size_t>(s.out);
  const auto x = rounded<Scalar>(inputs.normal(rows * in)), w = rounded<Scalar>(inputs.normal(in * out)),
             bias = rounded<Scalar>(inputs.normal(out)), dout = rounded<Scalar>(inputs.normal(rows * out));
  const float before = write == Write::add ? 0.5f : std::nanf("");
  std::vector<float> y(rows * out), dx(rows * in, before), dw(in * out, before), db(out, before);
  linear_forward(kCpu, y.data(), x.data(), w.data(), with_bias ? bias.data() : nullptr, s);
  linear_backward_input(kCpu, dx.data(), dout.data(), w.data(), s, write);
  linear_backward_weight(kCpu, dw.data(), with_bias ? db.data() : nullptr, x.data(), dout.data(), nullptr, s, write);

  const Guarded<Scalar> gx(x), gw(w), gbias(bias), gdout(dout), gy(y.size()),
      gdx(std::vector<float>(dx.size(), before));
  const Guarded<float> gdw(std::vector<float>(dw.size(), before)), gdb(std::vector<float>(db.size(), before));
  DeviceBuffer<float> scratch(linear_backward_weight_scratch(blas.ctx, s));
  const auto constant = [](const Guarded<Scalar>& array) -> const Scalar* { return array.data(); };
  linear_forward(blas.ctx, gy.data(), constant(gx), constant(gw), with_bias ? constant(gbias) : nullptr, s);
  linear_backward_input(blas.ctx, gdx.data(), constant(gdout), constant(gw), s, write);
  linear_backward_weight(blas.ctx, gdw.data(), with_bias ? gdb.data() : nullptr, constant(gx), constant(gdout),
                         scratch.data(), s, write);
  check_close<Scalar>("out", gy.values(), y, s.in);
  check_close<Scalar>("dx", gdx.values(), dx, s.out);
  check_close<float>("dweight", gdw.values(), dw, s.rows);
  if (with_bias) check_close<float>("dbias", gdb.values(), db, s.rows);
}

template <typename Scalar>
void check_gelu(RandomInputs& inputs, const LinearShape& s, Gelu kind, bool with_bias) {
  INFO("rows ", s.rows, ", in ", s.in, ", out ", s.out, ", tanh ", kind == Gelu::tanh, ", bias ", with_bias, ", bytes ",
       sizeof(Scalar));
  const Blas blas;
  const size_t rows = static_cast<size_t>(s.rows), in = static_cast<size_t>(s.in), out = static_cast<size_t>(s.out);
  const auto x = rounded<Scalar>(inputs.normal(rows * in)), w = rounded<Scalar>(inputs.normal(in * out, 0.3f)),
             bias = rounded<Scalar>(inputs.normal(out)), dout = rounded<Scalar>(inputs.normal(rows * out));
  std::vector<float> y(rows * out), pre(rows * out), dpre(rows * in);
  linear_gelu_forward(kCpu, y.data(), pre.data(), x.data(), w.data(), with_bias ? bias.data() : nullptr, s, kind);
  linear_gelu_backward_input(kCpu, dpre.data(), dout.data(), w.data(), x.data(), s, kind);

  const Guarded<Scalar> gx(x), gw(w), gbias(bias), gdout(dout), gy(y.size()), gpre(pre.size()), gdpre(dpre.size());
  const auto constant = [](const Guarded<Scalar>& array) -> const Scalar* { return array.data(); };
  linear_gelu_forward(blas.ctx, gy.data(), gpre.data(), constant(gx), constant(gw),
                      with_bias ? constant(gbias) : nullptr, s, kind);
  linear_gelu_backward_input(blas.ctx, gdpre.data(), constant(gdout), constant(gw), constant(gx), s, kind);
  check_close<Scalar>("out", gy.values(), y, s.in);
  check_close<Scalar>("pre", gpre.values(), pre, s.in);
  check_close<Scalar>("dpre", gdpre.values(), dpre, s.out);
}

}  // namespace

TEST_CASE("cuda linear layers are the CPU's, small shapes") {
  RandomInputs inputs(2501);
  INFO("seed ", inputs.seed);
  for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
    for (const Write write : {Write::set, Write::add}) {
      for (const LinearShape& shape : {LinearShape{5, 8, 24, layout}, {1, 16, 8, layout}, {17, 24, 65, layout}}) {
        check<float>(inputs, shape, write == Write::set, write);
        check<Bf16>(inputs, shape, true, write);
      }
    }
  }
}

TEST_CASE("cuda linear layers with a GELU are the CPU's, fused or not, small shapes") {
  RandomInputs inputs(2502);
  INFO("seed ", inputs.seed);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    for (const LinearShape& shape : {LinearShape{6, 16, 40}, {3, 8, 7}}) {
      check_gelu<float>(inputs, shape, kind, true);
      check_gelu<Bf16>(inputs, shape, kind, shape.out == 40);
    }
  }
}

TEST_CASE("cuda KV cache: keys and values go to their places, small shapes") {
  RandomInputs inputs(2503);
  INFO("seed ", inputs.seed);
  const KvCacheShape shape{3, 2, 8, 7};                      // T, heads, HS, capacity
  const auto packed = rounded<Bf16>(inputs.normal(3 * 48));  // (T, 2 query, 2 key and 2 value heads, HS)
  const Guarded<Bf16> source(packed), cache(std::vector<float>(2 * 7 * 16, -1.0f));
  const HeadView<const Bf16> k{source.data() + 16, 0, 48, 8}, v{source.data() + 32, 0, 48, 8};
  kv_cache_append(kCuda, cache.data(), 4, k, v, shape);
  const auto got = cache.values();
  for (size_t i = 0; i < got.size(); ++i) {
    const size_t place = i / 16 % 7, at = (place - 4) * 48 + 16 + (i >= 7 * 16 ? 16 : 0) + i % 16;
    CHECK(got[i] == (place < 4 ? -1.0f : packed[at]));
  }
  CHECK_THROWS_AS(kv_cache_append(kCuda, cache.data(), 5, k, v, shape), Error);
}

}  // namespace glint::test
