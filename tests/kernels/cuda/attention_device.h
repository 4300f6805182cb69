// A Problem (tests/kernels/attention_oracle.h) in the precision of a CUDA kernel: its arrays as the kernel takes them,
// with the same strides, and what the kernel makes of them. Host memory is the device's here: the kernels are emulated.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "tests/kernels/attention_oracle.h"
#include "tests/kernels/cuda/attention_bf16_oracle.h"

namespace glint::test {

template <typename Scalar>
Scalar from_float(float value) {
  if constexpr (sizeof(Scalar) == 2) return std::bit_cast<Scalar>(bf16_bits(value));
  else return value;
}
template <typename Scalar>
float to_float(Scalar value) {
  if constexpr (sizeof(Scalar) == 2) return bf16_value(std::bit_cast<uint16_t>(value));
  else return value;
}

// One array of the problem, element by element, gaps and all; they are NaN, so that what reads or skips them shows.
template <typename Scalar>
struct DeviceArray {
  explicit DeviceArray(const Array& array) : strides(array.read()), first(strides.data - array.buffer.data()) {
    for (const float value : array.buffer) buffer.push_back(from_float<Scalar>(value));
  }
  HeadView<Scalar> view() { return {at_first(), strides.batch_stride, strides.token_stride, strides.head_stride}; }
  HeadView<const Scalar> read() {
    return {at_first(), strides.batch_stride, strides.token_stride, strides.head_stride};
  }
  void copy_to(Array& array) const {
    for (size_t i = 0; i < buffer.size(); ++i) array.buffer[i] = to_float(buffer[i]);
  }
  Scalar* at_first() { return buffer.data() + first; }

  HeadView<const float> strides;  // its data is not used
  std::ptrdiff_t first;
  std::vector<Scalar> buffer;
};

// Each runs a kernel on the problem and puts its results into it. Backward takes `out` and `lse` as they stand: what
// forward wrote.
template <typename Scalar>
void run_forward(Problem& x, const Dropout& dropout) {
  DeviceArray<Scalar> q(x.q), k(x.k), v(x.v), out(x.out);
  attention_forward(CudaContext{}, out.view(), x.lse.data(), q.read(), k.read(), v.read(), x.shape, dropout);
  out.copy_to(x.out);
}
template <typename Scalar>
void run_backward(Problem& x, const Dropout& dropout) {
  DeviceArray<Scalar> q(x.q), k(x.k), v(x.v), out(x.out), dout(x.dout), dq(x.dq), dk(x.dk), dv(x.dv);
  std::vector<float> scratch(attention_backward_scratch(CudaContext{}, x.shape));  // AddressSanitizer sees its end
  attention_backward(CudaContext{}, dq.view(), dk.view(), dv.view(), dout.read(), out.read(), x.lse.data(), q.read(),
                     k.read(), v.read(), scratch.data(), x.shape, dropout);
  dq.copy_to(x.dq);
  dk.copy_to(x.dk);
  dv.copy_to(x.dv);
}
template <typename Scalar>
void run_kernels(Problem& x) {
  run_forward<Scalar>(x, x.dropout_now());
  run_backward<Scalar>(x, x.dropout_now());
}

inline AttentionShape square_shape(int B, int T, int NH, int NKV, int HS, bool causal) {
  return {B, T, T, NH, NKV, HS, causal, 1.0f / std::sqrt(static_cast<float>(HS))};
}

}  // namespace glint::test
