#include "train/exchange/hf_model.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "data/durable.h"
#include "data/file_writer.h"
#include "kernels/check.h"
#include "train/checkpoint/weights.h"
#include "train/exchange/hf_config.h"
#include "train/exchange/hf_tokenizer.h"

namespace glint {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

constexpr const char *kHfWeights = "model.safetensors", *kHfIndex = "model.safetensors.index.json",
                     *kTokenizerJson = "tokenizer.json";

// The views of a GPT-2 without biases, each weight that has one in transformers followed by one of zeros in memory.
std::vector<TensorView> with_zero_biases(const std::vector<TensorView>& views,
                                         std::vector<std::vector<float>>& biases) {
  std::vector<TensorView> all;
  for (const TensorView& view : views) {
    all.push_back(view);
    if (view.name.find(".c_") == std::string::npos && view.name.find("ln_") == std::string::npos) continue;
    biases.emplace_back(static_cast<size_t>(view.shape.back()));
    all.push_back({view.name.substr(0, view.name.size() - 6) + "bias", {view.shape.back()}, biases.back().data()});
  }
  return all;
}

nlohmann::json read_json(const fs::path& path) {
  const std::optional<std::string> text = read_file(path);
  GLINT_REQUIRE(text, "cannot read ", path.string(), ": ", std::strerror(errno));
  nlohmann::json json = nlohmann::json::parse(*text, nullptr, false);
  GLINT_REQUIRE(!json.is_discarded(), path.string(), " is damaged: it is not JSON");
  return json;
}

void refuse_pickle(const fs::path& path) {
  const bool nano = path.extension() == ".pt";  // of nanoGPT, which has linear weights as (out, in)
  throw UserError(str_cat(
      path.string(), " is a pickle, which can run any code when it is loaded: glint reads safetensors. In Python:\n",
      "  import torch, safetensors.torch as st; w = torch.load(\"", path.filename().string(), "\", weights_only=True)",
      nano ? "[\"model\"]" : "", "\n  st.save_file({",
      nano ? "k.removeprefix(\"_orig_mod.\"): (v.T if \".c_\" in k and v.ndim == 2 else v)" : "k: v",
      ".contiguous().clone() for k, v in w.items()}, \"", kHfWeights, "\", {\"format\": \"pt\"})"));
}

// The weights' files of `place`, and the folder of the config.
std::vector<fs::path> files_of(const fs::path& place, fs::path& folder) {
  const auto is_one_of = [](const fs::path& path, std::initializer_list<const char*> extensions) {
    return std::find(extensions.begin(), extensions.end(), path.extension().string()) != extensions.end();
  };
  std::error_code unreadable;
  GLINT_REQUIRE(fs::exists(place, unreadable), "there is no ", place.string());
  fs::path file = place;
  folder = place;
  if (fs::is_directory(place)) {
    file = place / kHfWeights;
    if (!fs::exists(file) && fs::exists(place / kHfIndex)) file = place / kHfIndex;
    if (!fs::exists(file)) {
      for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json", "ckpt.pt"})
        if (fs::exists(place / pickle)) refuse_pickle(place / pickle);
      throw UserError(str_cat(place.string(), " has no ", kHfWeights, " and no ", kHfIndex));
    }
  } else {
    folder = place.has_parent_path() ? place.parent_path() : fs::path(".");
  }
  if (is_one_of(file, {".bin", ".pt", ".pth", ".ckpt", ".pkl"})) refuse_pickle(file);
  if (file.extension() != ".json") return {file};
  const nlohmann::json index = read_json(file);
  std::set<std::string> names;
  GLINT_REQUIRE(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(), file.string(),
                " has no weight_map: it is not the index of safetensors files");
  for (const auto& [tensor, name] : index["weight_map"].items()) {
    GLINT_REQUIRE(
        name.is_string() && !name.empty() && fs::path(name.get<std::string>()).filename() == name.get<std::string>(),
        file.string(), ": ", tensor, " is said to be in ", name.dump(), ", which is no file's name");
    names.insert(name.get<std::string>());
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(file.parent_path() / name);
  GLINT_REQUIRE(!files.empty(), file.string(), " names no files");
  return files;
}

Tokenizer read_tokenizer(const fs::path& folder, const fs::path& given) {
  const fs::path place = given.empty() ? folder : given;
  const fs::path file = fs::is_directory(place) ? place / kTokenizerJson : place;
  GLINT_REQUIRE(!given.empty() || fs::exists(file) || fs::exists(folder / "vocab.json"), folder.string(), " has no ",
                kTokenizerJson, ", nor vocab.json and merges.txt: name the model's tokenizer by --tokenizer");
  if (file.extension() == ".json" && fs::exists(file))
    if (const std::optional<Tokenizer> tokenizer = read_hf_tokenizer(read_json(file))) return *tokenizer;
  return Tokenizer::load(place);
}

}  // namespace

void write_hf_model(const fs::path& folder, const LoadedRun& run, DType dtype) {
  const GptConfig& config = run.state.options.model;
  const auto reason = not_in_hf(config);
  GLINT_REQUIRE(!reason, run.paths.root.string(), " ", reason.value_or(""));
  std::vector<std::vector<float>> biases;
  std::vector<TensorView> tensors = tensor_views(run.model->parameters(), run.model->parameters().values());
  if (!config.bias) tensors = with_zero_biases(tensors, biases);
  for (TensorView& tensor : tensors)  // GPT2LMHeadModel's names
    if (config.kind == ModelKind::gpt2 && tensor.name != "lm_head.weight") tensor.name = "transformer." + tensor.name;
  std::vector<std::vector<Bf16>> rounded;
  for (TensorView& tensor : tensors) {
    if (dtype != DType::bf16) break;
    auto& values = rounded.emplace_back(tensor.elements());
    std::transform(static_cast<float*>(tensor.data), static_cast<float*>(tensor.data) + values.size(), values.begin(),
                   to_bf16);
    tensor.data = values.data(), tensor.dtype = dtype;
  }
  const int end = run.tokenizer.separator();
  ordered_json generation;
  for (const char* key : {"bos_token_id", "eos_token_id"})
    generation[key] = end < 0 ? ordered_json() : ordered_json(end);
  DurableFolder out(folder);
  write_safetensors(out, kHfWeights, tensors);
  out.write_text(kHfConfigFile, hf_config(config, dtype, end).dump(2) + "\n");
  out.write_text("generation_config.json", generation.dump(2) + "\n");
  out.write_text(kTokenizerJson, hf_tokenizer(run.tokenizer));
  out.write_text("tokenizer_config.json", hf_tokenizer_config(run.tokenizer, config.context));
  out.commit();
}

ImportedRun read_hf_model(const fs::path& place, const fs::path& tokenizer) {
  fs::path folder;
  const std::vector<fs::path> paths = files_of(place, folder);
  const fs::path config = folder / kHfConfigFile;
  GLINT_REQUIRE(fs::exists(config), config.string(), " does not exist: it gives the shape of the model");
  ImportedRun run;
  GptConfig& model = run.options.model;
  model = read_hf_config(read_json(config), config.string());
  run.tokenizer = read_tokenizer(folder, tokenizer);
  const int tokens = run.tokenizer.vocabulary();
  GLINT_REQUIRE(model.vocab >= tokens, config.string(), " gives a vocabulary of ", model.vocab,
                ", the tokenizer one of ", tokens, ": they don't belong together");
  run.left_out = model.vocab - tokens;
  model.vocab = tokens;
  run.options.tokenizer = name_of(run.tokenizer.kind());
  run.options.complete();
  std::vector<SafetensorsFile> files;
  size_t stored = 0;
  for (const fs::path& path : paths) stored += files.emplace_back(path).tensors().size();
  GLINT_REQUIRE(static_cast<size_t>(model.layers) <= stored, config.string(), " gives ", model.layers,
                " layers, the weights have ", stored, " tensors: they don't belong together");
  run.model = make_model(model, CpuContext{}, DType::f32);
  Parameters& parameters = run.model->parameters();
  std::vector<TensorView> views = tensor_views(parameters, parameters.values());
  std::vector<std::vector<float>> biases;
  if (!model.bias) views = with_zero_biases(views, biases);
  load_weights(files, views, MoreRows::left_out);
  for (const auto& bias : biases)
    GLINT_REQUIRE(std::count(bias.begin(), bias.end(), 0.0f) == static_cast<std::ptrdiff_t>(bias.size()),
                  config.string(), " says that there are no biases (\"bias\": false), but some are not 0");
  return run;
}

}  // namespace glint
