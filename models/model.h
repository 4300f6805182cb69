// What training, evaluation, generation and planning know of a model. A new one is a file beside gpt.cpp, and a line in
// make_model().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/gpt_config.h"
#include "src/ops.h"
#include "src/parameters.h"

namespace glint {

enum class Weights { allocated, laid_out };  // laid_out: without memory, for a model that is only planned

class Model {
 public:
  virtual ~Model() = default;

  // Sets all parameters from the seed; what a value becomes depends on its parameter's name alone.
  virtual void initialize(uint64_t seed) = 0;
  // Records the model over (B, T) tokens; returns what head() takes, (B, T, C).
  virtual Tensor hidden(Graph& g, Tensor tokens, AttentionKind attention) = 0;
  // The same for one sequence that continues at position *first, with the KV caches of all layers. The position is in
  // the host's memory and in the device's.
  virtual Tensor hidden_cached(Graph& g, Tensor tokens, const std::vector<Tensor>& caches, const int* first,
                               const int* first_on_device) = 0;
  // Logits (.., V).
  virtual Tensor head(Graph& g, Tensor hidden) = 0;
  // The shape of each layer's KV cache: (2, context, channels of all KV heads).
  virtual std::vector<Shape> cache_shapes() const = 0;
  // "4 layers, 4 heads, 128 channels", for people.
  virtual std::string describe() const = 0;

  // Records the losses (B*T), in nats, of predicting targets (B, T) from tokens. scale: of the gradient.
  Tensor loss(Graph& g, Tensor tokens, Tensor targets, AttentionKind attention, float scale);
  // Floating-point operations of the matrix products, forward and backward, per token of a sequence of T: those that a
  // model FLOPs utilization counts (A. Chowdhery et al., PaLM, 2022, appendix B), without recomputation, and with the
  // half of attention that the causal mask leaves.
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

// Throws UserError for a config that no model can have. dtype: what it computes in.
std::unique_ptr<Model> make_model(const GptConfig& config, const Device& device, DType dtype,
                                  Weights weights = Weights::allocated);

}  // namespace glint
