// The C functions do what those of attention.h do, bit for bit, and refuse what they cannot.
#include "kernels/attention_c.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <thread>

#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {
namespace {

using Arguments = glint_attention_arguments;

constexpr int kDevice = kOnCpu ? GLINT_ATTENTION_CPU : GLINT_ATTENTION_CUDA;

template <typename Scalar>
glint_attention_array array_of(const HeadView<Scalar>& view) {
  return {view.data, view.batch_stride, view.token_stride, view.head_stride};
}

// A problem's arrays on the device, and the arguments that name them. A workspace of the larger size is set.
template <typename Scalar>
struct Call {
  explicit Call(const AttentionProblem& x)
      : q(x.q), k(x.k), v(x.v), out(x.out), dout(x.dout), dq(x.dq), dk(x.dk), dv(x.dv), lse(x.lse) {
    const AttentionShape& s = x.shape;
    a.size = sizeof a;
    a.device = kDevice;
    a.dtype = sizeof(Scalar) == 2 ? GLINT_ATTENTION_BF16 : GLINT_ATTENTION_FP32;
    a.batch = s.B, a.queries = s.T, a.keys = s.S, a.heads = s.NH, a.kv_heads = s.NKV, a.head_size = s.HS;
    a.causal = s.causal, a.scale = s.scale, a.dropout = x.p, a.threads = 1;
    a.seed = x.rng.seed, a.offset = x.rng.offset + x.site + 32 * x.rng.first_sequence * s.NH;
    a.q = array_of(q.view()), a.k = array_of(k.view()), a.v = array_of(v.view()), a.out = array_of(out.view());
    a.dout = array_of(dout.view()), a.dq = array_of(dq.view()), a.dk = array_of(dk.view()), a.dv = array_of(dv.view());
    a.lse = lse.data();
    size_t of_forward = 0, of_backward = 0;
    REQUIRE(glint_attention_workspace(&a, &of_forward, &of_backward) == GLINT_ATTENTION_OK);
    a.workspace_size = std::max(of_forward, of_backward);
    workspace = std::make_unique<Guarded<float>>(a.workspace_size / sizeof(float));
    a.workspace = workspace->data();
  }
  void read_into(AttentionProblem& x) const {
    x.out.buffer = out.elements.values(), x.lse = lse.values();
    x.dq.buffer = dq.elements.values(), x.dk.buffer = dk.elements.values(), x.dv.buffer = dv.elements.values();
    workspace->values();
  }

  DeviceHeads<Scalar> q, k, v, out, dout, dq, dk, dv;
  Guarded<float> lse;
  std::unique_ptr<Guarded<float>> workspace;
  Arguments a{};
};

void check_same(const AttentionProblem& got, const AttentionProblem& expected) {
  CHECK(same_bits(got.out.buffer, expected.out.buffer));
  CHECK(same_bits(got.lse, expected.lse));
  CHECK(same_bits(got.dq.buffer, expected.dq.buffer));
  CHECK(same_bits(got.dk.buffer, expected.dk.buffer));
  CHECK(same_bits(got.dv.buffer, expected.dv.buffer));
}

void succeeds(int status) {
  INFO(std::string(glint_attention_error()));
  CHECK(status == GLINT_ATTENTION_OK);
}

// change(call): before the call, with the same results.
template <typename Scalar, typename Change>
void check_parity(AttentionProblem x, const Change& change) {
  INFO("T ", x.shape.T, ", S ", x.shape.S, ", HS ", x.shape.HS, ", p ", x.p, ", bytes ", sizeof(Scalar));
  x.round_inputs<Scalar>();
  AttentionProblem expected = x;
  Call<Scalar> call(x);
  change(call);
  succeeds(glint_attention_forward(&call.a));
  succeeds(glint_attention_backward(&call.a));
  call.read_into(x);
  run_attention<Scalar>(Context{}, expected);
  check_same(x, expected);
}
template <typename Change>
void check_parity_in_both(const AttentionProblem& x, const Change& change) {
  check_parity<Bf16>(x, change);
  check_parity<float>(x, change);
}

AttentionProblem small_problem(RandomInputs& inputs, float p = 0.1f) {
  return {attention_shape(1, 17, 17, 4, 2, 32, true), Layout::packed, p, inputs};
}

struct Wrong {
  void (*change)(Arguments& a);
  int status;
  const char* message;  // part of it
};
constexpr int kInvalid = GLINT_ATTENTION_INVALID, kUnsupported = GLINT_ATTENTION_UNSUPPORTED;

// Whatever is wrong with the shape, in either direction and without arrays.
const Wrong kWrongShapes[] = {
    {[](Arguments& a) { a.size = 0; }, kInvalid, "size 0 is not sizeof"},
    {[](Arguments& a) { a.size -= 8; }, kInvalid, "is not sizeof"},
    {[](Arguments& a) { a.size = size_t{1} << 60; }, kInvalid, "is not sizeof"},
    {[](Arguments& a) { a.device = 2; }, kInvalid, "device 2"},
    {[](Arguments& a) { a.dtype = -1; }, kInvalid, "dtype -1"},
    {[](Arguments& a) { a.batch = 0; }, kInvalid, "batch 0 is less than 1"},
    {[](Arguments& a) { a.queries = -5; }, kInvalid, "queries -5"},
    {[](Arguments& a) { a.keys = 0; }, kInvalid, "keys 0"},
    {[](Arguments& a) { a.heads = 0; }, kInvalid, "heads 0"},
    {[](Arguments& a) { a.kv_heads = 0; }, kInvalid, "kv_heads 0"},
    {[](Arguments& a) { a.kv_heads = 3; }, kInvalid, "heads 4 is no multiple of kv_heads 3"},
    {[](Arguments& a) { a.threads = -1; }, kInvalid, "threads -1"},
    {[](Arguments& a) { a.scale = std::nanf(""); }, kInvalid, "scale nan"},
    {[](Arguments& a) { a.scale = INFINITY; }, kInvalid, "scale inf"},
    {[](Arguments& a) { a.scale = -0.125f; }, kInvalid, "scale -0.125"},
    {[](Arguments& a) { a.dropout = 1.0f; }, kInvalid, "dropout 1 is not in [0, 1)"},
    {[](Arguments& a) { a.dropout = -0.1f; }, kInvalid, "dropout -0.1"},
    {[](Arguments& a) { a.dropout = std::nanf(""); }, kInvalid, "dropout nan"},
    {[](Arguments& a) { a.head_size = 0; }, kInvalid, "head_size 0"},
    {[](Arguments& a) { a.head_size = 28; }, kUnsupported, "head_size 28 is no multiple of 8"},
    {[](Arguments& a) { a.head_size = kOnCpu ? 264 : 136; }, kUnsupported, "is no multiple of 8 up to"},
    {[](Arguments& a) { a.keys = 16; }, kUnsupported, "keys 16 is less than queries 17"},
    {[](Arguments& a) { a.keys = 18; }, kUnsupported, "dropout needs as many keys"},
};
// And with the arrays, in either direction.
const Wrong kWrongArrays[] = {
    {[](Arguments& a) { a.q.data = nullptr; }, kInvalid, "q.data is a null pointer"},
    {[](Arguments& a) { a.out.data = nullptr; }, kInvalid, "out.data is a null"},
    {[](Arguments& a) { a.k.data = static_cast<char*>(a.k.data) + 1; }, kInvalid, "k.data is no multiple of"},
    {[](Arguments& a) { a.q.token_stride = 31; }, kInvalid, "q.token_stride 31 is less than head_size 32"},
    {[](Arguments& a) { a.v.head_stride = 0; }, kInvalid, "v.head_stride 0"},
    {[](Arguments& a) { a.lse = reinterpret_cast<float*>(2); }, kInvalid, "lse is no multiple of 4"},
    {[](Arguments& a) { a.workspace = nullptr; }, kInvalid, "workspace is a null"},
    {[](Arguments& a) { a.workspace = static_cast<char*>(a.workspace) + 8; }, kInvalid, "workspace is no multiple of"},
    {[](Arguments& a) { a.workspace_size = 8; }, kInvalid, "workspace_size 8 is too small"},
};
// Of backward alone.
const Wrong kWrongGradients[] = {
    {[](Arguments& a) { a.lse = nullptr; }, kInvalid, "lse is a null"},
    {[](Arguments& a) { a.dout.data = nullptr; }, kInvalid, "dout.data is a null"},
    {[](Arguments& a) { a.dq.data = nullptr; }, kInvalid, "dq.data is a null"},
    {[](Arguments& a) { a.dk.data = nullptr; }, kInvalid, "dk.data is a null"},
    {[](Arguments& a) { a.dv.token_stride = 8; }, kInvalid, "dv.token_stride 8"},
};

template <typename F>
void check_refused(const Wrong& wrong, Arguments a, const F& call) {
  wrong.change(a);
  CHECK(call(&a) == wrong.status);
  INFO(std::string(glint_attention_error()));
  CHECK(std::string(glint_attention_error()).find(wrong.message) != std::string::npos);
}

}  // namespace

TEST_CASE("attention in C: the bits of attention.h, small shapes") {
  RandomInputs inputs(20261141);
  INFO("seed ", inputs.seed);
  const auto as_it_is = [](auto&) {};
  check_parity_in_both(small_problem(inputs), as_it_is);
  check_parity_in_both(small_problem(inputs, 0.0f), as_it_is);
  check_parity_in_both({attention_shape(2, 33, 33, 3, 1, 64, false), Layout::separate, 0.5f, inputs}, as_it_is);
  check_parity_in_both({attention_shape(2, 5, 40, 2, 2, 24, true), Layout::separate, 0.0f, inputs}, as_it_is);
}

TEST_CASE("attention in C: the default scale; a stride that is not read; arguments of a later version") {
  RandomInputs inputs(20261142);
  INFO("seed ", inputs.seed);
  check_parity_in_both(small_problem(inputs), [](auto& call) { call.a.scale = 0.0f; });
  const AttentionProblem one({attention_shape(1, 1, 1, 1, 1, 32, true), Layout::packed, 0.1f, inputs});
  check_parity_in_both(one, [](auto& call) { call.a.q.batch_stride = 3, call.a.out.token_stride = 1; });

  struct Later {
    Arguments a;
    int64_t added;
  };
  Call<float> call(small_problem(inputs));
  Later later{call.a, 0};
  later.a.size = sizeof later;
  succeeds(glint_attention_forward(&later.a));
  later.added = 1;
  CHECK(glint_attention_forward(&later.a) == GLINT_ATTENTION_UNSUPPORTED);
}

TEST_CASE("attention in C: seed and offset by pointer") {
  RandomInputs inputs(20261143);
  INFO("seed ", inputs.seed);
  const AttentionProblem x = small_problem(inputs, 0.5f);
  const OnDevice<uint64_t> seed(Call<float>(x).a.seed), offset(Call<float>(x).a.offset - 7);
  check_parity_in_both(x, [&](auto& call) {
    call.a.seed_pointer = seed.data(), call.a.offset_pointer = offset.data();
    call.a.seed = 99, call.a.offset = 7;
  });
}

TEST_CASE("attention in C: each mistake has its status and message") {
  RandomInputs inputs(20261144);
  Call<Bf16> call(small_problem(inputs));
  const auto workspace = [](const Arguments* a) { return glint_attention_workspace(a, nullptr, nullptr); };
  for (const Wrong& wrong : kWrongShapes) {
    check_refused(wrong, call.a, workspace);
    check_refused(wrong, call.a, glint_attention_forward);
    check_refused(wrong, call.a, glint_attention_backward);
  }
  for (const Wrong& wrong : kWrongArrays) {
    check_refused(wrong, call.a, glint_attention_forward);
    check_refused(wrong, call.a, glint_attention_backward);
  }
  for (const Wrong& wrong : kWrongGradients) check_refused(wrong, call.a, glint_attention_backward);
  CHECK(glint_attention_forward(nullptr) == GLINT_ATTENTION_INVALID);
  Arguments misaligned = call.a;
  misaligned.q.token_stride -= 1;
  if (!kOnCpu) CHECK(glint_attention_forward(&misaligned) == GLINT_ATTENTION_INVALID);
  // The message is that of this thread's last call.
  Arguments bad = call.a;
  bad.batch = 0;
  CHECK(glint_attention_forward(&bad) == GLINT_ATTENTION_INVALID);
  std::thread([] { CHECK(std::string(glint_attention_error()).empty()); }).join();
  CHECK_FALSE(std::string(glint_attention_error()).empty());
  succeeds(glint_attention_forward(&call.a));
  CHECK(std::string(glint_attention_error()).empty());
  CHECK(glint_attention_version() == GLINT_ATTENTION_VERSION);
}

#ifdef GLINT_TEST_CUDA
TEST_CASE("attention in C: captured in a graph, which draws new masks where the offset in memory changes") {
  RandomInputs inputs(20261145);
  INFO("seed ", inputs.seed);
  AttentionProblem x = small_problem(inputs, 0.5f);
  x.round_inputs<Bf16>();
  Call<Bf16> call(x);
  const OnDevice<uint64_t> seed(call.a.seed), offset(call.a.offset);
  call.a.seed_pointer = seed.data(), call.a.offset_pointer = offset.data(), call.a.offset = 0;
  cudaStream_t stream = nullptr;
  expect_success(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  call.a.stream = stream;
  succeeds(glint_attention_forward(&call.a));  // loads the kernels
  succeeds(glint_attention_backward(&call.a));
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  expect_success(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  succeeds(glint_attention_forward(&call.a));
  succeeds(glint_attention_backward(&call.a));
  expect_success(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  expect_success(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
  for (const uint64_t more : {0, 128}) {
    offset.set(x.rng.offset + x.site + 32 * x.rng.first_sequence * x.shape.NH + more);
    expect_success(cudaGraphLaunch(exec, stream), "cudaGraphLaunch");
    expect_success(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    AttentionProblem got = x, expected = x;
    call.read_into(got);
    expected.rng.offset += more;
    run_attention<Bf16>(Context{}, expected);
    check_same(got, expected);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}
#endif

}  // namespace glint::test
