// The logits (tokens, V) that follow each token of standard input: glint_logits RUN < int32 > float32.
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>
#include <string>
#include <vector>

#include "train/command_line.h"
#include "train/loaded_run.h"

int main(int argc, char** argv) try {
  using namespace glint;
  GLINT_REQUIRE(argc == 2, "glint_logits RUN");
  std::vector<int32_t> ids;
  for (int32_t id; std::fread(&id, sizeof id, 1, stdin) == 1;) ids.push_back(id);
  const Device device = cpu_context(0, MatmulChoice::automatic);
  const LoadedRun run = load_run({.run = argv[1]}, device, DType::f32);
  Graph g({.device = device});
  const Tensor tokens = g.input("tokens", {1, static_cast<int64_t>(ids.size())}, DType::i32);
  const Tensor logits = run.model->head(g, run.model->hidden(g, tokens, AttentionKind::flash));
  g.keep(logits);
  const DeviceMemory arena(g.plan(), "logits");
  g.bind(arena.data());
  std::memcpy(tokens.i32(), ids.data(), ids.size() * sizeof(int32_t));
  g.forward();
  for (size_t row = 0; row < ids.size(); ++row) {
    const float* from = logits.f32() + row * static_cast<size_t>(logits.shape().last());
    write_out({reinterpret_cast<const char*>(from), static_cast<size_t>(run.model->vocab()) * sizeof(float)});
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "glint_logits: %s\n", error.what());
  return 1;
}
