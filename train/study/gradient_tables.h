// The tables and claims of `glint study gradients`, from its JSON (train/study/gradient_units.h).
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace glint {

// One line for each claim; `good` becomes false where one does not hold.
struct Claims {
  bool good = true;
  std::string text{};

  void add(bool holds, const std::string& claim);
};

// Of attention_errors(): the worst layer at each T. where: "in each layer".
std::string error_table(const nlohmann::ordered_json& rows);
void judge_errors(Claims& claims, const nlohmann::ordered_json& rows, const std::string& where);
// Of order_distances().
std::string order_table(const nlohmann::ordered_json& rows);
void judge_orders(Claims& claims, const nlohmann::ordered_json& rows);
// Of gradient_distances().
std::string distance_table(const nlohmann::ordered_json& ways);
void judge_ways(Claims& claims, const nlohmann::ordered_json& ways);

}  // namespace glint
