// train/plot.sh plots metrics.jsonl.
#include <doctest/doctest.h>

#include "tests/train/run_program.h"

using namespace glint;

namespace {

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

test::Ran plot(const std::vector<std::string>& runs) {
  return test::Running(runs, GLINT_SOURCE_DIR "/train/plot.sh").wait();
}

}  // namespace

TEST_CASE("plot: one curve of training and one of validation for each run, without NaN") {
  const test::ScratchFolder folder;
  for (const std::string run : {"a", "b"}) {
    std::filesystem::create_directory(folder / run);
    test::write_file_for_test(folder / run + "/metrics.jsonl",
                              "{\"step\":0,\"val_loss\":4.0,\"train_loss\":4.1}\n"
                              "{\"step\":10,\"loss\":3.5}\n"
                              "{\"step\":20,\"loss\":2e0,\"val_loss\":2.0}\n"
                              "{\"step\":30,\"loss\":null}\n");
  }
  const test::Ran ran = plot({folder / "a", folder / "b"});
  CHECK(ran.code == 0);
  CHECK(ran.err == "");
  CHECK(ran.out.starts_with("<svg "));
  CHECK(ran.out.ends_with("</svg>\n"));
  CHECK(occurrences(ran.out, "<polyline") == 4);
  CHECK(occurrences(ran.out, "points=\"60.0,100.0 660.0,340.0 \"") ==
        2);  // 4 at step 0, 2 at step 20; axis from 2 to 4.5
  CHECK(plot({folder / "nothing"}).code == 1);
  CHECK(plot({}).code == 2);
}
