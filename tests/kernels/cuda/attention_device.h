// A Problem (tests/kernels/attention_oracle.h) in the precision of a CUDA kernel: its arrays as the kernel takes them,
// with the same strides, and what the kernel makes of them.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "tests/kernels/attention_oracle.h"
#include "tests/kernels/cuda/attention_bf16_oracle.h"
#include "tests/kernels/cuda/device_buffer.h"

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
  explicit DeviceArray(const Array& array)
      : strides(array.read()), first(strides.data - array.buffer.data()), buffer(convert(array.buffer)) {}
  HeadView<Scalar> view() { return {at_first(), strides.batch_stride, strides.token_stride, strides.head_stride}; }
  void copy_to(Array& array) const {
    const std::vector<Scalar> values = buffer.to_host();
    for (size_t i = 0; i < values.size(); ++i) array.buffer[i] = to_float(values[i]);
  }
  Scalar* at_first() { return buffer.data() + first; }

  static std::vector<Scalar> convert(const std::vector<float>& values) {
    std::vector<Scalar> converted;
    for (const float value : values) converted.push_back(from_float<Scalar>(value));
    return converted;
  }

  HeadView<const float> strides;  // its data is not used
  std::ptrdiff_t first;
  DeviceBuffer<Scalar> buffer;
};

// The problem's dropout, its RNG state in the device's memory.
class DeviceDropout {
 public:
  explicit DeviceDropout(const Problem& x)
      : state_(std::vector<RngState>{x.rng}), dropout_(x.dropout.p, state_.data(), x.dropout.site) {}
  const Dropout& get() const { return dropout_; }
  void set(const RngState& state) { state_.copy_from(std::span(&state, 1)); }

 private:
  DeviceBuffer<RngState> state_;
  Dropout dropout_;
};

// Each runs a kernel on the problem and puts its results into it. Backward takes `out` and `lse` as they stand: what
// forward wrote.
template <typename Scalar>
void run_forward(Problem& x, const Dropout& dropout) {
  DeviceArray<Scalar> q(x.q), k(x.k), v(x.v), out(x.out);
  DeviceBuffer<float> lse(x.lse);
  attention_forward(CudaContext{}, AttentionForward<Scalar>{.out = out.view(),
                                                            .lse = lse.data(),
                                                            .q = q.view(),
                                                            .k = k.view(),
                                                            .v = v.view(),
                                                            .shape = x.shape,
                                                            .dropout = dropout});
  out.copy_to(x.out);
  x.lse = lse.to_host();
}
template <typename Scalar>
void run_backward(Problem& x, const Dropout& dropout) {
  DeviceArray<Scalar> q(x.q), k(x.k), v(x.v), out(x.out), dout(x.dout), dq(x.dq), dk(x.dk), dv(x.dv);
  DeviceBuffer<float> lse(x.lse);
  DeviceBuffer<float> scratch(attention_backward_scratch(CudaContext{}, x.shape));  // AddressSanitizer sees its end
  attention_backward(CudaContext{}, AttentionBackward<Scalar>{.dq = dq.view(),
                                                              .dk = dk.view(),
                                                              .dv = dv.view(),
                                                              .dout = dout.view(),
                                                              .out = out.view(),
                                                              .lse = lse.data(),
                                                              .q = q.view(),
                                                              .k = k.view(),
                                                              .v = v.view(),
                                                              .scratch = scratch.data(),
                                                              .shape = x.shape,
                                                              .dropout = dropout});
  dq.copy_to(x.dq);
  dk.copy_to(x.dk);
  dv.copy_to(x.dv);
}
template <typename Scalar>
void run_forward(Problem& x) {
  run_forward<Scalar>(x, DeviceDropout(x).get());
}
template <typename Scalar>
void run_backward(Problem& x) {
  run_backward<Scalar>(x, DeviceDropout(x).get());
}
template <typename Scalar>
void run_kernels(Problem& x) {
  const DeviceDropout dropout(x);
  run_forward<Scalar>(x, dropout.get());
  run_backward<Scalar>(x, dropout.get());
}

inline AttentionShape square_shape(int B, int T, int NH, int NKV, int HS, bool causal) {
  return {B, T, T, NH, NKV, HS, causal, 1.0f / std::sqrt(static_cast<float>(HS))};
}

}  // namespace glint::test
