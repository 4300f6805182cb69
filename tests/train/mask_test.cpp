// glint mask against FlashAttention-2's mask code (its dropout.h, compiled for the host).
#include <algorithm>

#include <doctest/doctest.h>

#include "kernels/dropout.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::run_program;
using test::ScratchFolder;

namespace {

using test::Arguments;
const Arguments kCommon = {"mask", "--p", "0.1", "--seed", "0x1234567890abcdef"};

}  // namespace

TEST_CASE("mask: the published counts and hashes") {
  const struct {
    Arguments flags;
    std::string kept, sha256;
  } known[] = {
      {{"--rows", "32", "--cols", "64"}, "1835", "4f36c0978db842b1956f1eb30925f6b9810b3777a96475daa7afcc3671fddb97"},
      {{"--batch-index", "1", "--head", "2", "--heads", "3", "--offset", "64", "--rows", "32", "--cols", "64"},
       "1852",
       "f75d1d01520a5f994f0d9071d5b98ac8ffd60e5d4f8c55914b2b49359beb5b2e"},
      {{"--rows", "512", "--cols", "512"},
       "235568",
       "e161287a7f1fa073c6ff6cff582f7b0de729de40eba9e41b1f7142d9d4427f2d"}};
  for (const auto& mask : known) {
    const auto ran = run_program(test::join(kCommon, mask.flags));
    INFO(ran.out, ran.err);
    CHECK(ran.code == 0);
    CHECK(ran.err.empty());
    CHECK(ran.out.starts_with("kept " + mask.kept + " of "));
    CHECK(ran.out.find("\nsha256 " + mask.sha256 + "\n") != std::string::npos);
  }
}

TEST_CASE("mask: the picture's pixels are the mask's elements") {
  ScratchFolder folder;
  const auto ran = run_program(test::join(kCommon, {"--rows", "5", "--cols", "19", "--out", folder / "mask.pbm"}));
  REQUIRE(ran.code == 0);
  CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == 2);  // no picture in the terminal
  const std::string pbm = test::read_file(folder / "mask.pbm"), header = "P4\n19 5\n";
  REQUIRE(pbm.starts_with(header));
  REQUIRE(pbm.size() == header.size() + 5 * 3);
  const uint8_t threshold = keep_rule(0.1f).threshold;
  for (uint32_t i = 0; i < 5; ++i) {
    for (uint32_t j = 0; j < 24; ++j) {
      const auto byte = static_cast<unsigned char>(pbm[header.size() + 3 * i + j / 8]);
      const bool black = byte >> (7 - j % 8) & 1;
      INFO(i, " ", j);
      CHECK(black == (j < 19 && !keep_attention(0x1234567890abcdef, 0, 0, i, j, threshold)));
    }
  }
}

TEST_CASE("mask: in the terminal, one character per element, as many as fit") {
  const auto ran = run_program({"mask", "--p", "0", "--rows", "3", "--cols", "7"});
  CHECK(ran.code == 0);
  CHECK(ran.out.starts_with("kept 21 of 21 (100.00%)\nsha256 "));
  const auto large = run_program(test::join(kCommon, {"--rows", "1000", "--cols", "1000"}));
  CHECK(large.out.find("the first ") != std::string::npos);
  CHECK(std::count(large.out.begin(), large.out.end(), '\n') < 50);
}

TEST_CASE("mask: bad flags are one-line errors") {
  const std::vector<Arguments> cases = {{"--p", "1"},
                                        {"--p", "-0.1"},
                                        {"--p", "nan"},
                                        {"--heads", "0"},
                                        {"--head", "1"},
                                        {"--head", "-1"},
                                        {"--rows", "0"},
                                        {"--cols", "-5"},
                                        {"--rows", "10000000", "--cols", "10000000"},
                                        {"--out", "/nowhere/mask.pbm"}};
  for (const Arguments& bad : cases) {
    const auto ran = run_program(test::join({"mask"}, bad));
    INFO(bad[0], " ", ran.err);
    CHECK(ran.code == (bad[1] == "nan" ? 2 : 1));
    CHECK(ran.out.empty());
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    CHECK(ran.err.starts_with("glint: "));
  }
  CHECK(run_program({"mask", "--rows", "many"}).code == 2);
}
