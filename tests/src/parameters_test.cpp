#include "src/parameters.h"

#include <cstdint>

#include <doctest/doctest.h>

#include "kernels/check.h"

using namespace glint;

TEST_CASE("parameters are flat: decayed tensors first, each aligned, zero padding") {
  Parameters parameters;
  Parameter* norm = parameters.add("norm", {5});
  Parameter* weight = parameters.add("weight", {3, 7});
  Parameter* bias = parameters.add("bias", {7});
  Parameter* table = parameters.add("table", {2, 2});
  parameters.allocate();
  CHECK_THROWS_AS(parameters.add("late", {1}), Error);
  CHECK(weight->offset == 0);
  CHECK(table->offset == 32);
  CHECK(parameters.decayed_elements() == 48);
  CHECK(norm->offset == 48);
  CHECK(bias->offset == 64);
  CHECK(parameters.elements() == 80);
  for (const Parameter& parameter : parameters.all()) CHECK(reinterpret_cast<uintptr_t>(parameter.data()) % 64 == 0);
  CHECK(parameters.gradients() == nullptr);
  parameters.allocate_training();
  CHECK(parameters.bytes() == 4 * 80 * sizeof(float));
  for (size_t i = 0; i < 80; ++i) CHECK(parameters.gradients()[i] == 0.0f);
}

TEST_CASE("out of memory is a user error that says how much is needed") {
  try {
    DeviceMemory(size_t{1} << 60, "a huge buffer");
    FAIL("2^60 bytes were granted");
  } catch (const UserError& error) {
    const std::string message = error.what();
    CHECK(message.find("a huge buffer") != std::string::npos);
    CHECK(message.find("1.2 EB") != std::string::npos);
  }
}

TEST_CASE("human-readable sizes") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(999) == "999 B");
  CHECK(human_bytes(1500) == "1.5 kB");
  CHECK(human_bytes(2.6e9) == "2.6 GB");
  CHECK(human_bytes(999.6e6) == "1.0 GB");
}
