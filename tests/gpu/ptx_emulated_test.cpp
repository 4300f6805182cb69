// Bugs that the emulator plants into its instructions: the comparison with plain formulas finds them.
#include <doctest/doctest.h>

#include <string>

#include "tests/gpu/ptx_cases.h"
#include "tests/simt/orders.h"

namespace glint {

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
      const bool concerns = c.wrapper == (fault == simt::Fault::swap_fragments ? test::Wrapper::mma : test::Wrapper::cp_async);
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
