#include "train/exchange/gguf_model.h"

#include <algorithm>
#include <map>
#include <utility>

#include "data/bpe_files.h"
#include "data/utf8.h"
#include "kernels/check.h"
#include "train/exchange/hf_config.h"
#include "train/exchange/hf_tokenizer.h"

namespace glint {

namespace {

constexpr int32_t kNormalToken = 1, kUnknownToken = 2, kControlToken = 3;  // llama.cpp's types of tokens

struct TokenList {
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
};

// Byte-level BPE: characters of several bytes are put together by merges, which never cross a character's end.
TokenList token_list_of(const Tokenizer& tokenizer) {
  TokenList v;
  const auto add = [&](std::string text, int32_t type) {
    v.tokens.push_back(std::move(text));
    v.types.push_back(type);
  };
  if (tokenizer.kind() == TokenizerKind::bpe) {
    const Bpe& bpe = *tokenizer.bpe();
    for (const std::string& bytes : bpe.tokens()) add(characters_of(bytes), kNormalToken);
    for (const auto& [left, right] : bpe.merges())
      v.merges.push_back(v.tokens[static_cast<size_t>(left)] + " " + v.tokens[static_cast<size_t>(right)]);
    for (const Bpe::Added& token : bpe.added()) {
      v.tokens[static_cast<size_t>(token.id)] = token.content;
      v.types[static_cast<size_t>(token.id)] = kControlToken;
    }
    return v;
  }
  if (tokenizer.kind() == TokenizerKind::byte) {
    for (int byte = 0; byte < 256; ++byte) add(characters_of(std::string(1, static_cast<char>(byte))), kNormalToken);
  }
  for (const char32_t c : tokenizer.characters()) {
    std::string bytes;
    append_utf8(bytes, c);
    for (size_t i = 1; i < bytes.size(); ++i)
      v.merges.push_back(characters_of(bytes.substr(0, i)) + " " + characters_of(bytes.substr(i, 1)));
    add(characters_of(bytes), kNormalToken);
  }
  std::sort(v.merges.begin(), v.merges.end());
  v.merges.erase(std::unique(v.merges.begin(), v.merges.end()), v.merges.end());
  if (tokenizer.unknown() >= 0) add("<unk>", kUnknownToken);
  if (tokenizer.separator() >= 0) add(kEndOfText, kControlToken);
  return v;
}

void add_tokenizer(GgufWriter& gguf, const Tokenizer& tokenizer) {
  const TokenList vocabulary = token_list_of(tokenizer);
  GLINT_CHECK(vocabulary.tokens.size() == static_cast<size_t>(tokenizer.vocabulary()), "of ", vocabulary.tokens.size());
  gguf.add("tokenizer.ggml.model", "gpt2");
  gguf.add("tokenizer.ggml.pre", "gpt-2");
  gguf.add("tokenizer.ggml.tokens", vocabulary.tokens);
  gguf.add("tokenizer.ggml.token_type", vocabulary.types);
  gguf.add("tokenizer.ggml.merges", vocabulary.merges);
  // llama.cpp ends a text at token 11 where nothing is said: without a separator, at one that is never drawn, or at
  // the byte 0.
  const int end = tokenizer.separator() >= 0 ? tokenizer.separator() : std::max(0, tokenizer.unknown());
  gguf.add("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(end));
  gguf.add("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(end));
  if (tokenizer.unknown() >= 0) gguf.add("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(tokenizer.unknown()));
  gguf.add("tokenizer.ggml.add_bos_token", false);
}

// "h.3.mlp.c_fc.weight" -> "blk.3.ffn_up.weight"
std::string gguf_name(const std::string& name) {
  static const std::map<std::string, std::string> kNames = {
      {"wte", "token_embd"},  {"wpe", "position_embd"},    {"ln_f", "output_norm"},        {"lm_head", "output"},
      {"ln_1", "attn_norm"},  {"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"}, {"ln_2", "ffn_norm"},
      {"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}};
  const bool in_block = name.starts_with("h.");
  const size_t begin = in_block ? name.find('.', 2) + 1 : 0, end = name.rfind('.');
  return (in_block ? "blk." + name.substr(2, begin - 2) : "") + kNames.at(name.substr(begin, end - begin)) +
         name.substr(end);
}

// Llama's, as llama.cpp's convert_hf_to_gguf.py has them: it turns neighbouring channels of a head, so that row j HS/2
// + i of a query or key head stands at 2 i + j.
void add_llama_tensors(GgufWriter& gguf, const Parameters& parameters, int head_size, GgufType type) {
  static const std::map<std::string, std::string> kNames = {{"model.embed_tokens", "token_embd"},
                                                            {"model.norm", "output_norm"},
                                                            {"lm_head", "output"},
                                                            {"input_layernorm", "attn_norm"},
                                                            {"self_attn.q_proj", "attn_q"},
                                                            {"self_attn.k_proj", "attn_k"},
                                                            {"self_attn.v_proj", "attn_v"},
                                                            {"self_attn.o_proj", "attn_output"},
                                                            {"post_attention_layernorm", "ffn_norm"},
                                                            {"mlp.gate_proj", "ffn_gate"},
                                                            {"mlp.up_proj", "ffn_up"},
                                                            {"mlp.down_proj", "ffn_down"}};
  constexpr std::string_view kLayers = "model.layers.";
  for (const Parameter& parameter : parameters.all()) {
    for (const NamedTensor& tensor : parameter.tensors()) {
      std::string stem = tensor.name.substr(0, tensor.name.rfind('.')), block;
      if (stem.starts_with(kLayers)) {
        const size_t dot = stem.find('.', kLayers.size());
        block = "blk." + stem.substr(kLayers.size(), dot - kLayers.size()) + ".";
        stem = stem.substr(dot + 1);
      }
      const bool matrix = tensor.shape.sizes.size() == 2, turned = stem.ends_with("q_proj") || stem.ends_with("k_proj");
      const auto columns = static_cast<size_t>(tensor.shape.last()), rows = tensor.shape.elements() / columns,
                 HS = static_cast<size_t>(head_size);
      GgufType stored = matrix ? type : GgufType::f32;
      if (stored == GgufType::q8_0 && columns % kQ8Block != 0) stored = GgufType::f16;
      const float* const from = parameters.value_at(tensor.offset);
      gguf.add_tensor(block + kNames.at(stem) + ".weight", matrix ? rows : 0, columns, stored, [=] {
        std::vector<float> values(from, from + rows * columns);
        for (size_t row = 0; turned && row < rows; ++row) {
          const size_t in_head = row % HS, source = row - in_head + in_head % 2 * (HS / 2) + in_head / 2;
          std::copy_n(from + source * columns, columns, values.begin() + static_cast<std::ptrdiff_t>(row * columns));
        }
        return values;
      });
    }
  }
}

void add_tensors(GgufWriter& gguf, const Model& model, const GptConfig& config, GgufType type) {
  const Parameters& parameters = model.parameters();
  for (const Parameter& parameter : parameters.all()) {
    const float* const from = parameters.value_at(parameter.offset);
    const std::string name = gguf_name(parameter.name);
    const Shape& shape = parameter.stored;
    const bool linear = parameter.name.find(".c_") != std::string::npos && shape.sizes.size() == 2;
    if (shape.sizes.size() == 1) {
      const auto n = static_cast<size_t>(shape[0]);
      gguf.add_tensor(name, 0, n, GgufType::f32, [=] { return std::vector<float>(from, from + n); });
    } else {
      const auto rows = static_cast<size_t>(shape[linear ? 1 : 0]),
                 columns = static_cast<size_t>(shape[linear ? 0 : 1]);
      GgufType stored = parameter.name == "wpe.weight" ? GgufType::f32 : type;
      if (stored == GgufType::q8_0 && columns % kQ8Block != 0) stored = GgufType::f16;
      gguf.add_tensor(name, rows, columns, stored, [=] {
        std::vector<float> values(from, from + rows * columns);
        for (size_t i = 0; linear && i < values.size(); ++i) values[i] = from[i % columns * rows + i / columns];
        return values;
      });
    }
    if (config.bias || !name.ends_with(".weight") || name == "token_embd.weight" || name == "position_embd.weight" ||
        name == "output.weight")
      continue;
    const auto n = static_cast<size_t>(linear ? shape[1] : shape[0]);  // llama.cpp asks for biases
    gguf.add_tensor(name.substr(0, name.size() - 6) + "bias", 0, n, GgufType::f32,
                    [n] { return std::vector<float>(n); });
  }
}

uint32_t file_type_of(GgufType type) {  // llama.cpp's numbers of what most tensors are
  return type == GgufType::f32 ? 0 : type == GgufType::f16 ? 1 : type == GgufType::q8_0 ? 7 : 32;
}

}  // namespace

std::string write_gguf(const std::filesystem::path& path, const LoadedRun& run, GgufType type) {
  const GptConfig& model = run.state.options.model;
  const auto reason = not_in_hf(model);
  GLINT_REQUIRE(!reason, run.paths.root.string(), " ", reason.value_or(""), ", nor llama.cpp's");
  GgufWriter gguf;
  const bool llama = model.kind == ModelKind::llama;
  const std::string architecture = llama ? "llama" : "gpt2";
  gguf.add("general.architecture", architecture);
  gguf.add("general.type", "model");
  gguf.add("general.name", std::filesystem::absolute(run.paths.root).lexically_normal().filename().string());
  gguf.add("general.file_type", file_type_of(type));
  gguf.add("general.quantization_version", uint32_t{2});
  const auto number = [&](const char* key, int value) {
    gguf.add(architecture + "." + key, static_cast<uint32_t>(value));
  };
  number("context_length", model.context);
  number("embedding_length", model.embd);
  number("feed_forward_length", model.hidden());
  number("block_count", model.layers);
  number("attention.head_count", model.heads);
  if (llama) {
    number("attention.head_count_kv", model.kv_heads);
    number("rope.dimension_count", model.head_size());
    number("vocab_size", model.vocab);
    gguf.add("llama.attention.layer_norm_rms_epsilon", model.norm_epsilon);
    gguf.add("llama.rope.freq_base", model.rope_theta);
  } else {
    gguf.add("gpt2.attention.layer_norm_epsilon", model.norm_epsilon);
  }
  add_tokenizer(gguf, run.tokenizer);
  if (llama) add_llama_tensors(gguf, run.model->parameters(), model.head_size(), type);
  else add_tensors(gguf, *run.model, model, type);
  gguf.write(path);
  if (llama || model.activation == Gelu::tanh) return "";
  return "llama.cpp computes GPT-2 with the tanh GELU, this model has the exact one (--activation erf): its logits "
         "will differ by about 1e-3";
}

}  // namespace glint
