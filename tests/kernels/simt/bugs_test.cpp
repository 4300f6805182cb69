// Kernels with one planted bug each, all of which the emulator must catch. The buggy cases expect correct results, so
// they fail; they are skipped, and the last case runs each in a process of its own, because a sanitizer ends the
// process.
#include <doctest/doctest.h>

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/simt/ptx.h"
#include "tests/kernels/cuda/emulation.h"

namespace {

constexpr unsigned kThreads = 64;
constexpr int kTiles = 5;

enum class Bug { none, no_barrier, no_last_barrier, no_wait, late_wait, copy_off_by_one };

// Tiles of 64 x 4 floats stream through a double buffer; every thread adds up what other threads of the block copied.
template <Bug kBug>
void sum_tiles(float* out, const float* in) {
  auto* buffer = reinterpret_cast<float(*)[kThreads * 4]>(simt::self->block->dynamic_shared());
  const unsigned thread = threadIdx.x, other = (thread + 33) % kThreads;
  const auto load = [&](int tile) {
    const int shift = kBug == Bug::copy_off_by_one && tile > 0 ? 4 : 0;
    const float* from = in + (tile * kThreads + thread) * 4 - shift;
    if (tile < kTiles) simt::cp_async(&buffer[tile % 2][thread * 4], from, 16, 16);
    simt::cp_async_commit();
  };
  float sum = 0.0f;
  load(0);
  for (int tile = 0; tile < kTiles; ++tile) {
    load(tile + 1);
    if (kBug != Bug::no_wait) simt::cp_async_wait(kBug == Bug::late_wait ? 2 : 1);
    if (kBug != Bug::no_barrier) __syncthreads();
    for (unsigned c = 0; c < 4; ++c) sum += buffer[tile % 2][other * 4 + c];
    if (kBug != Bug::no_last_barrier) __syncthreads();
  }
  if (kBug == Bug::no_wait || kBug == Bug::late_wait) simt::cp_async_wait(0);
  out[thread] = sum;
}

template <Bug kBug>
void check_sum_tiles() {
  alignas(16) std::array<float, kTiles * kThreads * 4> in;
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 97);
  simt::in_every_order([&] {
    std::vector<float> out(kThreads), expected(kThreads);
    for (size_t tile = 0; tile < kTiles; ++tile) {
      for (size_t thread = 0; thread < kThreads; ++thread) {
        for (size_t c = 0; c < 4; ++c) expected[thread] += in[(tile * kThreads + (thread + 33) % kThreads) * 4 + c];
      }
    }
    simt::run_grid(1, kThreads, 2 * kThreads * 4 * sizeof(float), [&] { sum_tiles<kBug>(out.data(), in.data()); });
    CHECK(out == expected);
  });
}

TEST_CASE("emulator: a correct kernel passes") { check_sum_tiles<Bug::none>(); }
TEST_CASE("bug: no barrier after the wait" * doctest::skip()) { check_sum_tiles<Bug::no_barrier>(); }
TEST_CASE("bug: no barrier before the next copy" * doctest::skip()) { check_sum_tiles<Bug::no_last_barrier>(); }
TEST_CASE("bug: no cp.async wait" * doctest::skip()) { check_sum_tiles<Bug::no_wait>(); }
TEST_CASE("bug: a wait for one group too few" * doctest::skip()) { check_sum_tiles<Bug::late_wait>(); }
TEST_CASE("bug: a copy is off by one" * doctest::skip()) { check_sum_tiles<Bug::copy_off_by_one>(); }

// d = A B for A = rows 0..15 of numbers, B = identity (16 x 8): element (i, n) is A[i][n].
template <bool kSwapped>
void check_fragments() {
  float D[16][8] = {};
  simt::run_grid(1, 32, 512, [&] {
    auto* shared = reinterpret_cast<__nv_bfloat16*>(simt::self->block->dynamic_shared());
    for (unsigned i = threadIdx.x; i < 256; i += 32) shared[i] = __float2bfloat16(static_cast<float>(i));
    __syncwarp();
    const unsigned lane = threadIdx.x, g = lane / 4, t = 2 * (lane % 4);
    uint32_t a[4];
    simt::ldmatrix_x4<false>(a, shared + lane % 16 * 16 + lane / 16 * 8);
    if (kSwapped) std::swap(a[1], a[2]);
    const uint32_t one = 0x3f80, b = t == g ? one : t + 1 == g ? one << 16 : 0;
    float d[4] = {};
    simt::mma_m16n8k16(d, a, {b, 0});
    for (unsigned r = 0; r < 4; ++r) D[g + 8 * (r / 2)][t + r % 2] = d[r];
  });
  for (int i = 0; i < 16; ++i) {
    for (int n = 0; n < 8; ++n) CHECK(D[i][n] == static_cast<float>(16 * i + n));
  }
}
TEST_CASE("emulator: fragments of a correct product") { check_fragments<false>(); }
TEST_CASE("bug: swapped fragments" * doctest::skip()) { check_fragments<true>(); }

TEST_CASE("bug: shared memory out of bounds" * doctest::skip()) {
  simt::run_grid(1, 32, 32, [] { simt::self->block->dynamic_shared()[threadIdx.x + 1] = 1; });
}
TEST_CASE("bug: a static object out of bounds" * doctest::skip()) {
  static const char key = 0;
  simt::run_grid(1, 8, 0, [] {
    static_cast<int*>(simt::self->block->static_shared(&key, 8 * sizeof(int), 4))[threadIdx.x + 1] = 1;
  });
}
TEST_CASE("bug: barriers in both branches" * doctest::skip()) {
  simt::run_grid(1, kThreads, 0, [] {
    if (threadIdx.x < 32) __syncthreads();
    else __syncthreads();
  });
}
TEST_CASE("bug: lanes of a warp in two shuffles" * doctest::skip()) {
  simt::run_grid(1, 32, 0, [] {
    if (threadIdx.x % 2) (void)__shfl_xor_sync(~0u, 1, 1);
    else (void)__shfl_down_sync(~0u, 1, 1);
  });
}
TEST_CASE("bug: a barrier that half of the threads reach" * doctest::skip()) {
  simt::run_grid(1, kThreads, 0, [] {
    if (threadIdx.x < 32) __syncthreads();
  });
}
TEST_CASE("bug: a lane returned before a full shuffle" * doctest::skip()) {
  simt::run_grid(1, 32, 0, [] {
    if (threadIdx.x != 5) (void)__shfl_xor_sync(~0u, 1, 1);
  });
}
TEST_CASE("bug: a shuffle from outside its mask" * doctest::skip()) {
  simt::run_grid(1, 32, 0, [] {
    if (threadIdx.x < 16) (void)__shfl_xor_sync(0xffffu, 1, 16);
  });
}
TEST_CASE("bug: a misaligned copy" * doctest::skip()) {
  alignas(16) static const char source[32] = {};
  simt::run_grid(1, 1, 64, [] { simt::cp_async(simt::self->block->dynamic_shared(), source + 8, 16, 16); });
}
TEST_CASE("bug: a copy that is never waited for" * doctest::skip()) {
  alignas(16) static const char source[32] = {};
  simt::run_grid(1, 1, 64, [] { simt::cp_async(simt::self->block->dynamic_shared(), source, 16, 16); });
}
// In reverse order the value is always right: only ThreadSanitizer can find the race.
TEST_CASE("bug: a race that gives the right values" * doctest::skip()) {
  const simt::SavedOptions saved;
  simt::options.order = simt::Order::reverse;
  std::vector<int> out(kThreads);
  simt::run_grid(1, kThreads, (kThreads + 1) * sizeof(int), [&] {
    auto* shared = reinterpret_cast<int*>(simt::self->block->dynamic_shared());
    shared[threadIdx.x] = 1;
    if (threadIdx.x + 1 < kThreads) out[threadIdx.x] = shared[threadIdx.x + 1];
  });
  CHECK(out[0] == 1);
}

struct Run {
  int status;
  std::string output;
};
Run run_case(const std::string& name) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command = "'" + program + "' --no-skip --test-case='" + name + "' < /dev/null 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  for (char text[4096]; const size_t n = fread(text, 1, sizeof(text), pipe);) output.append(text, n);
  return {pclose(pipe), output};
}

// The report must name the bug, except where it shows as wrong values (or, with ThreadSanitizer, as a race).
TEST_CASE("emulator: every planted bug is caught") {
#ifdef SIMT_TSAN
  const char *values = "data race", *bounds = "past the end of shared memory";
#elif defined(SIMT_ASAN)
  const char *values = "CHECK( out == expected )", *bounds = "AddressSanitizer: heap-buffer-overflow";
#else
  const char *values = "CHECK( out == expected )", *bounds = "past the end of shared memory";
#endif
  const std::pair<const char*, const char*> bugs[] = {
      {"bug: no barrier after the wait", values},
      {"bug: no barrier before the next copy", values},
      {"bug: no cp.async wait", "CHECK( out == expected )"},
      {"bug: a wait for one group too few", "CHECK( out == expected )"},
      {"bug: a copy is off by one", "CHECK( out == expected )"},
      {"bug: swapped fragments", "CHECK( D[i][n] =="},
      {"bug: shared memory out of bounds", bounds},
      {"bug: a static object out of bounds", bounds},
      {"bug: barriers in both branches", "barrier divergence: __syncthreads at "},
      {"bug: lanes of a warp in two shuffles", "warp divergence: __shfl_"},
      {"bug: a barrier that half of the threads reach", "thread (0,0,0) to (31,0,0): __syncthreads at "},
      {"bug: a lane returned before a full shuffle", "thread (5,0,0): returned"},
      {"bug: a shuffle from outside its mask", "__shfl_xor_sync reads lane 16, which takes no part"},
      {"bug: a misaligned copy", "cp.async: misaligned address"},
      {"bug: a copy that is never waited for", "not waited for"},
#ifdef SIMT_TSAN
      {"bug: a race that gives the right values", "data race"},
#endif
  };
  for (const auto& [bug_name, bug_report] : bugs) {
    const std::string name = bug_name, report = bug_report;
    const Run run = run_case(name);
    INFO(name, ", status ", run.status, ":\n", run.output);
    CHECK(run.status != 0);
    CHECK(run.output.find(report) != std::string::npos);
  }
}

}  // namespace
