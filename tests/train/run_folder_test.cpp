#include "train/run_folder.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::error_of;
using test::ScratchFolder;
namespace fs = std::filesystem;

namespace {

TrainOptions completed() {
  TrainOptions options;
  options.complete();
  return options;
}

}  // namespace

TEST_CASE("a run folder is created with its parents, and keeps its options") {
  ScratchFolder folder;
  const std::string root = folder / "runs/first";
  TrainOptions options = completed();
  options.lr = 0.1 + 0.2;
  options.data = {"text \"with\" quotes.txt"};
  options.model.attn_dropout = 0.1f;
  {
    RunFolder run = RunFolder::create(root);
    run.write_config(options);
  }
  CHECK(to_json(read_run_config(existing_run(root))) == to_json(options));
  CHECK(RunFolder::open(root).paths().last() == fs::path(root) / "last");
}

TEST_CASE("a folder that is not empty, is a file, or can't be written is an error") {
  ScratchFolder folder;
  fs::create_directory(folder / "full");
  test::write_file_for_test(folder / "full/precious", "x");
  CHECK(error_of([&] { RunFolder::create(folder / "full"); }).find("not empty") != std::string::npos);
  CHECK(error_of([&] { RunFolder::create(folder / "full/precious"); }).find("precious") != std::string::npos);
  CHECK(error_of([&] { RunFolder::create("/proc/glint"); }).find("/proc/glint") != std::string::npos);
  CHECK(error_of([&] { RunFolder::open(folder / "full"); }).find("no config.json") != std::string::npos);
  CHECK(error_of([&] { RunFolder::open(folder / "missing"); }).find("there is no run folder") != std::string::npos);
  CHECK(std::distance(fs::directory_iterator(folder / "full"), {}) == 1);

  RunFolder::create(folder / "run").write_config(completed());
  CHECK(error_of([&] { RunFolder::create(folder / "run"); }).find("--resume") != std::string::npos);
  RunFolder::create(folder / "at once");  // no run was started
  CHECK(error_of([&] { RunFolder::create(folder / "at once"); }) == "");
}

TEST_CASE("a run folder in use is an error, in this process and another, until its owner ends") {
  ScratchFolder folder;
  const std::string root = folder / "run";
  {
    RunFolder run = RunFolder::create(root);
    run.write_config(completed());
    CHECK(error_of([&] { RunFolder::open(root); }).find("in use") != std::string::npos);
  }
  CHECK(error_of([&] { RunFolder::open(root); }) == "");

  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    RunFolder run = RunFolder::open(root);
    if (write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  CHECK(error_of([&] { RunFolder::open(root); }).find("in use") != std::string::npos);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  CHECK(error_of([&] { RunFolder::open(root); }) == "");
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("metrics: one line each; on resume lines after the checkpoint and an incomplete one are removed") {
  ScratchFolder folder;
  const std::string root = folder / "run", path = root + "/metrics.jsonl";
  RunFolder::create(root).write_config(completed());
  {
    RunFolder run = RunFolder::open(root);
    run.forget_metrics_after(0);  // no file yet
    MetricsLine line;
    line.step = 1, line.tokens = 768, line.loss = 4.25, line.lr = 1e-3, line.grad_norm = NAN, line.step_ms = 2.5;
    run.append(line);
    for (uint64_t step = 2; step <= 5; ++step) {
      MetricsLine more;
      more.step = step;
      more.val_loss = 1.5;
      run.append(more);
    }
  }
  const std::string all = test::read_file(path);
  const std::string first = R"({"step":1,"tokens":768,"loss":4.25,"lr":0.001,"grad_norm":null,"step_ms":2.5})";
  CHECK(all.starts_with(first + "\n"));
  CHECK(std::count(all.begin(), all.end(), '\n') == 5);

  RunFolder run = RunFolder::open(root);
  run.forget_metrics_after(5);
  CHECK(test::read_file(path) == all);
  test::write_file_for_test(path, all + R"({"step":3,"tok)");
  run.forget_metrics_after(5);
  CHECK(test::read_file(path) == all);
  run.forget_metrics_after(3);
  CHECK(all.starts_with(test::read_file(path)));
  CHECK(test::read_file(path).ends_with("{\"step\":3,\"tokens\":0,\"val_loss\":1.5}\n"));
  MetricsLine bare;
  bare.step = 4;
  bare.tokens = 1;
  run.append(bare);
  CHECK(test::read_file(path).ends_with("{\"step\":3,\"tokens\":0,\"val_loss\":1.5}\n{\"step\":4,\"tokens\":1}\n"));
  run.forget_metrics_after(0);
  CHECK(test::read_file(path) == "");
}

TEST_CASE("a config.json that is damaged, incomplete or of another version is an error") {
  ScratchFolder folder;
  const std::string root = folder / "run", path = root + "/config.json";
  RunFolder::create(root).write_config(completed());
  const std::string good = test::read_file(path);
  const auto refused = [&](const std::string& content) {
    test::write_file_for_test(path, content);
    const std::string error = error_of([&] { read_run_config(existing_run(root)); });
    INFO(error);
    CHECK(error.find("config.json") != std::string::npos);
    return error;
  };
  const auto with = [&](const std::string& what, const std::string& by) {
    std::string changed = good;
    REQUIRE(changed.find(what) != std::string::npos);
    return changed.replace(changed.find(what), what.size(), by);
  };
  refused(good.substr(0, good.size() / 2));
  refused("[]");
  CHECK(refused(with("\"version\": 1", "\"version\": 2")).find("version") != std::string::npos);
  CHECK(refused(with("\"layers\"", "\"strata\"")).find("layers") != std::string::npos);
  CHECK(refused(with("\"layers\": 4", "\"layers\": \"four\"")).find("layers") != std::string::npos);
  CHECK(refused(with("\"vocab\"", "\"other\": 1, \"vocab\"")).find("other") != std::string::npos);
  for (const std::string& older : {good, with("\"optimizer-dtype\": \"fp32\",", "")}) {
    test::write_file_for_test(path, older);
    CHECK(error_of([&] { read_run_config(existing_run(root)); }) == "");
  }
}
