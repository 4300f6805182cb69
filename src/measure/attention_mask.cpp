#include "src/measure/attention_mask.h"

#include <algorithm>
#include <vector>

#include "kernels/attention.h"
#include "kernels/check.h"
#include "src/memory.h"

namespace glint {

namespace {

constexpr int kColumns = 128;  // channels of the head = columns of the mask per run

template <typename Scalar, typename Context>
void draw(const Device& device, const Context& ctx, const AttentionMask& mask,
          const std::function<void(int64_t, int64_t)>& kept) {
  const int T = static_cast<int>(std::max(mask.rows, mask.cols));
  const size_t elements = static_cast<size_t>(T) * kColumns, bytes = elements * sizeof(Scalar);
  const AttentionShape shape{1, T, T, 1, 1, kColumns, false, 1.0f};
  constexpr size_t kState = 256;
  const size_t scratch_bytes = attention_forward_scratch(ctx, shape) * sizeof(float);
  const DeviceMemory memory(3 * bytes + kState + scratch_bytes, "the mask", device);  // zeroed
  char* const base = static_cast<char*>(memory.data());
  Scalar *v = reinterpret_cast<Scalar*>(base), *out = reinterpret_cast<Scalar*>(base + bytes);
  const auto* zero = reinterpret_cast<const Scalar*>(base + 2 * bytes);
  auto* rng = reinterpret_cast<RngState*>(base + 3 * bytes);
  float* scratch = scratch_bytes ? reinterpret_cast<float*>(base + 3 * bytes + kState) : nullptr;
  copy_to_device(ctx, rng, &mask.rng, sizeof mask.rng);

  const HeadView<const Scalar> zeros{zero, 0, kColumns, 0}, values{v, 0, kColumns, 0};
  const Dropout dropout(mask.p, rng, 0);
  std::vector<Scalar> host(elements);
  for (int64_t first = 0; first < mask.cols; first += kColumns) {
    const int64_t columns = std::min<int64_t>(kColumns, mask.cols - first);
    std::fill(host.begin(), host.end(), Scalar{});
    for (int64_t c = 0; c < columns; ++c)
      host[static_cast<size_t>((first + c) * kColumns + c)] = from_float<Scalar>(1.0f);
    copy_to_device(ctx, v, host.data(), bytes);
    attention_forward(ctx, AttentionForward<Scalar>{.out = {out, 0, kColumns, 0},
                                                    .q = zeros,
                                                    .k = zeros,
                                                    .v = values,
                                                    .scratch = scratch,
                                                    .shape = shape,
                                                    .dropout = dropout});
    copy_to_host(ctx, host.data(), out, bytes);
    for (int64_t i = 0; i < mask.rows; ++i) {
      for (int64_t c = 0; c < columns; ++c) {
        if (to_float(host[static_cast<size_t>(i * kColumns + c)]) != 0.0f) kept(i, first + c);
      }
    }
  }
}

}  // namespace

void draw_by_kernel(const Device& device, DType dtype, AttentionKind kind, const AttentionMask& mask,
                    const std::function<void(int64_t, int64_t)>& kept) {
  device.visit([&](const auto& device_context) {
    const auto ctx = with_kernels(device_context, kind);
    dtype == DType::bf16 ? draw<Bf16>(device, ctx, mask, kept) : draw<float>(device, ctx, mask, kept);
  });
}

}  // namespace glint
