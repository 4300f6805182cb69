// Whether the cases of ptx_cases.h are enough: every wrapper has one, and bugs that the emulator plants into its
// instructions show.
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "tests/gpu/ptx_cases.h"
#include "tests/kernels/cuda/emulation.h"

namespace glint {

namespace {

std::string read_source(const std::string& path) {
  std::ifstream file(GLINT_SOURCE_DIR "/" + path);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

bool is_wgmma(test::Wrapper wrapper) { return wrapper >= test::Wrapper::wgmma_ss_k64; }
bool concerns(simt::Fault fault, test::Wrapper wrapper) {
  switch (fault) {
    case simt::Fault::short_copy:
    case simt::Fault::late_wait:
      return wrapper == test::Wrapper::cp_async;
    case simt::Fault::swap_fragments:
      return wrapper == test::Wrapper::mma;
    case simt::Fault::no_proxy_fence:
      return is_wgmma(wrapper) || wrapper == test::Wrapper::bulk_copies;
    case simt::Fault::wrong_bytes:
      return wrapper == test::Wrapper::tma_load || wrapper == test::Wrapper::bulk_copies;
    case simt::Fault::wrong_turn:
      return wrapper == test::Wrapper::release_acquire;
    default:
      return is_wgmma(wrapper);
  }
}

}  // namespace

TEST_CASE("ptx wrappers: each is called by a kernel of ptx_kernels.cu or ptx_sm90_kernels.cu") {
  std::string kernels;
  for (const char* path : {"tests/gpu/ptx_kernels.cu", "tests/gpu/ptx_sm90_kernels.cu"}) kernels += read_source(path);
  const std::string definition = "__device__ inline ";
  int found = 0;
  for (const char* path : {"kernels/cuda/ptx.cuh", "kernels/cuda/ptx_sm90.cuh", "kernels/cuda/wgmma.cuh"}) {
    const std::string wrappers = read_source(path);
    for (size_t at = wrappers.find(definition); at != std::string::npos; at = wrappers.find(definition, at + 1)) {
      const size_t end = wrappers.find('(', at), space = wrappers.rfind(' ', end);  // "__device__ inline TYPE NAME(..."
      const std::string name = wrappers.substr(space + 1, end - space - 1);
      if (name == "shared_address" || name == "whole_descriptor") continue;  // they help the others
      INFO(name);
      ++found;
      if (name == "forget") continue;  // it speaks to the compiler alone
      const std::string call = "ptx::" + name;
      CHECK((kernels.find(call + "(") != std::string::npos || kernels.find(call + "<") != std::string::npos));
    }
  }
  CHECK(found >= 40);
}

TEST_CASE("ptx wrappers: planted bugs show") {
  test::RandomInputs inputs(20261203);
  INFO("seed ", inputs.seed);
  const simt::SavedOptions saved;
  for (const test::PtxCase& c : test::ptx_cases()) {
    INFO(std::string(c.name));
    const std::vector<uint32_t> in = test::random_words(c, 4, inputs), good = test::plain_answer(c, in);
    using enum simt::Fault;
    for (const simt::Fault fault : {short_copy, late_wait, swap_fragments, no_proxy_fence, no_wgmma_wait,
                                    late_wgmma_wait, wrong_bytes, wrong_stride, wrong_turn}) {
      INFO("fault ", static_cast<int>(fault));
      simt::options.fault = fault;
      bool shows = false;
      try {
        shows = !test::disagreements(c, in, test::run_case(c, in), good).empty();
      } catch (const simt::Error&) {  // such as a copy that nobody waited for
        shows = true;
      }
      CHECK(shows == concerns(fault, c.wrapper));
      simt::options.fault = simt::Fault::none;
    }
  }
}

}  // namespace glint
