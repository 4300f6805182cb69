// glint study: the files that it writes, and what it says about flags that it can't use.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "kernels/ladder/ladder.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::run_program;

namespace {

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("study ladder: a page, figures and a picture; every rung within its bound") {
  test::ScratchFolder folder;
  const auto ran = run_program({"study", "ladder", "--out", folder / "new/study", "--context", "96,40", "--head-size",
                                "16", "--repeats", "1", "--dropout", "0.2"});
  INFO(ran.out, ran.err);
  REQUIRE(ran.code == 0);
  CHECK(ran.err.empty());
  const auto json = nlohmann::json::parse(test::read_file(folder / "new/study/ladder.json"));
  const auto rungs = ladder::rungs();
  REQUIRE(json.size() == 4 * rungs.size());  // two lengths, with dropout and without
  for (size_t n = 0; n < json.size(); ++n) {
    const auto& row = json[n];
    INFO(row.dump());
    CHECK(row["rung"] == rungs[n % rungs.size()].name);
    CHECK(row["context"] == (n / rungs.size() % 2 ? 96 : 40));  // in order
    CHECK(row["dropout"] == (n < 2 * rungs.size() ? 0.0 : 0.2));
    CHECK(row["forward_ms"] > 0);
    CHECK(row["backward_ms"] > 0);
    CHECK(row["error"] > 0);
    CHECK(row["error_of_allowed"] <= 1);
  }
  const std::string page = test::read_file(folder / "new/study/study.md");
  CHECK(count_of(page, "\n| 8 ") == 4);
  CHECK(page.find("`glint study ladder --heads 2 --head-size 16 --context 40,96 --dropout 0.2 ") != std::string::npos);
  CHECK(page.find("## T 96, dropout 0.2\n") != std::string::npos);
  for (const char* picture : {"ladder.svg", "memory.svg"}) {
    INFO(picture);
    const std::string svg = test::read_file(folder / "new/study/" + picture);
    CHECK(page.find(str_cat("(", picture, ")")) != std::string::npos);
    CHECK(svg.starts_with("<svg "));
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(count_of(svg, "<polyline") == 2 * rungs.size());
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("inf") == std::string::npos);
  }
}

TEST_CASE("study ladder: wrong flags are one line") {
  test::ScratchFolder folder;
  test::write_file_for_test(folder / "file", "");
  const struct {
    std::vector<std::string> flags;
    std::string message;
  } cases[] = {{{"--context", "0"}, "--context 0: give numbers from 1"},
               {{"--context", "12,many"}, "--context"},
               {{"--context", "65536", "--heads", "1000"}, "of memory; give fewer --heads"},
               {{"--head-size", "20"}, "--head-size 20: give a multiple of 8"},
               {{"--heads", "0"}, "--heads 0: "},
               {{"--dropout", "1"}, "--dropout 1 is not in [0, 1)"},
               {{"--dropout", "nan"}, "--dropout"},
               {{"--repeats", "0"}, "--repeats"},
               {{"--out", folder / "file"}, folder / "file"}};
  for (const auto& wrong : cases) {
    std::vector<std::string> arguments = {"study", "ladder"};
    arguments.insert(arguments.end(), wrong.flags.begin(), wrong.flags.end());
    if (wrong.flags[0] != "--out") arguments.insert(arguments.end(), {"--out", folder / "study"});
    const auto ran = run_program(arguments);
    INFO(wrong.message, ": ", ran.err);
    CHECK(ran.code != 0);
    CHECK(ran.err.find(wrong.message) != std::string::npos);
    CHECK(count_of(ran.err, "\n") == 1);
    CHECK(!std::filesystem::exists(folder / "study"));
  }
}
