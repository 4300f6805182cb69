// Holds the wrappers of kernels/cuda/ptx.cuh, ptx_sm90.cuh and wgmma.cuh on a GPU against their emulation. Built twice:
// the emulated program writes random inputs and its answers into a folder, the one for GPUs computes its own from those
// inputs and compares.
//   ptx_check write FOLDER | compare FOLDER      the last line of the latter is "N passed, N failed"
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include "tests/gpu/ptx_cases.h"
#include "tests/gpu/raw_files.h"

namespace glint::test {
namespace {

constexpr int kLanes = 200 * 32;

void write(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  RandomInputs inputs(20261204);
  for (const PtxCase& c : ptx_cases()) {
    const std::vector<uint32_t> in = random_words(c, kLanes / words_of(c.wrapper).lanes, inputs);
    write_array(folder / (c.name + std::string(".in")), in);
    write_array(folder / (c.name + std::string(".out")), run_case(c, in));
  }
}

int compare(const std::filesystem::path& folder) {
  int passed = 0, failed = 0;
  for (const PtxCase& c : ptx_cases()) {
    if (const char* reason = why_not(c)) {
      std::printf("skipped %s: %s\n", c.name, reason);
      continue;
    }
    const auto in = read_array<uint32_t>(folder / (c.name + std::string(".in")));
    const auto emulated = read_array<uint32_t>(folder / (c.name + std::string(".out"))), here = run_case(c, in);
    const std::vector<size_t> wrong = disagreements(c, in, here, emulated);
    if (wrong.empty()) {
      size_t same = 0;
      for (size_t i = 0; i < here.size(); ++i) same += here[i] == emulated[i];
      std::printf("ok %s: %zu words agree, %zu of them to the bit\n", c.name, here.size(), same);
      ++passed;
    } else {
      const LaneWords each = words_of(c.wrapper);
      const size_t i = wrong[0], words = static_cast<size_t>(each.out), lanes = static_cast<size_t>(each.lanes);
      std::printf(
          "FAILED %s: %zu of %zu words differ; the first, word %zu of lane %zu of group %zu: %08x, emulated %08x\n",
          c.name, wrong.size(), here.size(), i % words, i / words % lanes, i / words / lanes, here[i], emulated[i]);
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
