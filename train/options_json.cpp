#include <charconv>
#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "kernels/check.h"
#include "train/options_table.h"

namespace glint {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

constexpr const char* kVocab = "vocab";  // not a flag: it comes from the tokenizer

template <typename Value>
ordered_json json_of(const Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    for (const auto& [name, choice] : names_of(value))
      if (choice == value) return name;
    return nullptr;
  } else if constexpr (std::is_same_v<Value, float>) {
    char text[32]{};
    std::to_chars(text, text + sizeof text - 1, value);
    return std::strtod(text, nullptr);  // 0.1f as 0.1, which reads back as 0.1f
  } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
    if (value.size() == 1) return value.front();
    return value.empty() ? ordered_json("") : ordered_json(value);
  } else {
    return value;
  }
}

// False where the JSON holds another type or a number out of range.
template <typename Value>
bool read(const ordered_json& json, Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    for (const auto& [name, choice] : names_of(value))
      if (json == name) return value = choice, true;
    return false;
  } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {  // one text stands alone
    value.clear();
    const ordered_json list = json.is_array() ? json : ordered_json::array({json});
    for (const ordered_json& text : list) {
      if (!text.is_string()) return false;
      if (text != "") value.push_back(text.get<std::string>());
    }
    return true;
  } else {
    constexpr bool kBool = std::is_same_v<Value, bool>, kInteger = std::is_integral_v<Value> && !kBool;
    const bool typed = kBool                         ? json.is_boolean()
                       : kInteger                    ? json.is_number_integer()
                       : std::is_arithmetic_v<Value> ? json.is_number()
                                                     : json.is_string();
    if (typed) json.get_to(value);
    if constexpr (std::is_floating_point_v<Value>) return typed && std::isfinite(value);
    // nlohmann compares -1 as equal to the largest unsigned number.
    if (kInteger && std::is_unsigned_v<Value> && typed && json < 0) return false;
    return typed && (!kInteger || json == ordered_json(value));
  }
}

// A value of a TOML file; null for what JSON lacks, dates.
ordered_json json_of(const toml::node& node) {
  if (const auto* array = node.as_array()) {
    ordered_json json = ordered_json::array();
    for (const toml::node& element : *array) json.push_back(json_of(element));
    return json;
  }
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return number->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  return nullptr;
}

toml::table parsed(const fs::path& path) try {
  std::error_code unreadable;
  std::ifstream stream(path, std::ios::binary);
  GLINT_REQUIRE(stream && !fs::is_directory(path, unreadable), "cannot read --config ", path.string());
  return toml::parse(stream, path.string());
} catch (const toml::parse_error& error) {
  const toml::source_position at = error.source().begin;
  throw UserError(
      str_cat("--config ", path.string(), ": line ", at.line, ", column ", at.column, ": ", error.description()));
}

}  // namespace

void apply_config(TrainOptions& options, const fs::path& path) {
  toml::table table = parsed(path);
  const auto take = [&](const char* key, auto&& set) {
    const toml::node* node = table.get(key);
    if (!node) return;
    const ordered_json value = json_of(*node);
    const toml::source_position at = node->source().begin;
    GLINT_REQUIRE(set(value), "--config ", path.string(), ": line ", at.line, ", column ", at.column, ": ", key,
                  " cannot be ", value.is_null() ? "a table or a date" : value.dump());
    table.erase(key);
  };
  take("dropout", [&](const ordered_json& value) {
    auto& m = options.model;
    if (!read(value, m.attn_dropout) || m.attn_dropout < 0 || m.attn_dropout >= 1) return false;
    m.embd_dropout = m.resid_dropout = m.attn_dropout;
    return true;
  });
  for_each_option(options, [&](auto& value, const OptionInfo& option) {
    take(option.name, [&](const ordered_json& json) { return read(json, value); });
  });
  for (const auto& [key, node] : table) {
    const toml::source_position at = key.source().begin;
    throw UserError(str_cat("--config ", path.string(), ": line ", at.line, ", column ", at.column, ": unknown ",
                            node.is_table() ? "table [" : "key '", key.str(),
                            node.is_table() ? "]; its keys stand alone" : "'"));
  }
}

ordered_json to_json(const TrainOptions& options) {
  ordered_json json;
  for_each_option(options, [&](const auto& value, const OptionInfo& option) { json[option.name] = json_of(value); });
  json[kVocab] = options.model.vocab;
  return json;
}

TrainOptions options_from_json(const ordered_json& json, const std::string& source) {
  GLINT_REQUIRE(json.is_object(), source, " holds no options");
  TrainOptions options;
  ordered_json unknown = json;
  const auto read_key = [&](const char* key, auto& value, bool optional) {
    unknown.erase(key);
    if (optional && !json.contains(key)) return;  // the run is older than the option
    GLINT_REQUIRE(json.contains(key), source, " lacks '", key, "'");
    GLINT_REQUIRE(read(json[key], value), source, ": '", key, "' cannot be ", json[key].dump());
  };
  for_each_option(options, [&]<typename Value>(Value& value, const OptionInfo& option) {
    read_key(option.name, value, option.on_resume == OnResume::free || std::is_same_v<Value, std::string>);
  });
  read_key(kVocab, options.model.vocab, false);
  GLINT_REQUIRE(unknown.empty(), source, ": unknown key '", unknown.begin().key(), "'");
  return options;
}

}  // namespace glint
