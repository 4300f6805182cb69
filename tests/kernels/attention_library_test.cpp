// libglint_attention.so as a program outside of the project meets it.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "kernels/check.h"

namespace glint::test {
namespace {

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  REQUIRE(pipe);
  std::string output;
  char part[4096];
  while (const size_t n = fread(part, 1, sizeof part, pipe.get())) output.append(part, n);
  return output;
}

}  // namespace

TEST_CASE("attention library: exports its C functions and nothing else") {
  std::istringstream lines(output_of(str_cat("nm -D --defined-only --format=posix '", GLINT_ATTENTION_LIBRARY, "'")));
  std::set<std::string> exported;
  for (std::string line; std::getline(lines, line);) {
    const std::string name = line.substr(0, line.find_first_of(" @"));
    if (name != "GLINT_ATTENTION_1") exported.insert(name);  // the version of the symbols
  }
  CHECK(exported == std::set<std::string>{"glint_attention_backward", "glint_attention_error",
                                          "glint_attention_forward", "glint_attention_version",
                                          "glint_attention_workspace"});
}

TEST_CASE("attention library: a C99 program uses it") {
  CHECK(std::system("'" GLINT_ATTENTION_EXAMPLE "' > /dev/null") == 0);
}

}  // namespace glint::test
