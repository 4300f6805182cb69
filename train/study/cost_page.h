// The page of `glint study cost`: each section from the JSON of its unit. Its pictures go into the study's folder.
#pragma once

#include <string>
#include <vector>

#include "train/study/study.h"

namespace glint {

std::string ops_section(const Study& study, const nlohmann::ordered_json& result);
std::string arena_section(const Study& study, const nlohmann::ordered_json& kept,
                          const nlohmann::ordered_json& recomputed);
std::string sites_section(const Study& study, const nlohmann::ordered_json& rows);
std::string lengths_section(const Study& study, const std::vector<int>& lengths,
                            const std::vector<nlohmann::ordered_json>& results);

}  // namespace glint
