#include "kernels/cuda/dynamic_library.h"

#include <cmath>
#include <string>

#include <doctest/doctest.h>

using namespace glint;

namespace {

const DynamicLibrary& mathematics() {
  static const DynamicLibrary library("libm.so.6", "", "a test");
  return library;
}

template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a library is loaded at a function's first call") {
  CHECK(GLINT_LOADED(mathematics, cbrtl)(27.0L) == 3.0L);
  CHECK(error_of([] { mathematics().function<void()>("no_such_function"); }) ==
        "libm.so.6 has no no_such_function: it is another version than glint was built with");
}

TEST_CASE("a missing library is named in one line, with what to do") {
  const std::string error =
      error_of([] { DynamicLibrary("libno_such_library.so.9", "/nowhere", "matrix products on GPUs"); });
  INFO(error);
  CHECK(error.starts_with("libno_such_library.so.9, for matrix products on GPUs, cannot be loaded ("));
  CHECK(error.ends_with("; install it, or add its folder to LD_LIBRARY_PATH, or use `device` cpu"));
  CHECK(error.find('\n') == std::string::npos);
}
