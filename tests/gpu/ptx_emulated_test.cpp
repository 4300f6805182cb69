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

}  // namespace

TEST_CASE("ptx wrappers: each is called by a kernel of ptx_kernels.cu") {
  const std::string wrappers = read_source("kernels/cuda/ptx.cuh"), kernels = read_source("tests/gpu/ptx_kernels.cu");
  const std::string definition = "__device__ inline ";
  int found = 0;
  for (size_t at = wrappers.find(definition); at != std::string::npos; at = wrappers.find(definition, at + 1)) {
    const size_t end = wrappers.find('(', at), space = wrappers.rfind(' ', end);  // "__device__ inline TYPE NAME(..."
    const std::string name = wrappers.substr(space + 1, end - space - 1);
    if (name == "shared_address") continue;  // helps the others
    INFO(name);
    ++found;
    if (name == "forget") continue;  // it speaks to the compiler alone
    const std::string call = "ptx::" + name;
    CHECK((kernels.find(call + "(") != std::string::npos || kernels.find(call + "<") != std::string::npos));
  }
  CHECK(found >= 9);
}

TEST_CASE("ptx wrappers: planted bugs show") {
  test::RandomInputs inputs(20261203);
  INFO("seed ", inputs.seed);
  const simt::SavedOptions saved;
  for (const test::PtxCase& c : test::ptx_cases()) {
    INFO(std::string(c.name));
    const std::vector<uint32_t> in = test::random_words(c, 4, inputs), good = test::plain_answer(c, in);
    for (const simt::Fault fault : {simt::Fault::short_copy, simt::Fault::late_wait, simt::Fault::swap_fragments}) {
      INFO("fault ", static_cast<int>(fault));
      simt::options.fault = fault;
      const bool concerns =
          c.wrapper == (fault == simt::Fault::swap_fragments ? test::Wrapper::mma : test::Wrapper::cp_async);
      bool shows = false;
      try {
        shows = !test::disagreements(c, in, test::run_case(c, in), good).empty();
      } catch (const simt::Error&) {  // a copy that nobody waited for
        shows = true;
      }
      CHECK(shows == concerns);
      simt::options.fault = simt::Fault::none;
    }
  }
}

}  // namespace glint
