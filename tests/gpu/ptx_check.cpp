// Holds the wrappers of kernels/cuda/ptx.cuh, and Hopper's of ptx_sm90.cuh and wgmma.cuh, on a GPU against their
// emulation. Built twice: the emulated program writes random inputs and its answers into a folder, the one for GPUs
// computes its own from those inputs and compares.
//   ptx_check write FOLDER | compare FOLDER      the last line of the latter is "N passed, N failed"
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>

#include "tests/gpu/hopper_cases.h"
#include "tests/gpu/ptx_cases.h"
#include "tests/gpu/raw_files.h"

namespace glint::test {
namespace {

using Words = std::vector<uint32_t>;

struct Check {
  std::string name;
  std::function<Words(RandomInputs&)> random;
  std::function<Words(const Words& in)> run;
  // Where two answers do not agree.
  std::function<std::vector<size_t>(const Words& in, const Words& a, const Words& b)> disagreements;
};

std::vector<Check> checks() {
  constexpr int kWarps = 200, kBlocks = 50;
  std::vector<Check> all;
  for (const PtxCase& c : ptx_cases()) {
    all.push_back({c.name, [&c](RandomInputs& inputs) { return random_words(c, kWarps, inputs); },
                   [&c](const Words& in) { return run_case(c, in); },
                   [&c](const Words& in, const Words& a, const Words& b) { return disagreements(c, in, a, b); }});
  }
  if (!has_hopper()) return all;
  for (const HopperCase& c : hopper_cases()) {
    all.push_back({c.name, [&c](RandomInputs& inputs) { return random_words(c, kBlocks, inputs); },
                   [&c](const Words& in) { return run_case(c, in); },
                   [](const Words&, const Words& a, const Words& b) {
                     std::vector<size_t> wrong;
                     for (size_t i = 0; i < b.size(); ++i) {
                       if (a[i] != b[i]) wrong.push_back(i);
                     }
                     return wrong;
                   }});
  }
  return all;
}

void write(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  RandomInputs inputs(20261204);
  for (const Check& c : checks()) {
    const Words in = c.random(inputs);
    write_array(folder / (c.name + ".in"), in);
    write_array(folder / (c.name + ".out"), c.run(in));
  }
}

int compare(const std::filesystem::path& folder) {
  int passed = 0, failed = 0;
  for (const Check& c : checks()) {
    const auto in = read_array<uint32_t>(folder / (c.name + ".in"));
    const auto emulated = read_array<uint32_t>(folder / (c.name + ".out"));
    const Words here = c.run(in);
    const std::vector<size_t> wrong = c.disagreements(in, here, emulated);
    if (wrong.empty()) {
      size_t same = 0;
      for (size_t i = 0; i < here.size(); ++i) same += here[i] == emulated[i];
      std::printf("ok %s: %zu words agree, %zu of them to the bit\n", c.name.c_str(), here.size(), same);
      ++passed;
    } else {
      const size_t i = wrong[0];
      std::printf("FAILED %s: %zu of %zu words differ; the first, word %zu: %08x, emulated %08x\n", c.name.c_str(),
                  wrong.size(), here.size(), i, here[i], emulated[i]);
      ++failed;
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace glint::test

int main(int count, char** arguments) {
  try {
    const std::string verb = count == 3 ? arguments[1] : "";
    if (verb == "write") return glint::test::write(arguments[2]), 0;
    if (verb == "compare") return glint::test::compare(arguments[2]);
    std::fprintf(stderr, "usage: ptx_check write FOLDER | compare FOLDER\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ptx_check: %s\n", error.what());
  }
  return 1;
}
