#include "train/exchange/hf_config.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/train/run_program.h"

using namespace glint;
using Json = nlohmann::json;
using test::error_of;

namespace {

GptConfig all_different() {
  GptConfig model;
  model.vocab = 301, model.context = 48, model.layers = 3, model.heads = model.kv_heads = 5, model.embd = 80;
  model.bias = true, model.tied = false, model.activation = Gelu::tanh, model.norm_epsilon = 1e-6f;
  model.embd_dropout = 0.1f, model.attn_dropout = 0.2f, model.resid_dropout = 0.3f;
  return model;
}

Json written(const GptConfig& model) { return Json::parse(hf_config(model, DType::f32, 7).dump()); }

}  // namespace

TEST_CASE("config.json of Hugging Face's GPT-2: what is written is read back") {
  for (const bool bias : {true, false}) {
    for (const bool tied : {true, false}) {
      GptConfig model = all_different();
      model.bias = bias, model.tied = tied, model.activation = bias ? Gelu::tanh : Gelu::erf;
      const Json text = written(model);
      CHECK(text["layer_norm_epsilon"] == 1e-6);
      CHECK(text["attn_pdrop"] == 0.2);
      CHECK(text["eos_token_id"] == 7);
      CHECK(Json::parse(hf_config(read_hf_config(text, "here"), DType::f32, 7).dump()) == text);
    }
  }
  CHECK(hf_config(all_different(), DType::bf16, -1)["torch_dtype"] == "bfloat16");
  CHECK(hf_config(all_different(), DType::bf16, -1)["eos_token_id"].is_null());
}

TEST_CASE("config.json of Hugging Face's Llama: what is written is read back, what glint lacks is refused") {
  GptConfig model;
  model.kind = ModelKind::llama, model.vocab = 301, model.context = 48, model.layers = 3, model.heads = 6;
  model.kv_heads = 2, model.embd = 96, model.norm_epsilon = 1e-6f, model.rope_theta = 5e5f, model.attn_dropout = 0.2f;
  for (const bool tied : {true, false}) {
    model.tied = tied;
    CHECK_FALSE(not_in_hf(model));
    const Json text = written(model);
    CHECK(text["architectures"] == Json::array({"LlamaForCausalLM"}));
    CHECK(text["intermediate_size"] == 256);
    CHECK(text["rope_parameters"]["rope_theta"] == 5e5);
    const GptConfig read = read_hf_config(text, "here");
    CHECK(read.kind == ModelKind::llama);
    CHECK(Json::parse(hf_config(read, DType::f32, 7).dump()) == text);
  }
  const auto refused = [&](const char* key, const Json& value) {
    Json text = written(model);
    text[key] = value;
    return error_of([&] { read_hf_config(text, "there/config.json"); });
  };
  CHECK(refused("hidden_act", "gelu").find("'gelu'") != std::string::npos);
  CHECK(refused("attention_bias", true).find("attention_bias is true") != std::string::npos);
  CHECK(refused("intermediate_size", 300).find("intermediate_size 300") != std::string::npos);
  CHECK(refused("head_dim", 32).find("head_dim") != std::string::npos);
  CHECK(refused("rope_scaling", {{"rope_type", "llama3"}}).find("'llama3'") != std::string::npos);
  CHECK(refused("num_key_value_heads", 4).find("`kv_heads` 4") != std::string::npos);
  model.qk_norm = true;
  CHECK(not_in_hf(model).value_or("").find("QK norm") != std::string::npos);
}

TEST_CASE("config.json: what is left out is GPT2Config's default; names of the same GELU") {
  GptConfig model = read_hf_config({{"model_type", "gpt2"}}, "here");
  CHECK(model.layers == 12);
  CHECK(model.embd == 768);
  CHECK(model.vocab == 50257);
  CHECK(model.activation == Gelu::tanh);
  CHECK(model.tied);
  CHECK(model.bias);
  for (const char* name : {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"})
    CHECK(read_hf_config({{"model_type", "gpt2"}, {"activation_function", name}}, "").activation == Gelu::tanh);
  CHECK(read_hf_config({{"model_type", "gpt2"}, {"activation_function", "gelu"}}, "").activation == Gelu::erf);
}

TEST_CASE("config.json: another architecture is named, as is what glint does not compute") {
  const auto refused = [](const char* key, const Json& value) {
    Json text = written(all_different());
    text[key] = value;
    return error_of([&] { read_hf_config(text, "there/config.json"); });
  };
  CHECK(refused("architectures", Json::array({"MistralForCausalLM"})).find("describes MistralForCausalLM") !=
        std::string::npos);
  CHECK(refused("model_type", "gpt_neo").find("model_type gpt_neo") != std::string::npos);
  CHECK(refused("activation_function", "relu").find("'relu'") != std::string::npos);
  CHECK(refused("n_inner", 100).find("n_inner 100") != std::string::npos);
  CHECK(refused("n_head", 3).find("`embd` 80 is not a multiple of `heads` 3") != std::string::npos);
  CHECK(refused("n_layer", "3").find("n_layer cannot be \"3\"") != std::string::npos);
  CHECK(refused("n_layer", 5'000'000'000).find("n_layer cannot be 5000000000") != std::string::npos);
  CHECK(refused("n_embd", -8).find("at least 8 channels") != std::string::npos);
  CHECK(refused("layer_norm_epsilon", 0).find("`norm_epsilon` 0") != std::string::npos);
  CHECK(refused("scale_attn_weights", false).find("scale_attn_weights is false") != std::string::npos);
  CHECK(refused("add_cross_attention", true).find("add_cross_attention is true") != std::string::npos);
  CHECK(error_of([] { read_hf_config(Json::array(), "x"); }).find("not a JSON object") != std::string::npos);
  CHECK(error_of([] { read_hf_config({{"version", 1}}, "x"); }).find("no model_type") != std::string::npos);
  GptConfig grouped = all_different();
  CHECK_FALSE(not_in_hf(grouped));
  grouped.kv_heads = 1;
  CHECK(not_in_hf(grouped).value_or("").find("1 key/value heads for 5") != std::string::npos);
}
