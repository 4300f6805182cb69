// The interface of a model for training, evaluation, generation and planning. A new model is a new file next to gpt.cpp
// and a line in make_model().
#pragma once

#include <cstdint>
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
  virtual void initialize(uint64_t seed) = 0;
  // Records the model over (B, T) tokens; returns what head() takes, (B, T, C).
  virtual Tensor hidden(Graph& g, Tensor tokens, AttentionKind attention) = 0;
  // The same for tokens that continue sequences, with the KV caches of all layers.
  virtual Tensor hidden_cached(Graph& g, Tensor tokens, const std::vector<Tensor>& caches, const CachePlace& place) = 0;
  // The weight of the head, which has no bias: (V, C), or with rows of padding that follow.
  virtual Tensor head_weight(Graph& g) = 0;
  // The shape of each layer's KV cache: (sequences, 2, context, channels of all KV heads).
  virtual std::vector<Shape> cache_shapes(int sequences) const = 0;
  // "4 layers, 4 heads, 128 channels".
  virtual std::string describe() const = 0;

  // Logits (.., rows of the head's weight).
  Tensor head(Graph& g, Tensor hidden);
  // Records the losses (B*T), in nats, of predicting targets (B, T) from tokens. scale: of the gradient. chunk: rows of
  // logits in memory at a time; 0: all.
  Tensor loss(Graph& g, Tensor tokens, Tensor targets, AttentionKind attention, float scale, int chunk = 0);
  // Floating-point operations of the matrix products, forward and backward, per token of a sequence of T: as counted
  // for model FLOPs utilization (A. Chowdhery et al., PaLM, 2022, appendix B), without recomputation, and with
  // the unmasked half of causal attention.
  double flops_per_token(int T);

  int vocab() const { return vocab_; }      // V
  int context() const { return context_; }  // longest sequence
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }

 protected:
  Model(int vocab, int context, const Device& device, DType dtype)
      : vocab_(vocab), context_(context), parameters_(device, dtype) {}
  Model(Model&&) = default;

  int vocab_, context_;
  Parameters parameters_;
};

// Throws UserError if the config is invalid. dtype: the number format of the activations.
std::unique_ptr<Model> make_model(const GptConfig& config, const Device& device, DType dtype,
                                  Weights weights = Weights::allocated);

}  // namespace glint
