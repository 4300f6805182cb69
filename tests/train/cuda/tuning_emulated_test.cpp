// glint train --tune on an emulated GPU, whose matrix products have several algorithms: each sums in another order, so
// that another choice shows in the bits, and which is the fastest is given (kernels/simt/runtime.h).
#include <filesystem>
#include <memory>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/src/comm/rank_processes.h"
#include "tests/train/cuda/cuda_program.h"

using namespace glint;
using namespace glint::test;

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const Arguments kTuned = {"--device", "cuda", "--dtype", "bf16", "--tune", "true", "--activation", "tanh"};

Ran train(const ScratchFolder& folder, const std::string& device, const std::string& name, const std::string& steps) {
  const Ran ran = run_on(device, tiny_run(folder, name, steps, kTuned));
  INFO(ran.err);
  REQUIRE(ran.code == 0);
  return ran;
}
Ran resume(const ScratchFolder& folder, const std::string& device, const std::string& name, const std::string& steps) {
  const Ran ran = run_on(device, {"train", "--resume", folder / name, "--steps", steps});
  INFO(ran.err);
  REQUIRE(ran.code == 0);
  return ran;
}
bool same_weights(const ScratchFolder& folder, const std::string& a, const std::string& b) {
  const std::string file = "/last/model.safetensors";
  return test::read_file(folder / (a + file)) == test::read_file(folder / (b + file));
}
json table_of(const ScratchFolder& folder, const std::string& name) {
  return json::parse(test::read_file(folder / (name + "/products.json")));
}
json products_of(const ScratchFolder& folder, const std::string& name) { return table_of(folder, name).at("products"); }
void copy_run(const ScratchFolder& folder, const std::string& from, const std::string& to) {
  fs::copy(folder / from, folder / to, fs::copy_options::recursive);
}

}  // namespace

TEST_CASE("train --tune: chooses what is fastest, and a resume keeps the choice and so the bits") {
  ScratchFolder folder;
  write_text(folder);
  const Ran ran = train(folder, "late guarded algorithms=4 fastest=2", "straight", "6");
  CHECK(ran.err.find("matrix products: ") != std::string::npos);
  const json products = products_of(folder, "straight");
  CHECK(products.size() >= 15);
  size_t added = 0, epilogues = 0;
  for (const json& product : products) {
    INFO(product.dump());
    CHECK(product.at("candidates") == 4);
    CHECK(product.at("chosen") == 2);
    CHECK(product.at("us") < product.at("first_us"));
    CHECK(product.at("algorithm").get<std::string>().size() == 128);
    added += product.at("add") == true, epilogues += product.at("epilogue") != "none";
  }
  CHECK(added >= 4);  // gradients of the second micro-batch
  CHECK(epilogues >= 2);

  train(folder, "algorithms=4 fastest=2", "resumed", "3");
  copy_run(folder, "resumed", "forgetful");
  fs::remove(folder / "forgetful/products.json");
  const Ran again = resume(folder, "algorithms=4 fastest=3", "resumed", "6");
  CHECK(again.err.find("products") == std::string::npos);  // nothing to measure
  CHECK(same_weights(folder, "straight", "resumed"));
  resume(folder, "algorithms=4 fastest=3", "forgetful", "6");
  CHECK_FALSE(same_weights(folder, "straight", "forgetful"));
}

TEST_CASE("train --tune: choices of another GPU or library, or that no longer exist, are measured again and said") {
  ScratchFolder folder;
  write_text(folder);
  train(folder, "algorithms=4 fastest=3", "run", "1");
  const auto check_again = [&](const std::string& name, const std::string& device, const std::string& expected) {
    INFO(name);
    const Ran ran = resume(folder, device, name, "2");
    INFO(ran.err);
    CHECK(ran.err.find(expected) != std::string::npos);
    CHECK(ran.err.find("measured again") != std::string::npos);
    for (const json& product : products_of(folder, name)) CHECK(product.at("chosen") == 1);
    CHECK(resume(folder, device, name, "3").err.find("measured again") == std::string::npos);
  };
  for (const char* copy : {"vanished", "gpu", "library", "damaged"}) copy_run(folder, "run", copy);
  check_again("vanished", "algorithms=2 fastest=1", "choices that no longer exist");
  for (const auto& [copy, key, value] :
       std::vector<std::tuple<std::string, std::string, json>>{{"gpu", "gpu", "GPU X"}, {"library", "cublaslt", 5}}) {
    json table = table_of(folder, copy);
    table[key] = value;
    write_file_for_test(folder / (copy + "/products.json"), table.dump());
    check_again(copy, "algorithms=4 fastest=1", key == "gpu" ? "is of GPU X" : "with cuBLASLt 5");
  }
  write_file_for_test(folder / "damaged/products.json", "{\"gpu\": \"emulated GPU\"");
  check_again("damaged", "algorithms=4 fastest=1", "is damaged");
}

TEST_CASE("train --tune: a product and its epilogue are computed apart where that is faster") {
  ScratchFolder folder;
  write_text(folder);
  train(folder, "algorithms=2 fastest=1 slow-epilogues", "run", "2");
  size_t apart = 0;
  for (const json& product : products_of(folder, "run"))
    if (product.at("epilogue") == "gelu" || product.at("epilogue") == "gelu_backward") {
      INFO(product.dump());
      CHECK(product.at("algorithm").is_null());
      ++apart;
    }
  CHECK(apart == 2);
  train(folder, "algorithms=2 fastest=1", "straight", "4");
  resume(folder, "algorithms=2 fastest=1", "run", "4");
  CHECK_FALSE(same_weights(folder, "run", "straight"));
}

TEST_CASE("train --tune false: the library's own choice, and no file") {
  ScratchFolder folder;
  write_text(folder);
  const Arguments plain = {"--device", "cuda", "--dtype", "bf16", "--activation", "tanh"};
  REQUIRE(run_on("algorithms=4 fastest=2", tiny_run(folder, "several", "3", plain)).code == 0);
  REQUIRE(run_on("", tiny_run(folder, "one", "3", plain)).code == 0);
  CHECK(same_weights(folder, "several", "one"));
  CHECK_FALSE(fs::exists(folder / "several/products.json"));
}

TEST_CASE("train --tune: the choices of rank 0 hold for all ranks") {
  ScratchFolder folder;
  write_text(folder);
  const auto start = [&](const std::string& name, int port, int rank, const std::string& device) {
    const Arguments variables = {str_cat("RANK=", rank),        "WORLD_SIZE=2",
                                 str_cat("LOCAL_RANK=", rank),  "MASTER_ADDR=127.0.0.1",
                                 str_cat("MASTER_PORT=", port), "SIMT_DEVICE=devices=2 " + device};
    const Arguments run = tiny_run(folder, name, "3", join(kTuned, {"--comm-timeout", "30", "--threads", "1"}));
    return std::make_unique<Running>(join(join(variables, {GLINT_PROGRAM}), run), "/usr/bin/env");
  };
  // The device of rank 1. One algorithm: it cannot use the choices, which must show.
  for (const auto& [name, device] : std::vector<std::pair<std::string, std::string>>{
           {"alike", "algorithms=4 fastest=2"}, {"slower", "algorithms=4 fastest=3"}, {"without", "algorithms=1"}}) {
    const int port = free_port();
    const auto first = start(name, port, 0, "algorithms=4 fastest=2"), second = start(name, port, 1, device);
    for (Running* rank : {first.get(), second.get()}) {
      const Ran ran = rank->wait();
      INFO(ran.err);
      CHECK(ran.code == 0);
    }
  }
  CHECK(same_weights(folder, "alike", "slower"));
  CHECK_FALSE(same_weights(folder, "alike", "without"));
}

TEST_CASE("eval uses the choices of the run") {
  ScratchFolder folder;
  write_text(folder);
  train(folder, "algorithms=4 fastest=2", "run", "2");
  const auto loss = [&](const std::string& device) {
    const Ran ran =
        run_on(device, {"eval", folder / "run", "--device", "cuda", "--dtype", "bf16", "--batch", "2", "--json"});
    INFO(ran.err);
    REQUIRE(ran.code == 0);
    return json::parse(ran.out).at("loss").get<double>();
  };
  const double with = loss("algorithms=4");
  fs::remove(folder / "run/products.json");
  CHECK(loss("algorithms=4") != with);
}
