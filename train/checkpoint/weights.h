// Tensors of safetensors files, by name, copied into a model.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "train/checkpoint/safetensors.h"

namespace glint {

class TensorsByName {
 public:
  explicit TensorsByName(const SafetensorsFile& file) { add(file); }
  explicit TensorsByName(std::span<const SafetensorsFile> files) {
    for (const SafetensorsFile& file : files) add(file);
  }

  // Copies each target from the tensor called prefix + its name, which must have its shape and type; with any_float an
  // fp32 target takes F16 and BF16 too. UserError if there is none.
  enum class Types { same, any_float };
  void take(std::span<const TensorView> targets, const std::string& prefix, Types types = Types::same);
  // A tensor of more rows than the target gives its first ones (a padded vocabulary).
  void accept_more_rows(const std::string& name) { longer_.push_back(name); }
  // UserError if a tensor was not taken.
  void require_all_taken() const;

  const StoredTensor* find(const std::string& name) const;
  void drop(const std::string& name) { tensors_.erase(name); }
  void rename(std::string_view prefix, std::string_view to = "");  // of all names that have it
  template <typename Test>                                         // test(name)
  void drop_if(const Test& test) {
    std::erase_if(tensors_, [&](const auto& entry) { return test(entry.first); });
  }

 private:
  void add(const SafetensorsFile& file);

  std::map<std::string, std::pair<const StoredTensor*, std::filesystem::path>> tensors_;
  std::filesystem::path first_file_;
  std::vector<std::string> longer_;
};

// Weights from GPT-2 style files: names with or without Hugging Face's "transformer." prefix; its "attn.bias" and
// "attn.masked_bias" buffers, and a "lm_head.weight" equal to the token embedding that it is tied to, are skipped.
enum class MoreRows { refused, left_out };  // of embeddings than the model has: a padded vocabulary
void load_weights(std::span<const SafetensorsFile> files, std::span<const TensorView> model,
                  MoreRows more_rows = MoreRows::refused);

}  // namespace glint
