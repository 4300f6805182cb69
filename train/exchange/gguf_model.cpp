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

// "h.3.mlp.c_fc.weight" and "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight"
std::string gguf_name(const std::string& name) {
  static const std::map<std::string, std::string> kNames = {{"wte", "token_embd"},
                                                            {"wpe", "position_embd"},
                                                            {"ln_f", "output_norm"},
                                                            {"ln_1", "attn_norm"},
                                                            {"attn.c_attn", "attn_qkv"},
                                                            {"attn.c_proj", "attn_output"},
                                                            {"ln_2", "ffn_norm"},
                                                            {"mlp.c_fc", "ffn_up"},
                                                            {"mlp.c_proj", "ffn_down"},
                                                            {"lm_head", "output"},
                                                            {"model.embed_tokens", "token_embd"},
                                                            {"model.norm", "output_norm"},
                                                            {"input_layernorm", "attn_norm"},
                                                            {"self_attn.q_proj", "attn_q"},
                                                            {"self_attn.k_proj", "attn_k"},
                                                            {"self_attn.v_proj", "attn_v"},
                                                            {"self_attn.o_proj", "attn_output"},
                                                            {"post_attention_layernorm", "ffn_norm"},
                                                            {"mlp.gate_proj", "ffn_gate"},
                                                            {"mlp.up_proj", "ffn_up"},
                                                            {"mlp.down_proj", "ffn_down"}};
  size_t begin = 0;
  std::string block;
  for (const std::string layers : {"h.", "model.layers."}) {
    if (!name.starts_with(layers)) continue;
    begin = name.find('.', layers.size()) + 1;
    block = "blk." + name.substr(layers.size(), begin - layers.size());
  }
  const size_t end = name.rfind('.');
  return block + kNames.at(name.substr(begin, end - begin)) + name.substr(end);
}

// Where llama.cpp has another order: GPT-2's linear weights are (in, out) here. Of Llama's query and key heads
// (convert_hf_to_gguf.py) it rotates neighbouring channels: row j HS/2 + i of a head stands at 2 i + j.
enum class Order { same, transposed, interleaved };

std::vector<float> in_order(const float* from, size_t rows, size_t columns, Order order, size_t HS) {
  std::vector<float> values(from, from + rows * columns);
  for (size_t i = 0; order == Order::transposed && i < values.size(); ++i)
    values[i] = from[i % columns * rows + i / columns];
  for (size_t row = 0; order == Order::interleaved && row < rows; ++row) {
    const size_t in_head = row % HS, source = row - in_head + in_head % 2 * (HS / 2) + in_head / 2;
    std::copy_n(from + source * columns, columns, values.begin() + static_cast<std::ptrdiff_t>(row * columns));
  }
  return values;
}

void add_tensors(GgufWriter& gguf, const Parameters& parameters, const GptConfig& config, GgufType type) {
  const bool llama = config.kind == ModelKind::llama;
  for (const Parameter& parameter : parameters.all()) {
    for (const NamedTensor& tensor : parameter.tensors()) {
      const std::string name = gguf_name(tensor.name);
      const bool matrix = tensor.shape.sizes.size() == 2;
      Order order = Order::same;
      if (name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight")) order = Order::interleaved;
      if (!llama && matrix && tensor.name.find(".c_") != std::string::npos) order = Order::transposed;
      auto columns = static_cast<size_t>(tensor.shape.last()), rows = tensor.shape.elements() / columns;
      if (order == Order::transposed) std::swap(rows, columns);
      GgufType stored = matrix && name != "position_embd.weight" ? type : GgufType::f32;
      if (stored == GgufType::q8_0 && columns % kQ8Block != 0) stored = GgufType::f16;
      gguf.add_tensor(
          name, matrix ? rows : 0, columns, stored,
          [from = parameters.value_at(tensor.offset), rows, columns, order,
           HS = static_cast<size_t>(config.head_size())] { return in_order(from, rows, columns, order, HS); });
      const bool lacks_bias = !llama && !config.bias && name.ends_with(".weight") && name != "token_embd.weight" &&
                              name != "position_embd.weight" && name != "output.weight";
      if (!lacks_bias) continue;
      const size_t n = matrix ? rows : columns;  // llama.cpp asks for biases
      gguf.add_tensor(name.substr(0, name.size() - 6) + "bias", 0, n, GgufType::f32,
                      [n] { return std::vector<float>(n); });
    }
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
  add_tensors(gguf, run.model->parameters(), model, type);
  gguf.write(path);
  if (llama || model.activation == Gelu::tanh) return "";
  return "llama.cpp computes GPT-2 with the tanh GELU, this model has the exact one (--activation erf): its logits "
         "will differ by about 1e-3";
}

}  // namespace glint
