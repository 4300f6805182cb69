#include "train/options.h"

#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "tests/train/run_program.h"
#include "train/command_line.h"

using namespace glint;
using test::ScratchFolder;

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// A command line parsed as by `glint train`.
struct Parsed {
  CLI::App app;
  TrainFlags flags{app};

  explicit Parsed(const std::vector<std::string>& arguments) { parse(app, arguments); }
};

TrainOptions fresh(const std::vector<std::string>& arguments) { return Parsed(arguments).flags.fresh(); }

std::string options_error(const std::vector<std::string>& arguments) {
  try {
    fresh(arguments);
  } catch (const UserError& error) {
    CLI::App app;
    TrainFlags flags(app);
    return with_flags(app, error.what());
  }
  return "";
}

std::string config(const ScratchFolder& folder, const std::string& toml) {
  test::write_file_for_test(folder / "config.toml", toml);
  return folder / "config.toml";
}

}  // namespace

TEST_CASE("options: defaults are complete and valid") {
  const TrainOptions options = fresh({});
  CHECK(options.model.kv_heads == options.model.heads);
  CHECK(options.micro_batch == options.batch);
  CHECK(options.lr_decay_steps == options.steps);
  CHECK(options.min_lr == options.lr / 10);
  CHECK(options.warmup == 100);
  CHECK(options.threads == 0);  // all, also where the run goes on
  CHECK(options.data.empty());
  CHECK(fresh({"--steps", "50"}).warmup == 5);
}

TEST_CASE("options: every flag sets its field, and JSON restores every field") {
  // One value for each field that differs from its default. Some fields are of one model or one optimizer.
  bool llama = false;
  SUBCASE("GPT-2, AdamW") {}
  SUBCASE("Llama, Muon") { llama = true; }
  const std::set<std::string> of_gpt2 = {"bias", "activation", "optimizer-dtype"};
  const std::set<std::string> of_llama = {"model", "rope-theta", "qk-norm", "optimizer", "muon-momentum"};
  std::vector<std::string> arguments;
  const auto defaults = to_json(fresh({}));
  for (const auto& [name, initial] : defaults.items()) {
    if (name == "device" || name == "dtype") continue;  // no flag; one choice in this build
    if ((llama ? of_gpt2 : of_llama).contains(name)) continue;
    std::string value = "some where";
    if (name == "matmul") value = "eigen";
    else if (name == "model") value = "llama";
    else if (name == "optimizer") value = "muon";
    else if (name == "optimizer-dtype") value = "bf16";
    else if (name == "tokenizer") value = "bpe";
    else if (name == "schedule") value = "wsd";
    else if (name == "attention") value = "reference";
    else if (name == "activation") value = "tanh";
    else if (name == "init-from") continue;  // names a run
    else if (name == "heads" || name == "kv-heads") value = "2";
    else if (name == "batch") value = "6";
    else if (name == "micro-batch") value = "3";
    else if (name == "embd") value = "256";
    else if (initial.is_number_integer()) value = std::to_string(initial.get<int64_t>() + 1);
    else if (initial.is_number()) value = "0.00017";
    else if (initial.is_boolean()) value = initial.get<bool>() ? "false" : "true";
    arguments.insert(arguments.end(), {"--" + name, value});
  }
  const TrainOptions options = fresh(arguments);
  const auto json = to_json(options);
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const auto& value = json[arguments[i].substr(2)];
    INFO(arguments[i]);
    CHECK((value.is_string() ? value.get<std::string>() : value.dump()) == arguments[i + 1]);
    CHECK(value != defaults[arguments[i].substr(2)]);
  }
  const TrainOptions back = options_from_json(nlohmann::ordered_json::parse(json.dump()), "config.json");
  CHECK(to_json(back) == json);
  CHECK(back.model.attn_dropout == options.model.attn_dropout);
  CHECK(json["lr"].is_number_float());
  CHECK(json["layers"] == 5);
  CHECK(json["bias"] == !llama);
  CHECK(json["tokenizer"] == "bpe");
}

TEST_CASE("options: --dropout sets all three; a more specific flag wins in any order") {
  const TrainOptions options = fresh({"--resid-dropout", "0.3", "--dropout", "0.2"});
  CHECK(options.model.attn_dropout == 0.2f);
  CHECK(options.model.embd_dropout == 0.2f);
  CHECK(options.model.resid_dropout == 0.3f);
}

TEST_CASE("options: switches take true|false, and are on without a value; seeds may be hexadecimal") {
  CHECK(fresh({"--bias", "true"}).model.bias);
  CHECK(!fresh({"--bias", "false"}).model.bias);
  CHECK(fresh({"--quiet"}).quiet);
  CHECK(fresh({"--quiet", "--layers", "2"}).model.layers == 2);
  CHECK(fresh({"--seed", "0xffffffffffffffff"}).seed == UINT64_MAX);
  CHECK(fresh({"--eps", "1e-7"}).eps == 1e-7);
}

TEST_CASE("options: a value that can't be parsed is a usage error") {
  const Pairs bad = {{"--layers", "two"}, {"--layers", "2.5"}, {"--layers", "99999999999"},
                     {"--lr", "fast"},    {"--lr", "nan"},     {"--bias", "maybe"},
                     {"--seed", "-1"},    {"--dropout", "x"}};
  for (const auto& bound : bad) {
    const std::string &flag = bound.first, &value = bound.second;  // clang 14 captures no structured binding
    INFO(flag, " ", value);
    CHECK_THROWS_AS(fresh({flag, value}), UsageError);
  }
  CHECK_THROWS_AS(fresh({"--no-such-flag"}), UsageError);
  CHECK_THROWS_AS(fresh({"--layers"}), UsageError);
}

TEST_CASE("options: invalid values are named") {
  const Pairs bad = {{"--layers", "0"},
                     {"--layers", "-3"},
                     {"--heads", "0"},
                     {"--kv-heads", "3"},
                     {"--kv-heads", "-1"},
                     {"--embd", "-128"},
                     {"--context", "0"},
                     {"--batch", "0"},
                     {"--micro-batch", "5"},
                     {"--micro-batch", "-1"},
                     {"--steps", "-1"},
                     {"--lr", "0"},
                     {"--lr", "-1"},
                     {"--min-lr", "1"},
                     {"--min-lr", "-1"},
                     {"--warmup", "-1"},
                     {"--lr-decay-steps", "-1"},
                     {"--decay-part", "1"},
                     {"--muon-momentum", "1"},
                     {"--beta1", "1"},
                     {"--beta2", "-0.1"},
                     {"--eps", "0"},
                     {"--weight-decay", "-1"},
                     {"--grad-clip", "-1"},
                     {"--eval-every", "-1"},
                     {"--eval-batches", "0"},
                     {"--log-every", "-1"},
                     {"--checkpoint-every", "-1"},
                     {"--threads", "-1"},
                     {"--threads", "1000000"},
                     {"--dropout", "1"},
                     {"--dropout", "-0.1"},
                     {"--attn-dropout", "1.5"},
                     {"--resid-dropout", "1"},
                     {"--embd-dropout", "-1"},
                     {"--heads", "5"},
                     {"--embd", "100"},
                     {"--out", ""}};
  for (const auto& bound : bad) {
    const std::string &flag = bound.first, &value = bound.second;  // clang 14 captures no structured binding
    const std::string error = options_error({flag, value});
    INFO(flag, " ", value, " -> ", error);
    CHECK(error.find(flag) != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
  }
  const std::string without_cuda = options_error({"--device", "cuda"});
  CHECK((Device::kHasCuda ? without_cuda.empty() : without_cuda.find("no CUDA") != std::string::npos));
}

TEST_CASE("options: fields in messages become the flags of the command") {
  const Parsed parsed({});
  CHECK(with_flags(parsed.app, "`kv_heads` 3 does not divide `heads` 4; `here`") ==
        "--kv-heads 3 does not divide --heads 4; `here`");
}

TEST_CASE("options: models that don't fit the machine: the error says how much they need") {
  const auto refused = [](const std::vector<std::string>& arguments) {
    const std::string error = options_error(arguments);
    INFO(error);
    CHECK(error.find("would need at least") != std::string::npos);
    CHECK(error.find("GB") != std::string::npos);
  };
  refused({"--embd", "1048576", "--layers", "1000"});
  refused({"--embd", "2147483640", "--layers", "2147483647", "--heads", "8388608"});  // no integer holds its parameters
  refused({"--context", "2147483647"});
  refused({"--batch", "2000000000"});
}

TEST_CASE("options: a config file has the same names, and flags override it") {
  ScratchFolder folder;
  const std::string path = config(folder, R"(# a comment
layers = 6
lr = 2e-3   # behind a value
bias = true
activation = "tanh"
data = "my text.txt"
dropout = 0.2
attn-dropout = 0.1
)");
  const TrainOptions options = fresh({"--config", path, "--layers", "3"});
  CHECK(options.model.layers == 3);
  CHECK(options.lr == 2e-3);
  CHECK(options.min_lr == 2e-3 / 10);
  CHECK(options.model.bias);
  CHECK(options.model.activation == Gelu::tanh);
  CHECK(options.data == std::vector<std::string>{"my text.txt"});
  CHECK(options.model.embd_dropout == 0.2f);
  CHECK(options.model.attn_dropout == 0.1f);
  CHECK(fresh({"--config", path, "--dropout", "0"}).model.attn_dropout == 0.0f);  // a flag overrides the file
}

TEST_CASE("options: a config file is TOML 1.0") {
  ScratchFolder folder;
  const auto read = [&](const std::string& toml) { return fresh({"--config", config(folder, toml)}); };
  const Pairs outs = {{"out = \"runs/try#2\" # comment\n", "runs/try#2"},
                      {"out = 'C:\\new'\n", "C:\\new"},
                      {"out = \"a\\tb\\u00e9\\\"\"\n", "a\tb\xC3\xA9\""},
                      {"out = \"\"\"\nx\"y\"\"\"\n", "x\"y"},
                      {"out = '''a'b'''\n", "a'b"},
                      {"\xEF\xBB\xBFout = \"bom\"\r\n", "bom"},
                      {"\"out\" = \"quoted key\"\n", "quoted key"},
                      {"out = \"--resume\"\n", "--resume"}};
  for (const auto& [toml, out] : outs) CHECK(read(toml).out == out);
  const TrainOptions numbers = read("steps = 1_000\nseed = 0xdead_beef\nlr = 1_0e-4\nbatch = +3\neps = 1e-7\n");
  CHECK(numbers.steps == 1000);
  CHECK(numbers.seed == 0xdeadbeef);
  CHECK(numbers.lr == 1e-3);
  CHECK(numbers.batch == 3);
  CHECK(numbers.eps == 1e-7);
}

TEST_CASE("options: errors in a config file name the key") {
  ScratchFolder folder;
  const Pairs cases = {{"layers = 2\nheadz = 3\n", "headz"},
                       {"[train]\nlayers = 2\n", "[train]"},
                       {"layers = two\n", "line 1, column 11"},
                       {"\nlayers = \"6\"\n", "line 2, column 10: layers"},
                       {"steps = 10\n; comment\n", "line 2, column 1"},
                       {"steps = 010\n", "line 1"},
                       {"seed = -1\n", "seed"},
                       {"lr = inf\n", "lr"},
                       {"grad-clip = nan\n", "grad-clip"},
                       {"lr = 1979-05-27\n", "lr"},
                       {"a.b = 1\n", "[a]"},
                       {"[,\n", "not TOML"},
                       {"steps = 3 \v\n", "line 1"},
                       {"steps = 1.0\n", "steps"},
                       {"out = 5\n", "out"},
                       {"out = \"\xFF\"\n", "utf-8"},
                       {"layers = 2\nlr = 1e-3\nlayers = 3\n", "layers"},
                       {"layers = 2\nlayers = 3\n", "layers"},
                       {"layers = [2, 3]\n", "layers"},
                       {"heads = -1\n", "--heads"},
                       {"config = \"x\"\n", "config"},
                       {"dropout = 2\n", "dropout"},
                       {"vocabulary = 3\n", "vocabulary"}};
  for (const auto& bound : cases) {
    const std::string &toml = bound.first, &says = bound.second;  // clang 14 captures no structured binding
    const std::string error = options_error({"--config", config(folder, toml)});
    INFO(toml, " -> ", error);
    CHECK(error.find(says) != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
  }
  CHECK(options_error({"--config", folder / "missing.toml"}).find("missing.toml") != std::string::npos);
  CHECK(options_error({"--config", folder / ""}).find("--config") != std::string::npos);  // a folder
}

TEST_CASE("options: a resumed run keeps its options, except those that do not change the mathematics") {
  ScratchFolder folder;
  const TrainOptions saved = fresh({"--steps", "40", "--dropout", "0.1", "--out", "old-name", "--kv-heads", "2"});
  const auto resumed = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--resume", "run"});
    return Parsed(arguments).flags.resumed(saved);
  };
  CHECK(Parsed({"--resume", "run"}).flags.resume() == "run");
  TrainOptions same = resumed({});
  CHECK(same.out == "run");  // the folder may have been moved
  same.out = saved.out;
  CHECK(to_json(same) == to_json(saved));

  const TrainOptions raised = resumed({"--steps", "80", "--threads", "1", "--log-every", "1", "--quiet", "true"});
  CHECK(raised.steps == 80);
  CHECK(raised.threads == 1);
  CHECK(raised.lr_decay_steps == 40);                                           // unchanged: steps already done used it
  CHECK(resumed({"--kv-heads", "2", "--dropout", "0.1"}).model.kv_heads == 2);  // the same values may be repeated
  const Pairs cases = {{"--lr", "0.5"},      {"--batch", "6"},       {"--seed", "1"},
                       {"--dropout", "0.2"}, {"--out", "elsewhere"}, {"--attention", "reference"}};
  for (const auto& bound : cases) {
    const std::string &flag = bound.first, &value = bound.second;  // clang 14 captures no structured binding
    std::string error;
    try {
      resumed({flag, value});
    } catch (const UserError& refusal) {
      error = refusal.what();
    }
    INFO(flag, " ", value, " -> ", error);
    CHECK(error.find(flag == "--dropout" ? "dropout" : flag) != std::string::npos);
  }
  CHECK_THROWS_AS(resumed({"--config", config(folder, "lr = 0.5\n")}), UserError);
  CHECK(resumed({"--config", config(folder, "lr = 1e-3\nsteps = 50\n")}).steps == 50);
}

TEST_CASE("options: what belongs to the other model or optimizer is refused by its flag") {
  CHECK(options_error({"--model", "llama", "--bias", "true"}).starts_with("--bias is of --model gpt2"));
  CHECK(options_error({"--model", "llama", "--activation", "tanh"}).starts_with("--activation is of --model gpt2"));
  CHECK(options_error({"--rope-theta", "500000"}).starts_with("--rope-theta is of --model llama"));
  CHECK(options_error({"--qk-norm"}).starts_with("--qk-norm is of --model llama"));
  CHECK(options_error({"--optimizer", "muon", "--optimizer-dtype", "bf16"}).starts_with("--optimizer-dtype bf16 is"));
  CHECK(options_error({"--model", "llama", "--qk-norm", "--optimizer", "muon", "--schedule", "wsd"}).empty());
}
