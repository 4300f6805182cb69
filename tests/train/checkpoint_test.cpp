#include "train/checkpoint/checkpoint.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/durable.h"
#include "kernels/check.h"
#include "tests/random.h"
#include "tests/train/run_program.h"
#include "train/checkpoint/weights.h"

using namespace glint;
using test::error_of;
using test::RandomInputs;
using test::ScratchFolder;
namespace fs = std::filesystem;

namespace {

// Tensors in one buffer.
struct Tensors {
  std::vector<float> values;
  std::vector<TensorView> views;

  explicit Tensors(float value) : values(10, value) {
    views = {{"wte.weight", {3, 2}, values.data()}, {"h.0.attn.c_attn.bias", {4}, values.data() + 6}};
  }
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;
};

CheckpointState state_at(uint64_t step) {
  CheckpointState state;
  state.step = step;
  state.tokens = 768 * step;
  state.rng_seed = 0xfedcba9876543210;
  state.rng_offset = 96 * step;
  state.best_val_loss = 1.1;
  state.options.complete();
  state.options.model.vocab = 65;
  return state;
}

void write_weights(const std::string& folder, const std::vector<TensorView>& tensors) {
  DurableFolder out(folder);
  write_safetensors(out, "model.safetensors", tensors);
  out.commit();
}

}  // namespace

TEST_CASE("a checkpoint restores every bit that was saved") {
  ScratchFolder folder;
  RandomInputs inputs(5);
  INFO(inputs.seed);
  Tensors model(0), m(0), v(0);
  for (Tensors* tensors : {&model, &m, &v}) {
    const std::vector<float> random = inputs.normal(tensors->values.size());
    std::copy(random.begin(), random.end(), tensors->values.begin());
  }
  model.values[3] = -0.0f, m.values[1] = 1e-42f;  // a sign and a denormal
  CheckpointState state = state_at(123);
  state.end_token = 64;
  state.options.lr = 0.1 + 0.2;
  state.options.model.attn_dropout = 0.1f;
  CHECK(!has_checkpoint(folder / "last"));
  save_checkpoint(folder / "last", model.views, m.views, v.views, state);
  CHECK(has_checkpoint(folder / "last"));
  const auto hf = nlohmann::json::parse(test::read_file(folder / "last/config.json"));
  CHECK(hf["eos_token_id"] == 64);
  CHECK(hf["bos_token_id"] == 64);

  Tensors model2(1), m2(2), v2(3);
  const CheckpointState loaded = load_checkpoint(folder / "last", model2.views, m2.views, v2.views);
  CHECK(std::memcmp(model.values.data(), model2.values.data(), 40) == 0);
  CHECK(std::memcmp(m.values.data(), m2.values.data(), 40) == 0);
  CHECK(std::memcmp(v.values.data(), v2.values.data(), 40) == 0);
  CHECK(loaded.step == 123);
  CHECK(loaded.tokens == state.tokens);
  CHECK(loaded.rng_seed == state.rng_seed);
  CHECK(loaded.rng_offset == state.rng_offset);
  CHECK(loaded.best_val_loss == 1.1);
  CHECK(loaded.options.model.vocab == 65);
  CHECK(to_json(loaded.options) == to_json(state.options));
  CHECK(loaded.options.lr == state.options.lr);
  CHECK(read_checkpoint_state(folder / "last").step == 123);

  state.best_val_loss.reset();
  save_checkpoint(folder / "last", model.views, {}, {}, state);  // without an optimizer
  CHECK(!load_checkpoint(folder / "last", model2.views).best_val_loss);
  CHECK(error_of([&] { load_checkpoint(folder / "last", model2.views, m2.views, v2.views); }).find("optimizer") !=
        std::string::npos);
}

TEST_CASE("moments in bf16 are stored as such and restored bit for bit; another format is named") {
  ScratchFolder folder;
  Tensors model(1);
  std::vector<Bf16> m, v, m2(10), v2(10);
  for (uint16_t i = 0; i < 10; ++i) m.push_back({static_cast<uint16_t>(0x8001 + i * 999)}), v.push_back({i});
  const auto views = [&](std::vector<Bf16>& values) {
    auto result = model.views;
    for (size_t i = 0; i < 2; ++i) result[i].data = values.data() + 6 * i, result[i].dtype = DType::bf16;
    return result;
  };
  save_checkpoint(folder / "last", model.views, views(m), views(v), state_at(7));
  load_checkpoint(folder / "last", model.views, views(m2), views(v2));
  CHECK(std::memcmp(m.data(), m2.data(), 20) == 0);
  CHECK(std::memcmp(v.data(), v2.data(), 20) == 0);
  Tensors wrong(0);
  CHECK(error_of([&] {
          load_checkpoint(folder / "last", model.views, wrong.views, wrong.views);
        }).find("m.wte.weight is not of type F32") != std::string::npos);
}

TEST_CASE("a changed byte, a truncated or a missing file: the error names the file in one line") {
  ScratchFolder folder;
  Tensors model(1), m(2), v(3);
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json"}) {
    save_checkpoint(folder / "last", model.views, m.views, v.views, state_at(7));
    const std::string path = folder / "last/" + name, good = test::read_file(path);
    const auto refused = [&] {
      Tensors model2(0), m2(0), v2(0);
      const std::string error = error_of([&] { load_checkpoint(folder / "last", model2.views, m2.views, v2.views); });
      CHECK(error.find(name) != std::string::npos);
      CHECK(error.find('\n') == std::string::npos);
    };
    for (size_t at = 0; at < good.size(); at += 3) {
      if (good[at] == ' ' || good[at] == '\n') continue;  // spaces between JSON tokens are ignored
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 1);
      INFO(name, " changed at byte ", at);
      test::write_file_for_test(path, bad);
      refused();
    }
    for (size_t length : {size_t{0}, size_t{5}, good.size() / 2, good.size() - 4}) {
      INFO(name, " cut to ", length);
      test::write_file_for_test(path, good.substr(0, length));
      refused();
    }
    fs::remove(path);
    INFO(name, " missing");
    refused();
  }
  CHECK(error_of([&] { read_checkpoint_state(folder / "nothing"); }).find("no checkpoint") != std::string::npos);
}

TEST_CASE("a checkpoint of another version: the error names the version") {
  ScratchFolder folder;
  Tensors model(1);
  save_checkpoint(folder / "last", model.views, {}, {}, state_at(7));
  auto json = nlohmann::ordered_json::parse(test::read_file(folder / "last/state.json"));
  json["version"] = kCheckpointVersion + 1;
  test::write_file_for_test(folder / "last/state.json", json.dump());
  const std::string error = error_of([&] { load_checkpoint(folder / "last", model.views); });
  CHECK(error.find("version 2") != std::string::npos);
}

TEST_CASE("tensors that are missing, left over or of another shape are named") {
  ScratchFolder folder;
  Tensors model(1), m(2), v(3);
  save_checkpoint(folder / "last", model.views, m.views, v.views, state_at(7));
  Tensors other(0);
  const auto load = [&] { return error_of([&] { load_checkpoint(folder / "last", other.views); }); };
  other.views[0].shape = {2, 3};
  CHECK(load().find("wte.weight is of shape [3, 2] and should be [2, 3]") != std::string::npos);
  other.views[0].shape = {3, 2};
  other.views[0].name = "wpe.weight";
  CHECK(load().find("does not have wpe.weight") != std::string::npos);
  other.views.erase(other.views.begin());
  CHECK(load().find("has wte.weight, which is not part of this model") != std::string::npos);
  Tensors model2(0), m2(0), v2(0);
  v2.views.pop_back();
  CHECK(error_of([&] {
          load_checkpoint(folder / "last", model2.views, m2.views, v2.views);
        }).find("v.h.0.attn.c_attn.bias") != std::string::npos);
}

TEST_CASE("Hugging Face weights are read, with their name prefix, buffers and tied head") {
  ScratchFolder folder;
  float wte[6] = {1, 2, 3, 4, 5, 6}, bias[4] = {7, 8, 9, 10}, mask[4] = {1, 0, 1, 1}, other[6] = {0, 2, 3, 4, 5, 6};
  const std::vector<TensorView> dressed = {{"transformer.wte.weight", {3, 2}, wte},
                                           {"transformer.h.0.attn.c_attn.bias", {4}, bias},
                                           {"transformer.h.0.attn.bias", {1, 1, 2, 2}, mask},
                                           {"transformer.h.0.attn.masked_bias", {}, mask}};
  const auto load = [&](const std::vector<TensorView>& tensors) {
    Tensors model(0);
    write_weights(folder / "theirs", tensors);
    const SafetensorsFile file(folder / "theirs/model.safetensors");
    const std::string error = error_of([&] { load_weights({&file, 1}, model.views); });
    if (error.empty()) CHECK(model.values == std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    return error;
  };
  CHECK(load(dressed) == "");
  std::vector<TensorView> with_head = dressed;
  with_head.push_back({"lm_head.weight", {3, 2}, wte});
  CHECK(load(with_head) == "");
  with_head.back().data = other;
  CHECK(load(with_head).find("an output head of its own") != std::string::npos);
  std::vector<TensorView> head_only = dressed;
  head_only[0].name = "lm_head.weight";
  CHECK(load(head_only) == "");
  std::vector<TensorView> twice = dressed;
  twice.push_back({"wte.weight", {3, 2}, wte});
  CHECK(load(twice).find("twice") != std::string::npos);
  std::vector<TensorView> extra = dressed;
  extra.push_back({"transformer.ln_f.bias", {4}, bias});
  CHECK(load(extra).find("ln_f.bias, which is not part") != std::string::npos);
}

TEST_CASE("weights: more rows than the model has are left out where that is asked for, from several files in bf16") {
  ScratchFolder folder;
  const std::vector<float> rows = {1, 2, 3, 4, 5, 6, 70, 80};
  std::vector<Bf16> rounded(rows.size()), bias(4);
  std::transform(rows.begin(), rows.end(), rounded.begin(), to_bf16);
  std::transform(rows.begin(), rows.begin() + 4, bias.begin(), to_bf16);
  write_weights(folder / "a", {{"wte.weight", {4, 2}, rounded.data(), DType::bf16}});
  write_weights(folder / "b", {{"h.0.attn.c_attn.bias", {4}, bias.data(), DType::bf16}});
  std::vector<SafetensorsFile> files;
  for (const char* name : {"a", "b"}) files.emplace_back(folder / name + "/model.safetensors");
  Tensors model(0);
  CHECK(error_of([&] { load_weights(files, model.views); }).find("[4, 2] and should be [3, 2]") != std::string::npos);
  load_weights(files, model.views, MoreRows::left_out);
  CHECK(model.values == std::vector<float>{1, 2, 3, 4, 5, 6, 1, 2, 3, 4});
  files.pop_back();
  CHECK(error_of([&] { load_weights(files, model.views, MoreRows::left_out); }).find("c_attn.bias") !=
        std::string::npos);
}

TEST_CASE("a checkpoint of step 0 without an optimizer's file has moments of 0; a later one is refused") {
  ScratchFolder folder;
  for (const uint64_t step : {0, 1}) {
    Tensors model(3), m(1), v(2);
    save_checkpoint(folder / "last", model.views, {}, {}, state_at(step));
    const std::string error = error_of([&] { load_checkpoint(folder / "last", model.views, m.views, v.views); });
    CHECK((error == "") == (step == 0));
    CHECK((m.values == std::vector<float>(10, 0.0f)) == (step == 0));
    CHECK((v.values == std::vector<float>(10, 0.0f)) == (step == 0));
  }
}

TEST_CASE("a process that saves continuously, killed at random times, always leaves a complete checkpoint") {
  RandomInputs random(static_cast<uint64_t>(getpid()));
  INFO("seed ", random.seed);
  ScratchFolder folder;
  const std::string last = folder / "last";
  const auto save = [&](uint64_t step) {
    const float value = static_cast<float>(step);
    const Tensors model(value), m(value + 0.25f), v(value + 0.5f);
    save_checkpoint(last, model.views, m.views, v.views, state_at(step));
  };
  const auto start = std::chrono::steady_clock::now();
  save(1);
  const auto microseconds =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  const uint64_t longest = 12'000 + 4 * static_cast<uint64_t>(microseconds);  // some children complete a save or two
  uint64_t step = 1, saved = 0;
  for (int kills = 0; kills < 25; ++kills) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (uint64_t next = step + 1;; ++next) save(next);
    }
    usleep(static_cast<useconds_t>(500 + random.below(static_cast<int>(longest))));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));

    Tensors model(0), m(0), v(0);
    const CheckpointState state = load_checkpoint(last, model.views, m.views, v.views);
    CHECK(state.step >= step);
    saved += state.step - step;
    step = state.step;
    CHECK(state.rng_offset == 96 * step);
    const float value = static_cast<float>(step);
    CHECK(model.values == std::vector<float>(10, value));
    CHECK(m.values == std::vector<float>(10, value + 0.25f));
    CHECK(v.values == std::vector<float>(10, value + 0.5f));
  }
  CHECK(saved > 0);
}

TEST_CASE("a checkpoint read while another process saves newer ones is one of them, complete") {
  ScratchFolder folder;
  const std::string last = folder / "last";
  const auto save = [&](uint64_t step) {
    const Tensors model(static_cast<float>(step)), m(0), v(0);
    save_checkpoint(last, model.views, m.views, v.views, state_at(step));
  };
  save(1);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    for (uint64_t step = 2;; ++step) {
      save(step);
      usleep(2000);
    }
  }
  std::string error;
  for (int reads = 0; reads < 200 && error.empty(); ++reads) {
    Tensors model(0);
    error = error_of([&] {
      const uint64_t step = load_checkpoint(last, model.views).step;
      CHECK(model.values == std::vector<float>(10, static_cast<float>(step)));
    });
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  CHECK(error == "");
}
