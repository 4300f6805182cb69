// Runs the CUDA attention kernels, forward and backward, on arrays in files, for other programs to compare.
//   attention_case FOLDER
// reads case.txt ("dtype bf16|fp32", then B T NH NKV HS causal scale p seed offset, a name and a value each) and the
// arrays q, dout (B, T, NH, HS), k, v (B, T, NKV, HS) of the dtype; writes out, dq, dk, dv in the same shapes, and lse
// (B, NH, T) in fp32. Built for GPUs and, by the emulator, without.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <string>

#include "kernels/attention.h"
#include "tests/gpu/raw_files.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace glint::test {
namespace {

using Folder = std::filesystem::path;

struct Case {
  AttentionShape shape;
  float p = 0.0f;
  RngState rng;
  bool bf16 = true;
};

Case read_case(const Folder& folder) {
  std::ifstream file(folder / "case.txt");
  std::map<std::string, std::string> values;
  for (std::string name, value; file >> name >> value;) values[name] = value;
  const auto value_of = [&](const char* name) -> const std::string& {
    GLINT_REQUIRE(values.contains(name), (folder / "case.txt").string(), " does not say ", name);
    return values[name];
  };
  const auto integer = [&](const char* name) { return std::stoi(value_of(name)); };
  Case c;
  c.shape = {integer("B"),   integer("T"),  integer("T"),           integer("NH"),
             integer("NKV"), integer("HS"), integer("causal") != 0, std::stof(value_of("scale"))};
  c.p = std::stof(value_of("p"));
  c.rng = {std::stoull(value_of("seed")), std::stoull(value_of("offset")), 0, 0};
  c.bf16 = value_of("dtype") == "bf16";
  return c;
}

template <typename Scalar>
struct View {
  View(const AttentionShape& s, int heads_of, const std::vector<Scalar>& values)
      : shape(s), heads(heads_of), buffer(values) {
    const size_t wanted = static_cast<size_t>(s.B) * s.T * heads * s.HS;
    GLINT_REQUIRE(values.size() == wanted, "an array has ", values.size(), " elements instead of ", wanted);
  }
  HeadView<Scalar> get() const {
    const int64_t token = int64_t{heads} * shape.HS;
    return {buffer.data(), token * shape.T, token, shape.HS};
  }

  AttentionShape shape;
  int heads;
  DeviceBuffer<Scalar> buffer;
};

template <typename Scalar>
void run(const Case& c, const Folder& folder) {
  const AttentionShape& s = c.shape;
  const auto input = [&](const char* name, int heads) {
    return View<Scalar>(s, heads, read_array<Scalar>(folder / name));
  };
  const auto output = [&](int heads) {
    std::vector<Scalar> poison(static_cast<size_t>(s.B) * s.T * heads * s.HS);
    std::memset(poison.data(), 0xff, poison.size() * sizeof(Scalar));  // NaN: what is not written shows
    return View<Scalar>(s, heads, poison);
  };
  const View<Scalar> q = input("q", s.NH), k = input("k", s.NKV), v = input("v", s.NKV), dout = input("dout", s.NH);
  const View<Scalar> out = output(s.NH), dq = output(s.NH), dk = output(s.NKV), dv = output(s.NKV);
  const DeviceBuffer<float> lse(
      std::vector<float>(static_cast<size_t>(s.B) * s.NH * s.T, std::numeric_limits<float>::quiet_NaN()));
  const CudaContext ctx;
  const DeviceBuffer<float> scratch(std::max(attention_forward_scratch(ctx, s), attention_backward_scratch(ctx, s)));
  const DeviceBuffer<RngState> rng(std::vector<RngState>{c.rng});
  const Dropout dropout(c.p, rng.data(), 0);
  attention_forward(ctx, AttentionForward<Scalar>{.out = out.get(),
                                                  .lse = lse.data(),
                                                  .q = q.get(),
                                                  .k = k.get(),
                                                  .v = v.get(),
                                                  .scratch = scratch.data(),
                                                  .shape = s,
                                                  .dropout = dropout});
  attention_backward(ctx, AttentionBackward<Scalar>{.dq = dq.get(),
                                                    .dk = dk.get(),
                                                    .dv = dv.get(),
                                                    .dout = dout.get(),
                                                    .out = out.get(),
                                                    .lse = lse.data(),
                                                    .q = q.get(),
                                                    .k = k.get(),
                                                    .v = v.get(),
                                                    .scratch = scratch.data(),
                                                    .shape = s,
                                                    .dropout = dropout});
  write_array(folder / "out", out.buffer.to_host());
  write_array(folder / "dq", dq.buffer.to_host());
  write_array(folder / "dk", dk.buffer.to_host());
  write_array(folder / "dv", dv.buffer.to_host());
  write_array(folder / "lse", lse.to_host());
}

}  // namespace
}  // namespace glint::test

int main(int count, char** arguments) {
  using namespace glint::test;
  if (count != 2) {
    std::fprintf(stderr, "usage: attention_case FOLDER\n");
    return 2;
  }
  try {
    const Case c = read_case(arguments[1]);
    c.bf16 ? run<glint::Bf16>(c, arguments[1]) : run<float>(c, arguments[1]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attention_case: %s\n", error.what());
    return 1;
  }
}
