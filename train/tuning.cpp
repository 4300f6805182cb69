#include "train/tuning.h"

#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "data/durable.h"
#include "data/file_writer.h"
#include "kernels/product_choices.h"
#include "src/clock.h"

namespace glint {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

NLOHMANN_JSON_SERIALIZE_ENUM(Epilogue, {{Epilogue::none, "none"},
                                        {Epilogue::bias, "bias"},
                                        {Epilogue::gelu, "gelu"},
                                        {Epilogue::gelu_bias, "gelu_bias"},
                                        {Epilogue::gelu_backward, "gelu_backward"},
                                        {Epilogue::bias_gradient, "bias_gradient"}})

namespace {

template <typename Key, typename Choice, typename Visit>  // const or not
void for_each_field(Key& key, Choice& choice, Visit&& visit) {
  visit("m", key.m), visit("n", key.n), visit("k", key.k);
  visit("transpose_a", key.transpose_a), visit("transpose_b", key.transpose_b);
  visit("bf16", key.bf16), visit("bf16_output", key.bf16_output), visit("tf32", key.tf32), visit("add", key.add);
  visit("epilogue", key.epilogue), visit("alignment", key.alignment), visit("count", key.count);
  visit("candidates", choice.candidates), visit("chosen", choice.chosen);
  visit("first_us", choice.first_us), visit("us", choice.us);
}

std::string hex_of(const ProductChoice::Algorithm& algorithm) {
  std::string hex;
  for (const uint64_t word : algorithm) hex += hexadecimal(word);
  return hex;
}
ProductChoice::Algorithm algorithm_of(const std::string& hex) {
  ProductChoice::Algorithm algorithm;
  for (size_t i = 0; i < algorithm.size(); ++i) algorithm[i] = std::stoull(hex.substr(16 * i, 16), nullptr, 16);
  return algorithm;
}

std::string text_of(const ProductTable& table) {
  ordered_json json = {{"gpu", table.gpu}, {"cublaslt", table.library}, {"products", ordered_json::array()}};
  for (const auto& [key, choice] : table.choices) {
    ordered_json& product = json["products"].emplace_back();
    for_each_field(key, choice, [&](const char* name, const auto& value) { product[name] = value; });
    product["algorithm"] = choice.algorithm ? ordered_json(hex_of(*choice.algorithm)) : ordered_json(nullptr);
  }
  return json.dump(1) + "\n";
}
std::optional<ProductTable> table_of(const std::string& text) {
  try {
    const auto json = ordered_json::parse(text);
    ProductTable table{json.at("gpu"), json.at("cublaslt"), {}};
    for (const ordered_json& product : json.at("products")) {
      ProductKey key{};
      ProductChoice choice;
      for_each_field(key, choice, [&](const char* name, auto& value) { value = product.value(name, value); });
      if (const ordered_json& hex = product.at("algorithm"); !hex.is_null()) choice.algorithm = algorithm_of(hex);
      table.choices.emplace(key, choice);
    }
    return table;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

bool take(const Device& device, const std::optional<ProductTable>& table) {
  return table && device.visit([&](const auto& ctx) { return take_products(ctx, *table); });
}

// On rank 0.
Tuned measure(TrainingStep& step, const FillBatch& fill, const Device& device, const fs::path& file,
              std::string& text) {
  const auto start = Clock::now();
  const std::string known = read_file(file).value_or("");
  const std::optional<ProductTable> before = table_of(known);
  const bool taken = take(device, before);
  device.visit([](const auto& ctx) { tune_products(ctx, true); });
  step.warm_up(fill);
  device.visit([](const auto& ctx) { tune_products(ctx, false); });
  const ProductTable table = device.visit([](const auto& ctx) { return product_table(ctx); });
  text = text_of(table);
  if (text == known) return {};
  if (!file.empty()) write_file(file, text);
  size_t kept = 0;
  if (taken)
    for (const auto& [key, choice] : before->choices) kept += table.choices.at(key).algorithm == choice.algorithm;
  Tuned tuned;
  tuned.note = str_cat("matrix products: ", table.choices.size() - kept, " measured in ", seconds_since(start), " s");
  std::string loss;
  if (!known.empty() && !before) loss = "is damaged";
  else if (before && !taken)
    loss = str_cat("is of ", before->gpu, " with cuBLASLt ", before->library, ", this is ", table.gpu, " with ",
                   table.library);
  else if (before && kept < before->choices.size())
    loss = str_cat("has ", before->choices.size() - kept, " choices that no longer exist");
  if (!loss.empty())
    tuned.warning = str_cat(file.string(), " ", loss, ": measured again, so that later steps have other bits");
  return tuned;
}

}  // namespace

Tuned tune_products(TrainingStep& step, const FillBatch& fill, const Device& device, Team& team, const fs::path& file) {
  if (device.is_cpu()) return {};
  Tuned tuned;
  std::string text, fault;
  if (team.is_main()) tuned = measure(step, fill, device, file, text);
  text = team.text_of(0, text);
  if (!team.is_main() && !take(device, table_of(text)))
    fault = str_cat("rank ", team.rank(), " has another GPU or cuBLASLt than rank 0 and leaves matrix products to it");
  if (fault = team.first_text(fault); !fault.empty()) tuned.warning = fault;
  return tuned;
}

void use_tuned_products(const Device& device, const fs::path& file) {
  if (!device.is_cpu()) take(device, table_of(read_file(file).value_or("")));
}

}  // namespace glint
