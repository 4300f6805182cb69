// Readers of files and of the environment, fed by libFuzzer with bytes of any kind. They may refuse them by a
// UserError; everything else is a finding. $GLINT_FUZZ names the reader; tests/fuzz/run.sh runs them all.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/bpe_files.h"
#include "data/dataset.h"
#include "data/durable.h"
#include "data/utf8.h"
#include "kernels/check.h"
#include "src/comm/ranks.h"
#include "train/checkpoint/checkpoint.h"
#include "train/exchange/hf_config.h"
#include "train/exchange/hf_tokenizer.h"
#include "train/metrics.h"
#include "train/options.h"
#include "train/run_folder.h"

using namespace glint;
namespace fs = std::filesystem;

namespace {

// A folder of this process, in memory.
fs::path scratch() {
  static const fs::path folder = [] {
    fs::path path = str_cat("/dev/shm/glint-fuzz-", ::getpid());
    fs::create_directories(path);
    std::atexit([] { fs::remove_all(str_cat("/dev/shm/glint-fuzz-", ::getpid())); });
    return path;
  }();
  return folder;
}

fs::path file(const std::string& name, std::string_view bytes) {
  const fs::path path = scratch() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

// Reads tensors to the last byte, and those of weights as floats.
void read_safetensors(std::string_view bytes) {
  const SafetensorsFile tensors(file("model.safetensors", bytes));
  int sum = 0;
  for (const StoredTensor& tensor : tensors.tensors()) {
    for (size_t i = 0; tensor.data && i < tensor.bytes(); ++i) sum += static_cast<const char*>(tensor.data)[i];
    if (!tensor.is_float()) continue;
    std::vector<float> values(tensor.elements());
    tensor.to_floats(values.data(), values.size());
  }
  volatile int used = sum;
  static_cast<void>(used);
}

// state.json and model.safetensors, apart at the first zero byte.
void read_checkpoint(std::string_view bytes) {
  const size_t zero = std::min(bytes.find('\0'), bytes.size());
  file("state.json", bytes.substr(0, zero));
  file("model.safetensors", bytes.substr(std::min(zero + 1, bytes.size())));
  std::vector<float> values(4);
  const TensorView wte{"wte.weight", {2, 2}, values.data()};
  load_checkpoint(scratch(), {&wte, 1}, {}, {}, Changed::accepted);
}

// The same with the checksum that the state should have, so that what is behind it is read too.
void read_state(std::string_view bytes) {
  auto state = nlohmann::ordered_json::parse(bytes, nullptr, false);
  if (!state.is_object()) return;
  state.erase("checksum");
  const std::string text = state.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  char sum[17];
  std::snprintf(sum, sizeof sum, "%016llx", static_cast<unsigned long long>(checksum_of(text.data(), text.size())));
  state["checksum"] = sum;
  file("state.json", state.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  read_checkpoint_state(scratch());
}

// What is read is written, and read as the same.
void read_hf(std::string_view bytes) {
  const auto json = nlohmann::json::parse(bytes, nullptr, false);
  const auto written = hf_config(read_hf_config(json, "config.json"), DType::f32, -1);
  const auto again = hf_config(read_hf_config(nlohmann::json::parse(written.dump()), "again"), DType::f32, -1);
  GLINT_CHECK(written == again, "another model");
}

// Another program's tokenizer.json: one of glint's or none.
void read_hf_tokenizer_json(std::string_view bytes) {
  const auto json = nlohmann::json::parse(bytes, nullptr, false);
  if (const auto tokenizer = read_hf_tokenizer(json))
    GLINT_CHECK(nlohmann::json::parse(hf_tokenizer(*tokenizer)) == json, "not the same");
}

void read_metrics_lines(std::string_view bytes) {
  std::vector<size_t> ends;
  const auto lines = read_metrics(file("metrics.jsonl", bytes), &ends);
  GLINT_CHECK(lines.size() == ends.size() && (ends.empty() || ends.back() <= bytes.size()), lines.size(), " lines");
}

void read_config(std::string_view bytes) {
  TrainOptions options;
  apply_config(options, file("config.toml", bytes));
  options.complete();
  options.validate();
}

void read_run(std::string_view bytes) {
  file("config.json", bytes);
  TrainOptions options = read_run_config(RunPaths{scratch()});
  options.complete();
  options.validate();
}

// As it is, and with the checksums that it should have, so that what is behind them is read too.
void read_tokens(std::string_view bytes) {
  constexpr size_t kHeader = 256, kPayloadSum = 72, kHeaderSum = 248;  // data/token_file.h
  std::string sealed(bytes);
  if (sealed.size() >= kHeader) {
    const uint64_t payload = checksum_of(sealed.data() + kHeader, sealed.size() - kHeader);
    std::memcpy(sealed.data() + kPayloadSum, &payload, sizeof payload);
    const uint64_t header = checksum_of(sealed.data(), kHeaderSum);
    std::memcpy(sealed.data() + kHeaderSum, &header, sizeof header);
  }
  const auto read = [](std::string_view content) { TokenFile(file(kTokensFile, content)).all().largest(); };
  try {
    read(bytes);
  } catch (const UserError&) {
  }
  read(sealed);
}

void read_tokenizer(std::string_view bytes) {
  const Tokenizer tokenizer = Tokenizer::from_json(bytes, "tokenizer.json");
  GLINT_CHECK(Tokenizer::from_json(tokenizer.to_json(), "again") == tokenizer, "not the same");
  const auto encoded = tokenizer.encode("text");
  GLINT_CHECK(tokenizer.bpe() ? tokenizer.decode(encoded.ids) == "text" : encoded.ids.size() == 4, "of ",
              encoded.ids.size());
}

void read_back(const std::shared_ptr<const Bpe>& bpe) { read_tokenizer(to_json(*bpe)); }

// vocab.json and merges.txt, apart at the first zero byte.
void read_merges(std::string_view bytes) {
  const size_t zero = std::min(bytes.find('\0'), bytes.size());
  read_back(bpe_from_vocab_and_merges(bytes.substr(0, zero), bytes.substr(std::min(zero + 1, bytes.size())), "merges"));
}

void read_tiktoken(std::string_view bytes) { read_back(bpe_from_tiktoken(bytes, "tiktoken")); }

void read_stream(const char* name, std::string_view bytes) {
  for (const TokenizerKind kind : {TokenizerKind::byte, TokenizerKind::bpe}) {
    prepare_text(file(name, bytes), {kind, 300}, scratch() / "prepared");
    Dataset::open(scratch() / "prepared").describe();
  }
}
void read_lines(std::string_view bytes) { read_stream("text.jsonl", bytes); }
void read_gzip(std::string_view bytes) { read_stream("text.gz", bytes); }

// What is tokenised is what is read back.
void read_text(std::string_view bytes) {
  const fs::path path = file("text", bytes);
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  for (const auto kind : {TokenizerKind::byte, TokenizerKind::character, TokenizerKind::bpe}) {
    prepare_text(path, {kind, 300}, scratch() / "prepared");
    const Dataset data = Dataset::open(scratch() / "prepared");
    const TokenSpan all = data.tokens(Split::all);
    std::vector<int32_t> ids(all.size());
    all.copy_to(ids.data(), 0, ids.size());
    const std::string back = data.tokenizer().decode(ids);
    GLINT_CHECK(back == bytes || data.info().unknown_tokens > 0, "another text");
    GLINT_CHECK(data.text_bytes(Split::all) == bytes.size(), "another length");
    data.to_json(), data.describe();
    Utf8Stream stream;
    const std::string whole = stream.push(bytes) + stream.finish();
    GLINT_CHECK(find_utf8_error(whole) == std::string::npos, "not UTF-8");
  }
}

// What launchers set, a variable a line: how ranks find each other. The messages between them are Gloo's and NCCL's.
void read_ranks(std::string_view bytes) {
  std::map<std::string, std::string> variables;
  std::istringstream lines{std::string(bytes)};
  for (std::string line; std::getline(lines, line);) {
    const size_t equals = line.find('=');
    if (equals != std::string::npos) variables[line.substr(0, equals)] = line.substr(equals + 1);
  }
  const Ranks ranks = ranks_from([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
  GLINT_CHECK(0 <= ranks.rank && ranks.rank < ranks.size && ranks.local_rank >= 0, "rank ", ranks.rank);
  GLINT_CHECK(ranks.launch.find('/') == std::string::npos && !ranks.launch.empty(), ranks.launch);
}

const std::map<std::string, std::function<void(std::string_view)>> kReaders = {{"safetensors", read_safetensors},
                                                                               {"checkpoint", read_checkpoint},
                                                                               {"state", read_state},
                                                                               {"hf", read_hf},
                                                                               {"hf_tokenizer", read_hf_tokenizer_json},
                                                                               {"metrics", read_metrics_lines},
                                                                               {"config", read_config},
                                                                               {"run", read_run},
                                                                               {"tokens", read_tokens},
                                                                               {"tokenizer", read_tokenizer},
                                                                               {"merges", read_merges},
                                                                               {"tiktoken", read_tiktoken},
                                                                               {"lines", read_lines},
                                                                               {"gzip", read_gzip},
                                                                               {"text", read_text},
                                                                               {"ranks", read_ranks}};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& reader = kReaders.at(std::getenv("GLINT_FUZZ"));
  try {
    reader({reinterpret_cast<const char*>(data), size});
  } catch (const UserError&) {
  }
  return 0;
}
