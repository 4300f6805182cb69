// The C functions of libglint_attention: checks of the arguments, and the calls of attention.h. Errors become a status
// and a message of the calling thread.
#include "kernels/attention_c.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "kernels/attention.h"
#include "kernels/check.h"
#include "kernels/rng_source.h"

namespace glint {
namespace {

using Arguments = glint_attention_arguments;

constexpr size_t kFirstVersion = sizeof(Arguments);  // the size of version 1
constexpr size_t kMaxBytes = 4096;                   // more is no size of any version
static_assert(sizeof(Arguments) == 376 && sizeof(void*) == 8, "version 1 is published");

thread_local char last_error[512];

struct Refusal {
  int status;
  std::string text;
};

template <typename... Parts>
void require(bool holds, int status, const Parts&... parts) {
  if (!holds) throw Refusal{status, str_cat(parts...)};
}

int fail(int status, const char* text) {
  std::snprintf(last_error, sizeof last_error, "%s", text);
  return status;
}

// Runs f, and returns a status.
template <typename F>
int status_of(F&& f) noexcept {
  last_error[0] = '\0';
  try {
    f();
    return GLINT_ATTENTION_OK;
  } catch (const Refusal& refusal) {
    return fail(refusal.status, refusal.text.c_str());
  } catch (const std::bad_alloc&) {
    return fail(GLINT_ATTENTION_FAILED, "out of memory");
  } catch (const std::exception& error) {
    return fail(GLINT_ATTENTION_FAILED, error.what());
  } catch (...) {
    return fail(GLINT_ATTENTION_FAILED, "an unknown error");
  }
}

// The caller's arguments, which may be of a later version.
Arguments read(const Arguments* from) {
  require(from, GLINT_ATTENTION_INVALID, "the arguments are a null pointer");
  require(from->size >= kFirstVersion && from->size <= kMaxBytes, GLINT_ATTENTION_INVALID, "size ", from->size,
          " is not sizeof(glint_attention_arguments), ", sizeof(Arguments));
  Arguments a{};
  std::memcpy(&a, from, std::min(from->size, sizeof a));
  const char* bytes = reinterpret_cast<const char*>(from);
  for (size_t i = sizeof a; i < from->size; ++i)
    require(bytes[i] == 0, GLINT_ATTENTION_UNSUPPORTED, "byte ", i, " of the arguments is set, which version ",
            GLINT_ATTENTION_VERSION, " of the library does not know");
  require(a.device == GLINT_ATTENTION_CPU || a.device == GLINT_ATTENTION_CUDA, GLINT_ATTENTION_INVALID, "device ",
          a.device, " is neither GLINT_ATTENTION_CPU nor GLINT_ATTENTION_CUDA");
  require(a.dtype == GLINT_ATTENTION_FP32 || a.dtype == GLINT_ATTENTION_BF16, GLINT_ATTENTION_INVALID, "dtype ",
          a.dtype, " is neither GLINT_ATTENTION_FP32 nor GLINT_ATTENTION_BF16");
  return a;
}

AttentionShape shape_of(const Arguments& a) {
  const bool cuda = a.device == GLINT_ATTENTION_CUDA;
  const int most_channels = cuda ? 128 : 256, most_blocks = 65535;  // of a CUDA grid
  const auto at_least_1 = [](const char* name, int value) {
    require(value >= 1, GLINT_ATTENTION_INVALID, name, " ", value, " is less than 1");
  };
  at_least_1("batch", a.batch), at_least_1("queries", a.queries), at_least_1("keys", a.keys);
  at_least_1("heads", a.heads), at_least_1("kv_heads", a.kv_heads), at_least_1("head_size", a.head_size);
  require(a.heads % a.kv_heads == 0, GLINT_ATTENTION_INVALID, "heads ", a.heads, " is no multiple of kv_heads ",
          a.kv_heads);
  require(a.threads >= 0, GLINT_ATTENTION_INVALID, "threads ", a.threads, " is less than 0");
  require(std::isfinite(a.scale) && a.scale >= 0.0f, GLINT_ATTENTION_INVALID, "scale ", a.scale,
          " is not a number of 0 or above");
  require(a.dropout >= 0.0f && a.dropout < 1.0f, GLINT_ATTENTION_INVALID, "dropout ", a.dropout,
          " is not in [0, 1)");  // NaN neither
  require(a.keys >= a.queries, GLINT_ATTENTION_UNSUPPORTED, "keys ", a.keys, " is less than queries ", a.queries);
  require(a.dropout == 0.0f || a.keys == a.queries, GLINT_ATTENTION_UNSUPPORTED, "dropout needs as many keys as ",
          "queries: keys ", a.keys, ", queries ", a.queries);
  require(a.head_size % 8 == 0 && a.head_size <= most_channels, GLINT_ATTENTION_UNSUPPORTED, "head_size ", a.head_size,
          " is no multiple of 8 up to ", most_channels);
  require(!cuda || (a.batch <= most_blocks && a.heads <= most_blocks), GLINT_ATTENTION_UNSUPPORTED, "batch ", a.batch,
          ", heads ", a.heads, ": neither may be above ", most_blocks, " on CUDA");
  const float scale = a.scale > 0.0f ? a.scale : 1.0f / std::sqrt(static_cast<float>(a.head_size));
  return {a.batch, a.queries, a.keys, a.heads, a.kv_heads, a.head_size, a.causal != 0, scale};
}

// The array as a view, checked. heads: of the array.
template <typename Scalar>
HeadView<Scalar> view_of(const Arguments& a, const char* name, const glint_attention_array& array, int tokens,
                         int heads) {
  const int64_t unit = a.device == GLINT_ATTENTION_CUDA && sizeof(Scalar) == 2 ? 16 : sizeof(Scalar);  // bytes
  require(array.data, GLINT_ATTENTION_INVALID, name, ".data is a null pointer");
  require(reinterpret_cast<uintptr_t>(array.data) % unit == 0, GLINT_ATTENTION_INVALID, name,
          ".data is no multiple of ", unit, " bytes");
  const auto stride = [&](const char* which, int64_t value, int size) {
    if (size == 1) return int64_t{a.head_size};
    require(value >= a.head_size, GLINT_ATTENTION_INVALID, name, ".", which, "_stride ", value,
            " is less than head_size ", a.head_size);
    require(value % (unit / int64_t{sizeof(Scalar)}) == 0, GLINT_ATTENTION_INVALID, name, ".", which, "_stride ", value,
            " elements is no multiple of ", unit, " bytes");
    return value;
  };
  return {static_cast<Scalar*>(array.data), stride("batch", array.batch_stride, a.batch),
          stride("token", array.token_stride, tokens), stride("head", array.head_stride, heads)};
}

float* lse_of(const Arguments& a, bool needed) {
  require(a.lse || !needed, GLINT_ATTENTION_INVALID, "lse is a null pointer");
  require(reinterpret_cast<uintptr_t>(a.lse) % sizeof(float) == 0, GLINT_ATTENTION_INVALID,
          "lse is no multiple of 4 bytes");
  return a.lse;
}

// f(context, a Scalar) for the device and dtype.
template <typename F>
void with_backend(const Arguments& a, F&& f) {
  const auto with_context = [&](const auto& ctx) { a.dtype == GLINT_ATTENTION_BF16 ? f(ctx, Bf16{}) : f(ctx, 0.0f); };
  if (a.device == GLINT_ATTENTION_CPU) {
    with_context(CpuContext{.threads = a.threads > 0 ? a.threads : omp_get_max_threads()});
  } else {
#ifdef GLINT_WITH_CUDA
    with_context(CudaContext{.stream = static_cast<CUstream_st*>(a.stream)});
#else
    throw Refusal{GLINT_ATTENTION_UNSUPPORTED, "this build of libglint_attention has no CUDA"};
#endif
  }
}

// The workspace of a call: the RNG state where there is dropout, then the kernels' scratch.
class Workspace {
 public:
  Workspace(const Arguments& a, size_t scratch_floats)
      : rng_bytes_(a.dropout > 0.0f ? kAlignment : 0), bytes_(rng_bytes_ + scratch_floats * sizeof(float)) {}
  size_t bytes() const { return bytes_; }

  void check(const Arguments& a) const {
    if (bytes_ == 0) return;
    const size_t alignment = a.device == GLINT_ATTENTION_CUDA ? kAlignment : 16;
    require(a.workspace, GLINT_ATTENTION_INVALID, "workspace is a null pointer; ", bytes_, " bytes are needed");
    require(reinterpret_cast<uintptr_t>(a.workspace) % alignment == 0, GLINT_ATTENTION_INVALID,
            "workspace is no multiple of ", alignment, " bytes");
    require(a.workspace_size >= bytes_, GLINT_ATTENTION_INVALID, "workspace_size ", a.workspace_size,
            " is too small: ", bytes_, " bytes are needed");
  }
  // After check().
  float* scratch(const Arguments& a) const {
    return bytes_ > rng_bytes_ ? reinterpret_cast<float*>(static_cast<char*>(a.workspace) + rng_bytes_) : nullptr;
  }
  template <typename Context>
  Dropout dropout(const Context& ctx, const Arguments& a) const {
    if (a.dropout == 0.0f) return {};
    auto* state = static_cast<RngState*>(a.workspace);
    read_rng_source(ctx, state, {a.seed, a.offset, a.seed_pointer, a.offset_pointer});
    return {a.dropout, state, 0};
  }

 private:
  static constexpr size_t kAlignment = 256;  // of the scratch too
  size_t rng_bytes_, bytes_;
};

template <typename Context, typename Scalar>
void forward(const Context& ctx, const Arguments& a, const AttentionShape& s, Scalar) {
  const Workspace workspace(a, attention_forward_scratch(ctx, s));
  workspace.check(a);
  AttentionForward<Scalar> call{.out = view_of<Scalar>(a, "out", a.out, s.T, s.NH),
                                .lse = lse_of(a, false),
                                .q = view_of<Scalar>(a, "q", a.q, s.T, s.NH),
                                .k = view_of<Scalar>(a, "k", a.k, s.S, s.NKV),
                                .v = view_of<Scalar>(a, "v", a.v, s.S, s.NKV),
                                .scratch = workspace.scratch(a),
                                .shape = s};
  call.dropout = workspace.dropout(ctx, a);
  attention_forward(ctx, call);
}

template <typename Context, typename Scalar>
void backward(const Context& ctx, const Arguments& a, const AttentionShape& s, Scalar) {
  const Workspace workspace(a, attention_backward_scratch(ctx, s));
  workspace.check(a);
  AttentionBackward<Scalar> call{.dq = view_of<Scalar>(a, "dq", a.dq, s.T, s.NH),
                                 .dk = view_of<Scalar>(a, "dk", a.dk, s.S, s.NKV),
                                 .dv = view_of<Scalar>(a, "dv", a.dv, s.S, s.NKV),
                                 .dout = view_of<Scalar>(a, "dout", a.dout, s.T, s.NH),
                                 .out = view_of<Scalar>(a, "out", a.out, s.T, s.NH),
                                 .lse = lse_of(a, true),
                                 .q = view_of<Scalar>(a, "q", a.q, s.T, s.NH),
                                 .k = view_of<Scalar>(a, "k", a.k, s.S, s.NKV),
                                 .v = view_of<Scalar>(a, "v", a.v, s.S, s.NKV),
                                 .scratch = workspace.scratch(a),
                                 .shape = s};
  call.dropout = workspace.dropout(ctx, a);
  attention_backward(ctx, call);
}

}  // namespace
}  // namespace glint

using namespace glint;

int glint_attention_version() { return GLINT_ATTENTION_VERSION; }

const char* glint_attention_error() { return last_error; }

int glint_attention_workspace(const Arguments* arguments, size_t* forward_bytes, size_t* backward_bytes) {
  return status_of([&] {
    const Arguments a = read(arguments);
    const AttentionShape shape = shape_of(a);
    with_backend(a, [&](const auto& ctx, auto) {
      if (forward_bytes) *forward_bytes = Workspace(a, attention_forward_scratch(ctx, shape)).bytes();
      if (backward_bytes) *backward_bytes = Workspace(a, attention_backward_scratch(ctx, shape)).bytes();
    });
  });
}

int glint_attention_forward(const Arguments* arguments) {
  return status_of([&] {
    const Arguments a = read(arguments);
    const AttentionShape shape = shape_of(a);
    with_backend(a, [&](const auto& ctx, auto scalar) { forward(ctx, a, shape, scalar); });
  });
}

int glint_attention_backward(const Arguments* arguments) {
  return status_of([&] {
    const Arguments a = read(arguments);
    const AttentionShape shape = shape_of(a);
    with_backend(a, [&](const auto& ctx, auto scalar) { backward(ctx, a, shape, scalar); });
  });
}
