#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "train/options_table.h"

namespace glint {
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
  } else {
    constexpr bool kBool = std::is_same_v<Value, bool>, kInteger = std::is_integral_v<Value> && !kBool;
    const bool typed = kBool                         ? json.is_boolean()
                       : kInteger                    ? json.is_number_integer()
                       : std::is_arithmetic_v<Value> ? json.is_number()
                                                     : json.is_string();
    if (typed) json.get_to(value);
    return typed && (!kInteger || json == ordered_json(value));
  }
}

}  // namespace

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
  for_each_option(options, [&](auto& value, const OptionInfo& option) {
    read_key(option.name, value, option.on_resume != OnResume::fixed);
  });
  read_key(kVocab, options.model.vocab, false);
  GLINT_REQUIRE(unknown.empty(), source, ": unknown key '", unknown.begin().key(), "'");
  return options;
}

}  // namespace glint
