#include "train/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>

#include <nlohmann/json.hpp>

#include "data/durable.h"
#include "data/file_writer.h"
#include "kernels/check.h"

namespace glint {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";
constexpr const char* kTokenEmbedding = "wte.weight";
constexpr const char* kHead = "lm_head.weight";

// state.json contains a checksum of its own text without that key.
void seal(ordered_json& state) {
  const std::string content = state.dump();
  state["checksum"] = hexadecimal(checksum_of(content.data(), content.size()));
}

bool sealed(ordered_json state) {
  const ordered_json checksum = state.value("checksum", ordered_json());
  state.erase("checksum");
  seal(state);
  return state["checksum"] == checksum;
}

ordered_json describe(const CheckpointState& state) {
  ordered_json json;
  json["version"] = kCheckpointVersion;
  json["step"] = state.step;
  json["tokens"] = state.tokens;
  json["rng"] = {{"seed", state.rng_seed}, {"offset", state.rng_offset}};
  json["best_val_loss"] = state.best_val_loss ? ordered_json(*state.best_val_loss) : ordered_json();
  json["evaluations_since_best"] = state.evaluations_since_best;
  json["files"] = ordered_json::object();
  json["config"] = to_json(state.options);
  return json;
}

// Reads and checks state.json; content receives its bytes.
ordered_json read_state_json(const fs::path& folder, std::string& content) {
  const fs::path path = folder / kStateFile;
  const std::optional<std::string> text = read_file(path);
  GLINT_REQUIRE(text, "cannot read ", path.string(), ": ", std::strerror(errno));
  content = *text;
  ordered_json json = ordered_json::parse(content, nullptr, false);
  GLINT_REQUIRE(json.is_object() && json.contains("version"), path.string(),
                " is damaged: it is not a checkpoint's state");
  GLINT_REQUIRE(json["version"] == kCheckpointVersion, path.string(), " is of version ", json["version"].dump(),
                "; this glint reads version ", kCheckpointVersion);
  GLINT_REQUIRE(sealed(json), path.string(), " is damaged: its checksum does not match");
  return json;
}

CheckpointState state_of(const ordered_json& json, const fs::path& folder) {
  const std::string source = (folder / kStateFile).string();
  try {
    CheckpointState state;
    const auto count = [&](const ordered_json& number) {
      GLINT_REQUIRE(number.is_number_unsigned(), source, " is damaged: ", number.dump(), " is no count");
      return number.get<uint64_t>();
    };
    state.step = count(json.at("step"));
    state.tokens = count(json.at("tokens"));
    state.rng_seed = count(json.at("rng").at("seed"));
    state.rng_offset = count(json.at("rng").at("offset"));
    if (!json.at("best_val_loss").is_null()) state.best_val_loss = json["best_val_loss"].get<double>();
    state.evaluations_since_best = static_cast<int>(count(json.value("evaluations_since_best", ordered_json(0u))));
    state.options = options_from_json(json.at("config"), source);
    return state;
  } catch (const nlohmann::json::exception&) {
    throw UserError(source + " is damaged: an entry is missing or of the wrong type");
  }
}

void require_checksum(const SafetensorsFile& file, const ordered_json& state, const char* name) {
  const ordered_json files = state.value("files", ordered_json::object());
  GLINT_REQUIRE(files.contains(name) && files[name] == hexadecimal(file.checksum()), file.path().string(),
                " has changed since glint wrote it: damaged, or written by another program (then --accept-changed "
                "loads it)");
}

using ByName = std::map<std::string, const TensorView*>;

void copy_into(const TensorView& target, const TensorView& source, const fs::path& path) {
  GLINT_REQUIRE(target.shape == source.shape, path.string(), ": ", source.name, " is of shape ",
                shape_text(source.shape), " and should be ", shape_text(target.shape));
  if (target.bytes() == 0) return;
  GLINT_REQUIRE(source.data && source.dtype == target.dtype, path.string(), ": ", source.name, " is not of type ",
                type_name(target.dtype));
  std::memcpy(target.data, source.data, target.bytes());
}

// Copies each target from `sources` and removes it there.
void copy_all(std::span<const TensorView> targets, const std::string& prefix, ByName& sources, const fs::path& path) {
  for (const TensorView& target : targets) {
    const auto source = sources.find(prefix + target.name);
    GLINT_REQUIRE(source != sources.end(), path.string(), " does not have ", prefix, target.name);
    copy_into(target, *source->second, path);
    sources.erase(source);
  }
}

void require_none_left(const ByName& sources, const fs::path& path) {
  if (sources.empty()) return;
  GLINT_REQUIRE(false, path.string(), " has ", sources.begin()->first, ", which is not part of this model",
                sources.size() > 1 ? str_cat(" (and ", sources.size() - 1, " more)") : "");
}

bool same_values(const TensorView& a, const TensorView& b) {
  return a.shape == b.shape && a.dtype == b.dtype && a.data && b.data && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

// One attempt: another process may replace the folder while it is read.
CheckpointState load_once(const fs::path& folder, std::span<const TensorView> model, std::span<const TensorView> m,
                          std::span<const TensorView> v, Changed changed, std::string& state_text) {
  const ordered_json json = read_state_json(folder, state_text);
  const CheckpointState state = state_of(json, folder);
  const SafetensorsFile weights(folder / kModelFile);
  if (changed == Changed::refused) require_checksum(weights, json, kModelFile);
  load_weights(weights, model);
  if (m.empty() && v.empty()) return state;

  const SafetensorsFile moments(folder / kOptimizerFile);
  if (changed == Changed::refused) require_checksum(moments, json, kOptimizerFile);
  ByName sources;
  for (const TensorView& tensor : moments.tensors()) sources[tensor.name] = &tensor;
  copy_all(m, "m.", sources, moments.path());
  copy_all(v, "v.", sources, moments.path());
  require_none_left(sources, moments.path());
  return state;
}

}  // namespace

void save_checkpoint(const fs::path& folder, std::span<const TensorView> model, std::span<const TensorView> m,
                     std::span<const TensorView> v, const CheckpointState& state) try {
  ordered_json json = describe(state);
  DurableFolder out(folder);
  json["files"][kModelFile] = hexadecimal(write_safetensors(out, kModelFile, model));
  if (!m.empty() || !v.empty()) {
    std::vector<TensorView> moments;
    for (const TensorView& tensor : m) moments.push_back({"m." + tensor.name, tensor.shape, tensor.data, tensor.dtype});
    for (const TensorView& tensor : v) moments.push_back({"v." + tensor.name, tensor.shape, tensor.data, tensor.dtype});
    json["files"][kOptimizerFile] = hexadecimal(write_safetensors(out, kOptimizerFile, moments));
  }
  seal(json);
  out.write_text(kStateFile, json.dump(2) + "\n");
  out.commit();
} catch (const UserError& error) {
  throw UserError(
      str_cat("checkpoint not saved", has_checkpoint(folder) ? ", the previous one is kept" : "", ": ", error.what()));
}

bool has_checkpoint(const fs::path& folder) { return fs::exists(whole_folder(folder)); }

CheckpointState read_checkpoint_state(const fs::path& folder) {
  const fs::path whole = whole_folder(folder);
  GLINT_REQUIRE(fs::is_directory(whole), "there is no checkpoint ", folder.string());
  std::string content;
  return state_of(read_state_json(whole, content), whole);
}

CheckpointState load_checkpoint(const fs::path& folder, std::span<const TensorView> model,
                                std::span<const TensorView> m, std::span<const TensorView> v, Changed changed) {
  constexpr int kTries = 100;  // a training run may replace the folder while it is read; state.json then changes too
  for (int tries = 1;; ++tries) {
    const fs::path whole = whole_folder(folder);
    GLINT_REQUIRE(fs::is_directory(whole), "there is no checkpoint ", folder.string());
    std::string before;
    try {
      return load_once(whole, model, m, v, changed, before);
    } catch (const UserError&) {
      if (tries == kTries) throw;
      if (read_file(whole_folder(folder) / kStateFile).value_or("") == before) throw;
    }
  }
}

void load_weights(const SafetensorsFile& file, std::span<const TensorView> model) {
  constexpr std::string_view kPrefix = "transformer.";  // of Hugging Face's GPT2LMHeadModel
  ByName sources;
  for (const TensorView& tensor : file.tensors()) {
    const std::string_view name = tensor.name;
    if (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))
      continue;  // causal masks stored as tensors
    const std::string plain(name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name);
    GLINT_REQUIRE(sources.emplace(plain, &tensor).second, file.path().string(), " holds ", plain, " twice");
  }
  if (const auto head = sources.find(kHead); head != sources.end()) {
    const auto embedding = sources.find(kTokenEmbedding);
    GLINT_REQUIRE(embedding == sources.end() || same_values(*head->second, *embedding->second), file.path().string(),
                  " has a separate output head; in glint the head is the token embedding");
    sources.emplace(kTokenEmbedding, head->second);
    sources.erase(kHead);
  }
  copy_all(model, "", sources, file.path());
  require_none_left(sources, file.path());
}

}  // namespace glint
