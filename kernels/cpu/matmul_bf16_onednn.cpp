// bf16 products with oneDNN's matmul primitive, which uses the CPU's bf16 instructions. oneDNN caches primitives by
// shape.
#include <dnnl.hpp>
#include <unordered_map>

#include "kernels/check.h"
#include "kernels/cpu/onednn_threads.h"
#include "kernels/cpu/product.h"

namespace glint {
namespace {

using Memory = dnnl::memory;

template <typename Scalar>
constexpr Memory::data_type kType = Memory::data_type::f32;
template <>
constexpr Memory::data_type kType<Bf16> = Memory::data_type::bf16;

// A (rows, columns) matrix; transposed: stored as (columns, rows).
template <typename Scalar>
Memory matrix(const dnnl::engine& engine, const Scalar* data, int64_t rows, int64_t columns, bool transposed) {
  const Memory::dims strides = transposed ? Memory::dims{1, rows} : Memory::dims{columns, 1};
  return Memory({{rows, columns}, kType<Scalar>, strides}, engine,
                const_cast<Scalar*>(data));  // oneDNN only reads inputs
}

}  // namespace

bool cpu_multiplies_bf16() {
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
}

template <typename Scalar, typename Result>
void multiply_primitive(const CpuContext& ctx, const ProductOf<Scalar, Result>& p, const Scalar* bias) {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  try {
    const ThreadCount threads(ctx.threads);
    const Memory a = matrix(engine, p.a.data, p.M, p.K, p.a.transposed),
                 b = matrix(engine, p.b.data, p.K, p.N, p.b.transposed), c = matrix(engine, p.c, p.M, p.N, false);
    dnnl::primitive_attr attributes;
    if (p.write == Write::add) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    const Memory added = bias ? matrix(engine, bias, 1, p.N, false) : Memory();
    const auto description = bias ? dnnl::matmul::desc(a.get_desc(), b.get_desc(), added.get_desc(), c.get_desc())
                                  : dnnl::matmul::desc(a.get_desc(), b.get_desc(), c.get_desc());
    std::unordered_map<int, Memory> arguments = {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}};
    if (bias) arguments.emplace(DNNL_ARG_BIAS, added);
    dnnl::stream stream(engine);
    dnnl::matmul({description, attributes, engine}).execute(stream, arguments);
    stream.wait();
  } catch (const dnnl::error& error) {
    throw Error(str_cat("oneDNN says ", error.what(), " to a product of ", p.M, " x ", p.K, " x ", p.N));
  }
}

template void multiply_primitive(const CpuContext&, const ProductOf<float, float>&, const float*);
template void multiply_primitive(const CpuContext&, const ProductOf<Bf16, float>&, const Bf16*);
template void multiply_primitive(const CpuContext&, const ProductOf<Bf16, Bf16>&, const Bf16*);

}  // namespace glint
