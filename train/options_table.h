// The one list of training options, and how a value is read from text and written as text.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>

#include "train/options.h"

namespace glint {

enum class OnResume { fixed, free };  // free: may change when a run goes on, for it doesn't touch the mathematics

template <typename Value>
using Of = Value TrainOptions::*;
template <typename Value>
using OfModel = Value GptConfig::*;
using OptionMember = std::variant<Of<int>, Of<int64_t>, Of<uint64_t>, Of<double>, Of<bool>, Of<std::string>,
                                  OfModel<int>, OfModel<float>, OfModel<bool>, OfModel<Gelu>, Of<TokenizerKind>,
                                  Of<AttentionKind>, Of<MatmulChoice>, Of<DeviceChoice>, Of<DtypeChoice>>;

struct OptionField {
  const char* name;  // the flag without its dashes, and the key in config files and config.json
  OptionMember member;
  OnResume on_resume;
  const char* group;
  const char* help;
  const char* shown_default = nullptr;  // where the value alone would puzzle
};

std::span<const OptionField> option_table();
const OptionField* find_option(const std::string& name);  // null: no such option

template <typename Value>
Value& at(TrainOptions& options, Of<Value> member) {
  return options.*member;
}
template <typename Value>
Value& at(TrainOptions& options, OfModel<Value> member) {
  return options.model.*member;
}
template <typename Member>
const auto& at(const TrainOptions& options, Member member) {
  return at(const_cast<TrainOptions&>(options), member);
}

template <typename Choice>
struct ChoiceName {
  const char* name;
  Choice choice;
};
inline constexpr ChoiceName<Gelu> kGeluNames[] = {{"erf", Gelu::erf}, {"tanh", Gelu::tanh}};
inline constexpr ChoiceName<TokenizerKind> kTokenizerNames[] = {{"char", TokenizerKind::character},
                                                                {"byte", TokenizerKind::byte}};
inline constexpr ChoiceName<AttentionKind> kAttentionNames[] = {{"flash", AttentionKind::flash},
                                                                {"reference", AttentionKind::reference}};
inline constexpr ChoiceName<MatmulChoice> kMatmulNames[] = {
    {"auto", MatmulChoice::automatic}, {"eigen", MatmulChoice::eigen}, {"onednn", MatmulChoice::onednn}};
inline constexpr ChoiceName<DeviceChoice> kDeviceNames[] = {{"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}};
inline constexpr ChoiceName<DtypeChoice> kDtypeNames[] = {{"fp32", DtypeChoice::fp32}, {"bf16", DtypeChoice::bf16}};
inline constexpr ChoiceName<bool> kBoolNames[] = {{"true", true}, {"false", false}};

constexpr std::span<const ChoiceName<Gelu>> names_of(Gelu) { return kGeluNames; }
constexpr std::span<const ChoiceName<TokenizerKind>> names_of(TokenizerKind) { return kTokenizerNames; }
constexpr std::span<const ChoiceName<AttentionKind>> names_of(AttentionKind) { return kAttentionNames; }
constexpr std::span<const ChoiceName<MatmulChoice>> names_of(MatmulChoice) { return kMatmulNames; }
constexpr std::span<const ChoiceName<DeviceChoice>> names_of(DeviceChoice) { return kDeviceNames; }
constexpr std::span<const ChoiceName<DtypeChoice>> names_of(DtypeChoice) { return kDtypeNames; }
constexpr std::span<const ChoiceName<bool>> names_of(bool) { return kBoolNames; }

// The value of a field as text; numbers as short as they read back bit for bit.
std::string value_text(const TrainOptions& options, const OptionField& field);
// Reads the text into the field. Returns what is wrong with it ("'x' is no whole number"), or "" if all is well.
std::string set_value(TrainOptions& options, const OptionField& field, const std::string& text);
// What stands for the value in help: INT, NUMBER, TEXT, true|false, ...
std::string type_text(const OptionField& field);

// The same for a lone float (--dropout sets three fields).
std::string read_value(const std::string& text, float& value);

}  // namespace glint
