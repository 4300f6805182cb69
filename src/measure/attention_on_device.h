// One call of attention, forward and backward, in the memory of a device: the inputs of a case, results and scratch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/attention.h"
#include "src/device.h"
#include "src/measure/attention_error.h"
#include "src/memory.h"

namespace glint {

// Contiguous arrays, (B, T, NH, HS) and (B, S, NKV, HS).
template <typename Scalar>
HeadView<Scalar> query_view(Scalar* data, const AttentionShape& s) {
  const int64_t row = int64_t{s.NH} * s.HS;
  return {data, s.T * row, row, s.HS};
}
template <typename Scalar>
HeadView<Scalar> key_view(Scalar* data, const AttentionShape& s) {
  const int64_t row = int64_t{s.NKV} * s.HS;
  return {data, s.S * row, row, s.HS};
}

template <typename Scalar, typename AnyContext>
class AttentionOnDevice {
 public:
  // Inputs are rounded to Scalar. ctx must outlive it.
  AttentionOnDevice(const Device& device, const AnyContext& ctx, const AttentionCase& x, size_t scratch_floats)
      : ctx_(ctx),
        shape_(x.shape),
        p_(x.p),
        q_(upload(device, x.q)),
        k_(upload(device, x.k)),
        v_(upload(device, x.v)),
        dout_(upload(device, x.dout)),
        out_(q_.bytes(), "attention", device),
        dq_(q_.bytes(), "attention", device),
        dk_(k_.bytes(), "attention", device),
        dv_(k_.bytes(), "attention", device),
        lse_(static_cast<size_t>(shape_.B) * shape_.NH * shape_.T * sizeof(float), "attention", device),
        scratch_(scratch_floats * sizeof(float), "attention", device),
        rng_(sizeof(RngState), "attention", device) {
    copy_to_device(ctx_, rng_.data(), &x.rng, sizeof x.rng);
  }

  AttentionForward<Scalar> forward() const {
    return {.out = query_view(at(out_), shape_),
            .lse = lse_.f32(),
            .q = query_view(at(q_), shape_),
            .k = key_view(at(k_), shape_),
            .v = key_view(at(v_), shape_),
            .scratch = scratch_.f32(),
            .shape = shape_,
            .dropout = dropout()};
  }
  AttentionBackward<Scalar> backward() const {
    return {.dq = query_view(at(dq_), shape_),
            .dk = key_view(at(dk_), shape_),
            .dv = key_view(at(dv_), shape_),
            .dout = query_view(at(dout_), shape_),
            .out = query_view(at(out_), shape_),
            .lse = lse_.f32(),
            .q = query_view(at(q_), shape_),
            .k = key_view(at(k_), shape_),
            .v = key_view(at(v_), shape_),
            .scratch = scratch_.f32(),
            .shape = shape_,
            .dropout = dropout()};
  }
  AttentionResults<float> results() const { return {download(out_), download(dq_), download(dk_), download(dv_)}; }
  size_t bytes_beside() const { return lse_.bytes() + scratch_.bytes(); }  // beside inputs and results

  // Sets all results to NaN, so that what a call does not write shows.
  void poison_results() {
    for (const DeviceMemory* memory : {&out_, &dq_, &dk_, &dv_}) poison<Scalar>(*memory);
    poison<float>(lse_);
  }

 private:
  static Scalar* at(const DeviceMemory& memory) { return static_cast<Scalar*>(memory.data()); }
  Dropout dropout() const { return {p_, static_cast<const RngState*>(rng_.data()), 0}; }

  DeviceMemory upload(const Device& device, const std::vector<float>& values) const {
    DeviceMemory memory(values.size() * sizeof(Scalar), "attention", device);
    std::vector<Scalar> host(values.size());
    std::transform(values.begin(), values.end(), host.begin(), from_float<Scalar>);
    copy_to_device(ctx_, memory.data(), host.data(), memory.bytes());
    return memory;
  }
  std::vector<float> download(const DeviceMemory& memory) const {
    std::vector<Scalar> host(memory.bytes() / sizeof(Scalar));
    copy_to_host(ctx_, host.data(), memory.data(), memory.bytes());
    std::vector<float> values(host.size());
    std::transform(host.begin(), host.end(), values.begin(), [](Scalar value) { return to_float(value); });
    return values;
  }
  template <typename Element>
  void poison(const DeviceMemory& memory) const {
    const std::vector<Element> host(memory.bytes() / sizeof(Element), from_float<Element>(__builtin_nanf("")));
    copy_to_device(ctx_, memory.data(), host.data(), memory.bytes());
  }

  const AnyContext& ctx_;
  AttentionShape shape_;
  float p_;
  DeviceMemory q_, k_, v_, dout_, out_, dq_, dk_, dv_, lse_, scratch_, rng_;
};

}  // namespace glint
