#include "train/checkpoint/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/check.h"

namespace glint {

namespace {

constexpr const char *kGpt2Embedding = "wte.weight", *kLlamaEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

bool same_values(const StoredTensor& a, const StoredTensor& b) {
  return a.shape == b.shape && a.type == b.type && a.data && b.data && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace

void TensorsByName::add(const SafetensorsFile& file) {
  if (first_file_.empty()) first_file_ = file.path();
  for (const StoredTensor& tensor : file.tensors()) {
    const auto [known, added] = tensors_.emplace(tensor.name, std::pair{&tensor, file.path()});
    GLINT_REQUIRE(added, file.path().string(), " holds ", tensor.name, ", which ", known->second.second.string(),
                  " holds too");
  }
}

const StoredTensor* TensorsByName::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.first;
}

void TensorsByName::rename(std::string_view prefix, std::string_view to) {
  decltype(tensors_) renamed;
  for (const auto& [name, tensor] : tensors_) {
    const std::string plain = name.starts_with(prefix) ? str_cat(to, name.substr(prefix.size())) : name;
    GLINT_REQUIRE(renamed.emplace(plain, tensor).second, tensor.second.string(), " holds ", plain, " twice");
  }
  tensors_ = std::move(renamed);
}

void TensorsByName::take(std::span<const TensorView> targets, const std::string& prefix, Types types) {
  for (const TensorView& target : targets) {
    const std::string name = prefix + target.name;
    const auto found = tensors_.find(name);
    GLINT_REQUIRE(found != tensors_.end(), first_file_.string(), " does not have ", name);
    const auto& [source, path] = found->second;
    std::vector<int64_t> shape = source->shape;
    const bool longer = std::find(longer_.begin(), longer_.end(), name) != longer_.end();
    if (longer && !shape.empty() && shape[0] > target.shape[0]) shape[0] = target.shape[0];
    GLINT_REQUIRE(target.shape == shape, path.string(), ": ", name, " is of shape ", shape_text(source->shape),
                  " and should be ", shape_text(target.shape));
    if (target.bytes() == 0) continue;
    if (types == Types::any_float && target.dtype == DType::f32) {
      GLINT_REQUIRE(source->is_float(), path.string(), ": ", name, " is of type ", source->type,
                    "; weights are F32, F16 or BF16");
      float* const values = static_cast<float*>(target.data);
      source->to_floats(values, target.elements());
      GLINT_REQUIRE(std::all_of(values, values + target.elements(), [](float value) { return std::isfinite(value); }),
                    path.string(), ": ", name, " holds NaN or infinity: these weights compute nothing");
    } else {
      GLINT_REQUIRE(source->data && source->dtype == target.dtype, path.string(), ": ", name, " is not of type ",
                    type_name(target.dtype));
      std::memcpy(target.data, source->data, target.bytes());
    }
    tensors_.erase(found);
  }
}

void TensorsByName::require_all_taken() const {
  if (tensors_.empty()) return;
  const auto& [name, tensor] = *tensors_.begin();
  GLINT_REQUIRE(false, tensor.second.string(), " has ", name, ", which is not part of this model",
                tensors_.size() > 1 ? str_cat(" (and ", tensors_.size() - 1, " more)") : "");
}

void load_weights(std::span<const SafetensorsFile> files, std::span<const TensorView> model, MoreRows more_rows) {
  TensorsByName sources(files);
  sources.drop_if([](const std::string& name) {  // causal masks and rotary frequencies stored as tensors
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
           name.ends_with(".rotary_emb.inv_freq");
  });
  sources.rename("transformer.");  // of Hugging Face's GPT2LMHeadModel
  const auto has = [&](const char* name) {
    return std::any_of(model.begin(), model.end(), [&](const auto& view) { return view.name == name; });
  };
  const char* const token_embedding = has(kLlamaEmbedding) ? kLlamaEmbedding : kGpt2Embedding;
  if (const StoredTensor* head = sources.find(kHead); head && !has(kHead)) {
    const StoredTensor* embedding = sources.find(token_embedding);
    GLINT_REQUIRE(!embedding || same_values(*head, *embedding), files.front().path().string(),
                  " has an output head of its own (", kHead, "); in this model the head is the token embedding");
    if (embedding) sources.drop(kHead);
    else sources.rename("lm_head.weight", token_embedding);
  }
  if (more_rows == MoreRows::left_out)
    for (const char* name : {token_embedding, kHead}) sources.accept_more_rows(name);
  sources.take(model, "", TensorsByName::Types::any_float);
  sources.require_all_taken();
}

}  // namespace glint
