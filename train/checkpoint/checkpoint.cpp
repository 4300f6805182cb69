#include "train/checkpoint/checkpoint.h"

#include <cstring>

#include <nlohmann/json.hpp>

#include "data/durable.h"
#include "data/file_writer.h"
#include "kernels/check.h"
#include "train/checkpoint/weights.h"
#include "train/exchange/hf_config.h"

namespace glint {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";

// state.json contains a checksum of its own text without that key.
void add_checksum(ordered_json& state) {
  const std::string content = state.dump();
  state["checksum"] = hexadecimal(checksum_of(content.data(), content.size()));
}

bool has_own_checksum(ordered_json state) {
  const ordered_json checksum = state.value("checksum", ordered_json());
  state.erase("checksum");
  add_checksum(state);
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
  GLINT_REQUIRE(has_own_checksum(json), path.string(), " is damaged: its checksum does not match");
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

// One attempt: another process may replace the folder while it is read.
CheckpointState load_once(const fs::path& folder, std::span<const TensorView> model, std::span<const TensorView> m,
                          std::span<const TensorView> v, Changed changed, std::string& state_text) {
  const ordered_json json = read_state_json(folder, state_text);
  const CheckpointState state = state_of(json, folder);
  const SafetensorsFile weights(folder / kModelFile);
  if (changed == Changed::refused) require_checksum(weights, json, kModelFile);
  load_weights({&weights, 1}, model);
  if (m.empty() && v.empty()) return state;
  if (state.step == 0 && !json["files"].contains(kOptimizerFile)) {  // imported weights
    for (const auto& views : {m, v})
      for (const TensorView& view : views) std::memset(view.data, 0, view.bytes());
    return state;
  }
  const SafetensorsFile moments(folder / kOptimizerFile);
  if (changed == Changed::refused) require_checksum(moments, json, kOptimizerFile);
  TensorsByName sources(moments);
  sources.take(m, "m.");
  sources.take(v, "v.");
  sources.require_all_taken();
  return state;
}

}  // namespace

void save_checkpoint(const fs::path& folder, std::span<const TensorView> model, std::span<const TensorView> m,
                     std::span<const TensorView> v, const CheckpointState& state) try {
  ordered_json json = describe(state);
  DurableFolder out(folder);
  json["files"][kModelFile] = hexadecimal(write_safetensors(out, kModelFile, model));
  if (!not_in_hf(state.options.model)) {
    out.write_text(kHfConfigFile, hf_config(state.options.model, DType::f32, state.end_token).dump(2) + "\n");
  }
  if (!m.empty() || !v.empty()) {
    std::vector<TensorView> moments;
    for (const TensorView& tensor : m) moments.push_back({"m." + tensor.name, tensor.shape, tensor.data, tensor.dtype});
    for (const TensorView& tensor : v) moments.push_back({"v." + tensor.name, tensor.shape, tensor.data, tensor.dtype});
    json["files"][kOptimizerFile] = hexadecimal(write_safetensors(out, kOptimizerFile, moments));
  }
  add_checksum(json);
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

}  // namespace glint
