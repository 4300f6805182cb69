// The interface of a model for training, evaluation, generation and planning, and what all have in common. A new model
// is a new file next to gpt.cpp, with its parameters and its transformer(), and a line in make_model().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/gpt_config.h"
#include "src/ops.h"
#include "src/parameters.h"

namespace glint {

enum class Weights { allocated, laid_out };  // laid_out: no memory, for planning only

class Model {
 public:
  virtual ~Model() = default;

  // Sets all parameters from the seed; values depend on the parameter's name only.
  void initialize(uint64_t seed);
  // Records the model over (B, T) tokens; returns what head() takes, (B, T, C): the final norm's output.
  Tensor hidden(Graph& g, Tensor tokens, AttentionKind attention);
  // The same for tokens that continue sequences, with the KV caches of all layers.
  Tensor hidden_cached(Graph& g, Tensor tokens, const std::vector<Tensor>& caches, const CachePlace& place);
  // The shape of each layer's KV cache: (sequences, 2, context, channels of all KV heads).
  std::vector<Shape> cache_shapes(int sequences) const;
  // "4 layers, 4 heads, 128 channels".
  virtual std::string describe() const = 0;

  // Logits (.., V), or with columns of padding that follow: a linear layer without bias.
  Tensor head(Graph& g, Tensor hidden);
  // Records the losses (B*T), in nats, of predicting targets (B, T) from tokens. scale: of the gradient. chunk: rows of
  // logits in memory at a time; 0: all.
  Tensor loss(Graph& g, Tensor tokens, Tensor targets, AttentionKind attention, float scale, int chunk = 0);
  // Floating-point operations of the matrix products, forward and backward, per token of a sequence of T: as counted
  // for model FLOPs utilization (A. Chowdhery et al., PaLM, 2022, appendix B), without recomputation, and with
  // the unmasked half of causal attention.
  double flops_per_token(int T);

  const GptConfig& config() const { return config_; }
  int vocab() const { return config_.vocab; }      // V
  int context() const { return config_.context; }  // longest sequence
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }

 protected:
  // A model's constructor adds its parameters, first the token embedding, and ends with finish().
  Model(const GptConfig& config, const Device& device, DType dtype);
  Model(Model&&) = default;
  Parameter* add_vocabulary(const std::string& name);  // (V, C), with rows of padding that follow
  void finish(Weights weights);

  // attend(qkv, layer): attention of a layer's packed heads, (B, T, (NH + 2 NKV) * HS) -> (B, T, C).
  using Attend = std::function<Tensor(Tensor qkv, size_t layer)>;
  // Records all but the head, with a segment for each layer. first_position: as embedding()'s.
  virtual Tensor transformer(Graph& g, Tensor tokens, const int* first_position, const Attend& attend) = 0;

  const GptConfig config_;
  Parameters parameters_;
  Parameter* embedding_ = nullptr;  // of tokens

 private:
  Tensor head_weight(Graph& g) { return g.weight(lm_head_); }

  Parameter* lm_head_ = nullptr;  // the token embedding, if they are tied
};

// Throws UserError if the config is invalid. dtype: the number format of the activations.
std::unique_ptr<Model> make_model(const GptConfig& config, const Device& device, DType dtype,
                                  Weights weights = Weights::allocated);

}  // namespace glint
