#include "train/exchange/hf_config.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "train/options.h"

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

void validate(const GptConfig& model, const std::string& source) try {
  model.validate();
} catch (const UserError& error) {
  throw UserError(str_cat(source, ": ", error.what()));
}

ModelKind kind_of(const nlohmann::json& json, const std::string& source) {
  const std::string type = text_of(json, "model_type");
  std::string architecture;
  if (const auto list = json.find("architectures"); list != json.end() && list->is_array() && !list->empty())
    architecture = list->front().is_string() ? list->front().get<std::string>() : list->front().dump();
  GLINT_REQUIRE(!type.empty() || !architecture.empty(), source,
                " is not the config.json of a Hugging Face model: it has no model_type");
  const auto is = [&](const char* model, std::initializer_list<const char*> names) {
    const bool named = architecture.empty() || std::find(names.begin(), names.end(), architecture) != names.end();
    return named && (type.empty() || type == model);
  };
  if (is("llama", {"LlamaForCausalLM", "LlamaModel"})) return ModelKind::llama;
  GLINT_REQUIRE(is("gpt2", {"GPT2LMHeadModel", "GPT2Model"}), source, " describes ",
                architecture.empty() ? "a model" : architecture,
                type.empty() ? "" : str_cat(" (model_type ", type, ")"),
                "; glint imports GPT2LMHeadModel, model_type gpt2, and LlamaForCausalLM, model_type llama");
  return ModelKind::gpt2;
}

// What both kinds have.
ordered_json common_config(const GptConfig& model, const char* architecture, const char* type, DType dtype, int end) {
  ordered_json json;
  json["architectures"] = {architecture};
  json["model_type"] = type;
  for (const char* key : {"bos_token_id", "eos_token_id"}) json[key] = end < 0 ? ordered_json() : ordered_json(end);
  json["initializer_range"] = 0.02;
  json["tie_word_embeddings"] = model.tied;
  for (const char* key : {"dtype", "torch_dtype"})
    json[key] = dtype == DType::bf16 ? "bfloat16" : "float32";  // new, old
  json["use_cache"] = true;
  json["vocab_size"] = model.vocab;
  return json;
}

ordered_json llama_config(const GptConfig& model, DType dtype, int end) {
  ordered_json json = common_config(model, "LlamaForCausalLM", "llama", dtype, end);
  json["attention_bias"] = json["mlp_bias"] = false;
  json["attention_dropout"] = shortest(model.attn_dropout);
  json["head_dim"] = model.head_size();
  json["hidden_act"] = "silu";
  json["hidden_size"] = model.embd;
  json["intermediate_size"] = model.hidden();
  json["max_position_embeddings"] = model.context;
  json["num_attention_heads"] = model.heads;
  json["num_hidden_layers"] = model.layers;
  json["num_key_value_heads"] = model.kv_heads;
  json["rms_norm_eps"] = shortest(model.norm_epsilon);
  json["rope_theta"] = shortest(model.rope_theta);  // of old releases
  json["rope_parameters"] = {{"rope_theta", shortest(model.rope_theta)}, {"rope_type", "default"}};
  return json;
}

// Defaults: LlamaConfig's.
GptConfig read_llama_config(const nlohmann::json& json, const std::string& source) {
  const auto value = [&](const char* key, auto missing) { return value_of(json, key, missing, source); };
  GptConfig model;
  model.kind = ModelKind::llama;
  model.vocab = value("vocab_size", 32000);
  model.context = value("max_position_embeddings", 2048);
  model.embd = value("hidden_size", 4096);
  model.layers = value("num_hidden_layers", 32);
  model.heads = value("num_attention_heads", 32);
  model.kv_heads = value("num_key_value_heads", model.heads);
  model.norm_epsilon = static_cast<float>(value("rms_norm_eps", 1e-6));
  model.attn_dropout = static_cast<float>(value("attention_dropout", 0.0));
  model.tied = value("tie_word_embeddings", false);
  const nlohmann::json none = nlohmann::json::object();
  const auto object = [&](const char* key) -> const nlohmann::json& {
    return json.contains(key) && json[key].is_object() ? json[key] : none;
  };
  const nlohmann::json &rope = object("rope_parameters"), &scaling = object("rope_scaling");
  model.rope_theta = static_cast<float>(value_of(rope, "rope_theta", value("rope_theta", 10000.0), source));
  for (const auto* settings : {&rope, &scaling})
    for (const char* key : {"rope_type", "type"})
      if (const std::string type = text_of(*settings, key); !type.empty())
        GLINT_REQUIRE(type == "default", source, ": rotary positions of type '", type, "'; glint computes 'default'");
  const std::string activation = json.contains("hidden_act") ? text_of(json, "hidden_act") : "silu";
  GLINT_REQUIRE(activation == "silu", source, ": hidden_act '", activation, "'; glint computes silu");
  for (const char* key : {"attention_bias", "mlp_bias"})
    GLINT_REQUIRE(!value(key, false), source, ": ", key, " is true; glint's Llama has no biases");
  validate(model, source);
  GLINT_REQUIRE(value("head_dim", model.head_size()) == model.head_size(), source, ": head_dim is not hidden_size / ",
                "num_attention_heads");
  const int inner = value("intermediate_size", 11008);
  GLINT_REQUIRE(inner == model.hidden(), source, ": intermediate_size ", inner, "; glint's is 8/3 x hidden_size, to a ",
                "multiple of 64: ", model.hidden());
  return model;
}

}  // namespace

std::optional<std::string> not_in_hf(const GptConfig& model) {
  if (model.kind == ModelKind::llama) {
    if (model.qk_norm) return "has QK norm, which Llama cannot hold";
    return std::nullopt;
  }
  if (model.kv_heads == model.heads) return std::nullopt;
  return str_cat("has ", model.kv_heads, " key/value heads for ", model.heads,
                 " query heads (grouped-query attention), which GPT-2 cannot hold");
}

ordered_json hf_config(const GptConfig& model, DType dtype, int end) {
  if (model.kind == ModelKind::llama) return llama_config(model, dtype, end);
  ordered_json json = common_config(model, "GPT2LMHeadModel", "gpt2", dtype, end);
  json["activation_function"] = model.activation == Gelu::tanh ? "gelu_new" : "gelu";
  json["attn_pdrop"] = shortest(model.attn_dropout);
  json["embd_pdrop"] = shortest(model.embd_dropout);
  json["resid_pdrop"] = shortest(model.resid_dropout);
  json["layer_norm_epsilon"] = shortest(model.norm_epsilon);
  json["n_ctx"] = model.context;  // of old releases
  json["n_embd"] = model.embd;
  json["n_head"] = model.heads;
  json["n_inner"] = nullptr;
  json["n_layer"] = model.layers;
  json["n_positions"] = model.context;
  if (!model.bias) json[kBias] = false;
  return json;
}

GptConfig read_hf_config(const nlohmann::json& json, const std::string& source) {
  GLINT_REQUIRE(json.is_object(), source, " is not a JSON object");
  if (kind_of(json, source) == ModelKind::llama) return read_llama_config(json, source);
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
  validate(model, source);
  return model;
}

}  // namespace glint
