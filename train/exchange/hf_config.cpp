#include "train/exchange/hf_config.h"

#include <charconv>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "kernels/check.h"

namespace glint {
using nlohmann::ordered_json;

namespace {

constexpr const char* kBias = "bias";  // not GPT2Config's: false where all biases are 0 since the model has none

// Names of transformers' activations that compute the same.
struct Activation {
  const char* name;
  Gelu kind;
};
constexpr Activation kActivations[] = {{"gelu_new", Gelu::tanh},          {"gelu", Gelu::erf},
                                       {"gelu_pytorch_tanh", Gelu::tanh}, {"gelu_python_tanh", Gelu::tanh},
                                       {"gelu_fast", Gelu::tanh},         {"gelu_accurate", Gelu::tanh},
                                       {"gelu_python", Gelu::erf}};

// 1e-5f as 1e-05, which reads back as 1e-5f.
double shortest(float value) {
  char text[32]{};
  std::to_chars(text, text + sizeof text - 1, value);
  return std::strtod(text, nullptr);
}

// What GPT2Config has for a key that is left out, or null, is `missing`.
template <typename Value>
Value value_of(const nlohmann::json& json, const char* key, Value missing, const std::string& source) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return missing;
  constexpr bool kBool = std::is_same_v<Value, bool>, kInteger = std::is_same_v<Value, int>;
  const bool typed = kBool ? found->is_boolean() : kInteger ? found->is_number_integer() : found->is_number();
  GLINT_REQUIRE(typed && (!kInteger || *found == nlohmann::json(found->get<Value>())), source, ": ", key, " cannot be ",
                found->dump());
  return found->get<Value>();
}

std::string text_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

void require_gpt2(const nlohmann::json& json, const std::string& source) {
  const std::string type = text_of(json, "model_type");
  std::string architecture;
  if (const auto list = json.find("architectures"); list != json.end() && list->is_array() && !list->empty())
    architecture = list->front().is_string() ? list->front().get<std::string>() : list->front().dump();
  GLINT_REQUIRE(!type.empty() || !architecture.empty(), source,
                " is not the config.json of a Hugging Face model: it has no model_type");
  const bool known = architecture.empty() || architecture == "GPT2LMHeadModel" || architecture == "GPT2Model";
  GLINT_REQUIRE(known && (type.empty() || type == "gpt2"), source, " describes ",
                architecture.empty() ? "a model" : architecture,
                type.empty() ? "" : str_cat(" (model_type ", type, ")"),
                "; glint imports GPT-2: GPT2LMHeadModel, model_type gpt2");
}

}  // namespace

std::optional<std::string> not_in_hf(const GptConfig& model) {
  if (model.kv_heads == model.heads) return std::nullopt;
  return str_cat("has ", model.kv_heads, " key/value heads for ", model.heads,
                 " query heads (grouped-query attention), which GPT-2 cannot hold");
}

ordered_json hf_config(const GptConfig& model, DType dtype, int end) {
  ordered_json json;
  json["architectures"] = {"GPT2LMHeadModel"};
  json["model_type"] = "gpt2";
  json["activation_function"] = model.activation == Gelu::tanh ? "gelu_new" : "gelu";
  json["attn_pdrop"] = shortest(model.attn_dropout);
  json["embd_pdrop"] = shortest(model.embd_dropout);
  json["resid_pdrop"] = shortest(model.resid_dropout);
  for (const char* key : {"bos_token_id", "eos_token_id"}) json[key] = end < 0 ? ordered_json() : ordered_json(end);
  json["initializer_range"] = 0.02;
  json["layer_norm_epsilon"] = shortest(model.norm_epsilon);
  json["n_ctx"] = model.context;  // of old releases
  json["n_embd"] = model.embd;
  json["n_head"] = model.heads;
  json["n_inner"] = nullptr;
  json["n_layer"] = model.layers;
  json["n_positions"] = model.context;
  json["tie_word_embeddings"] = model.tied;
  for (const char* key : {"dtype", "torch_dtype"})
    json[key] = dtype == DType::bf16 ? "bfloat16" : "float32";  // new, old
  json["use_cache"] = true;
  json["vocab_size"] = model.vocab;
  if (!model.bias) json[kBias] = false;
  return json;
}

GptConfig read_hf_config(const nlohmann::json& json, const std::string& source) {
  GLINT_REQUIRE(json.is_object(), source, " is not a JSON object");
  require_gpt2(json, source);
  const auto value = [&](const char* key, auto missing) { return value_of(json, key, missing, source); };
  GptConfig model;
  model.vocab = value("vocab_size", 50257);
  model.context = value("n_positions", 1024);
  model.embd = value("n_embd", 768);
  model.layers = value("n_layer", 12);
  model.heads = model.kv_heads = value("n_head", 12);
  model.norm_epsilon = static_cast<float>(value("layer_norm_epsilon", 1e-5));
  model.attn_dropout = static_cast<float>(value("attn_pdrop", 0.1));
  model.embd_dropout = static_cast<float>(value("embd_pdrop", 0.1));
  model.resid_dropout = static_cast<float>(value("resid_pdrop", 0.1));
  model.tied = value("tie_word_embeddings", true);
  model.bias = value(kBias, true);
  const std::string activation =
      json.contains("activation_function") ? text_of(json, "activation_function") : "gelu_new";
  const Activation* known = nullptr;
  for (const Activation& one : kActivations)
    if (activation == one.name) known = &one;
  GLINT_REQUIRE(known, source, ": activation_function '", activation, "'; glint computes gelu_new, gelu and ",
                "gelu_pytorch_tanh");
  model.activation = known->kind;
  const int inner = value("n_inner", 0);
  GLINT_REQUIRE(inner == 0 || inner == 4LL * model.embd, source, ": n_inner ", inner, "; glint's is 4 x n_embd");
  for (const auto& [key, needed] :
       {std::pair{"scale_attn_weights", true}, std::pair{"scale_attn_by_inverse_layer_idx", false},
        std::pair{"add_cross_attention", false}})
    GLINT_REQUIRE(value(key, needed) == needed, source, ": ", key, " is ", needed ? "false" : "true",
                  ", which glint does not compute");
  try {
    model.validate();
  } catch (const UserError& error) {
    throw UserError(str_cat(source, ": ", error.what()));
  }
  return model;
}

}  // namespace glint
