// glint study: the files that it writes, and what it says about flags that it can't use.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "kernels/ladder/ladder.h"
#include "tests/train/run_program.h"
#include "train/study/study.h"

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
  CHECK(count_of(ran.err, "\n") == 4);  // a line for each part
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
  CHECK(page.find("`glint study ladder --out DIR --heads 2 --head-size 16 --context 40,96 --dropout 0.2 ") !=
        std::string::npos);
  CHECK(page.find("## T 96, dropout 0.2\n") != std::string::npos);
  for (const char* picture : {"ladder.svg", "memory.svg"}) {
    INFO(picture);
    const std::string svg = test::read_file(folder / "new/study/" + picture);
    CHECK(page.find(str_cat("(", picture, ")")) != std::string::npos);
    CHECK(svg.starts_with("<svg "));
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(count_of(svg, "stroke-linejoin") == 2 * rungs.size());  // lines
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
               {{"--heads", "-1"}, "--heads -1: "},
               {{"--dropout", "1"}, "--dropout 1 is not in [0, 1)"},
               {{"--dropout", "nan"}, "--dropout"},
               {{"--repeats", "0"}, "--repeats"},
               {{"--device", "tpu"}, "--device"},
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

TEST_CASE("study: what is done is kept, and an interrupted study goes on after it") {
  test::ScratchFolder folder;
  const StudyFlags flags{.out = folder / "study"};
  const nlohmann::ordered_json settings = {{"seed", 1}, {"rate", 0.1}, {"list", {1, 2}}};
  std::vector<std::string> worked;
  bool stops = true;
  const auto unit = [&](const std::string& name, bool fails) {
    return StudyUnit{.name = name, .work = [&worked, &stops, name, fails](const PartDone& part_done) {
                       part_done(0.5);
                       if (fails && stops) throw UserError("stopped");
                       worked.push_back(name);
                       return nlohmann::ordered_json{{"name", name}, {"third", 1.0 / 3}};
                     }};
  };
  const std::vector<StudyUnit> units = {unit("a / b", false), unit("c", true), unit("d", false)};
  const auto run = [&](const nlohmann::ordered_json& of) { return Study("test", flags, of).run(units); };
  CHECK(test::error_of([&] { run(settings); }) == "stopped");
  CHECK(worked == std::vector<std::string>{"a / b"});
  CHECK(std::filesystem::exists(folder / "study/done/a_b.json"));
  stops = false;
  for (int again = 0; again < 2; ++again) {
    const auto results = run(settings);
    CHECK(worked == std::vector<std::string>{"a / b", "c", "d"});
    REQUIRE(results.size() == 3);
    CHECK(results[0]["name"] == "a / b");
    CHECK(results[2]["third"] == 1.0 / 3);  // to the last bit
  }
  test::write_file_for_test(folder / "study/done/c.json", "{\"half\": ");  // damaged: done again
  run(settings);
  CHECK(worked.size() == 4);

  // Other settings, another study, other files, in use.
  CHECK(test::error_of([&] {
          run({{"seed", 2}, {"rate", 0.1}, {"list", {1, 2}}});
        }).find("--seed 1 instead of 2") != std::string::npos);
  CHECK(test::error_of([&] { Study("other", flags, settings); }).find("holds a study test") != std::string::npos);
  const Study open("test", flags, settings);
  CHECK(test::error_of([&] { Study("test", flags, settings); }).find("is in use") != std::string::npos);
  std::filesystem::create_directory(folder / "full");
  test::write_file_for_test(folder / "full/thesis.tex", "");
  CHECK(test::error_of([&] { Study("test", {.out = folder / "full"}, settings); }).find("thesis.tex") !=
        std::string::npos);
  CHECK(!std::filesystem::exists(folder / "full/done"));

  open.write_page("A title", "The body.\n");
  const std::string page = test::read_file(folder / "study/study.md");
  CHECK(page.starts_with("# A title\n\n`glint study test --out DIR --seed 1 --rate 0.1 --list 1,2`\n"));
  CHECK(page.ends_with("\n\nThe body.\n"));
}

TEST_CASE("study: Ctrl-C ends it after a line, and the same command goes on") {
  test::ScratchFolder folder;
  const std::vector<std::string> command = {"study", "ladder", "--out", folder / "study", "--context", "32,2048"};
  test::Running running(command);
  for (int wait = 0; wait < 600 && !std::filesystem::exists(folder / "study/done/T_32_no_dropout.json"); ++wait)
    usleep(50000);
  running.send(SIGINT);
  const test::Ran ran = running.wait();
  INFO(ran.err);
  CHECK(ran.code == 130);
  CHECK(ran.err.find("stopped; 1 of 4 parts are kept") != std::string::npos);
  CHECK(!std::filesystem::exists(folder / "study/study.md"));
  const test::Ran other = run_program({"study", "ladder", "--out", folder / "study", "--quick"});
  CHECK(other.code == 1);
  CHECK(other.err.find("--context 32,2048 instead of 64,128") != std::string::npos);
}

TEST_CASE("study cost: times, memory, and what they claim") {
  test::ScratchFolder folder;
  const auto ran = run_program({"study", "cost", "--out", folder / "study", "--quick", "--device", "cpu", "--lengths",
                                "16,128", "--layers", "3"});
  INFO(ran.err);
  REQUIRE(ran.code == 0);
  const auto json = nlohmann::json::parse(test::read_file(folder / "study/cost.json"));
  double share = 0;
  for (const auto& op : json["ops"]["ops"]) {
    share += op["share"].get<double>();
    CHECK(op["ms"] > 0);
    CHECK(op["roofline_ms"].get<double>() == doctest::Approx(op["ms"].get<double>() * op["of_peak"].get<double>()));
  }
  CHECK(share == doctest::Approx(1));

  // The map of the arena: nothing live at the same step overlaps, and nothing lies outside.
  for (const char* kind : {"arena", "arena_with_recompute"}) {
    const auto& arena = json[kind];
    const auto& buffers = arena["buffers"];
    INFO(kind);
    CHECK(buffers.size() > 20);
    size_t overlaps = 0;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const size_t begin = buffers[i]["offset"], end = begin + buffers[i]["bytes"].get<size_t>();
      CHECK(end <= arena["bytes"]);
      for (size_t j = 0; j < i; ++j) {
        const size_t other = buffers[j]["offset"];
        if (end <= other || other + buffers[j]["bytes"].get<size_t>() <= begin) continue;
        for (const auto& a : buffers[i]["live"])
          for (const auto& b : buffers[j]["live"]) overlaps += a[0] <= b[1] && b[0] <= a[1];
      }
    }
    CHECK(overlaps == 0);
  }
  CHECK(json["arena_with_recompute"]["bytes"] < 0.8 * json["arena"]["bytes"].get<double>());
  CHECK(json["arena_with_recompute"]["steps"].size() > json["arena"]["steps"].size());

  CHECK(json["sites"].size() == 6);
  const auto& longest = json["lengths"][1]["steps"];  // flash, flash with dropout, reference, reference with dropout
  REQUIRE(longest.size() == 4);
  CHECK(longest[0]["arena_bytes"] == longest[1]["arena_bytes"]);  // no mask is stored
  CHECK(longest[2]["arena_bytes"] > longest[0]["arena_bytes"]);   // the reference stores T x T weights

  const std::string page = test::read_file(folder / "study/study.md");
  for (const char* picture : {"ops.svg", "arena.svg", "sites.svg", "lengths.svg"}) {
    INFO(picture);
    CHECK(page.find(str_cat("(", picture, ")")) != std::string::npos);
    CHECK(test::read_file(folder / "study/" + picture).ends_with("</svg>\n"));
  }
  CHECK(count_of(test::read_file(folder / "study/arena.svg"), ">backward</text>") == 2);

  // The same command again measures nothing.
  const auto again = run_program({"study", "cost", "--out", folder / "study", "--quick", "--device", "cpu", "--lengths",
                                  "16,128", "--layers", "3"});
  CHECK(again.code == 0);
  CHECK(again.err.empty());
  CHECK(nlohmann::json::parse(test::read_file(folder / "study/cost.json")) == json);
}

TEST_CASE("study cost: wrong flags are one line") {
  test::ScratchFolder folder;
  const struct {
    std::vector<std::string> flags;
    std::string message;
  } cases[] = {{{"--lengths", "0"}, "--lengths 0: give numbers from 1"},
               {{"--dropout", "0"}, "--dropout 0 is not in"},
               {{"--heads", "3"}, "--heads"},
               {{"--micro-batch", "3"}, "--micro-batch 3"},
               {{"--embd", "100000000"}, "memory"},
               {{"--steps", "0"}, "--steps"}};
  for (const auto& wrong : cases) {
    std::vector<std::string> arguments = {"study", "cost", "--device", "cpu", "--out", folder / "study"};
    arguments.insert(arguments.end(), wrong.flags.begin(), wrong.flags.end());
    const auto ran = run_program(arguments);
    INFO(wrong.message, ": ", ran.err);
    CHECK(ran.code != 0);
    CHECK(ran.err.find(wrong.message) != std::string::npos);
    CHECK(count_of(ran.err, "\n") == 1);
    CHECK(!std::filesystem::exists(folder / "study"));
  }
}
