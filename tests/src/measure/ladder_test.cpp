#include "src/measure/ladder.h"

#include <doctest/doctest.h>

using namespace glint;

TEST_CASE("measure: the rungs of attention are timed and within their bounds, with every kind of mask") {
  for (const int T : {1, 70}) {
    for (const float p : {0.0f, 0.3f}) {
      for (const bool causal : {true, false}) {
        INFO("T ", T, ", p ", p, ", causal ", causal);
        const auto results = measure_rungs({1, T, T, 2, 2, 24, causal, 0.2f}, p, 1, 7, [](double) {});
        REQUIRE(results.size() == ladder::rungs().size());
        for (size_t n = 0; n < results.size(); ++n) {
          INFO(ladder::rungs()[n].name);
          CHECK(results[n].forward_ms > 0);
          CHECK(results[n].backward_ms > 0);
          CHECK(results[n].backward_ms < 1e6);
          CHECK(results[n].memory > 0);
          CHECK((results[n].error > 0 || T == 1));
          CHECK(results[n].share <= 1);
        }
      }
    }
  }
}
