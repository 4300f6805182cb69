#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "train/options_table.h"

namespace glint {
using nlohmann::ordered_json;

namespace {

constexpr const char* kVocab = "vocab";  // no flag: it comes from the tokenizer

template <typename Value>
ordered_json json_of(const Value& value, const std::string& text) {
  if constexpr (std::is_same_v<Value, float>) {
    return std::stod(text);  // 0.1f as 0.1, which reads back as 0.1f
  } else if constexpr (std::is_enum_v<Value>) {
    return text;
  } else {
    return value;
  }
}

// The text that set_value() reads.
std::string text_of(const ordered_json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

}  // namespace

ordered_json to_json(const TrainOptions& options) {
  ordered_json json;
  for (const OptionField& field : option_table()) {
    json[field.name] =
        std::visit([&](auto member) { return json_of(at(options, member), value_text(options, field)); }, field.member);
  }
  json[kVocab] = options.model.vocab;
  return json;
}

TrainOptions options_from_json(const ordered_json& json, const std::string& source) {
  GLINT_REQUIRE(json.is_object(), source, " holds no options");
  TrainOptions options;
  for (const OptionField& field : option_table()) {
    if (!json.contains(field.name) && field.on_resume == OnResume::free) continue;  // younger than the run
    GLINT_REQUIRE(json.contains(field.name), source, " lacks '", field.name, "'");
    const std::string problem = set_value(options, field, text_of(json[field.name]));
    GLINT_REQUIRE(problem.empty(), source, ": '", field.name, "': ", problem);
  }
  GLINT_REQUIRE(json.contains(kVocab) && json[kVocab].is_number_integer(), source, " lacks '", kVocab, "'");
  options.model.vocab = json[kVocab].get<int>();
  for (const auto& [key, value] : json.items()) {
    GLINT_REQUIRE(key == kVocab || find_option(key), source, ": unknown key '", key, "'");
  }
  return options;
}

}  // namespace glint
