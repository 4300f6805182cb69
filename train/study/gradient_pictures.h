// The pictures of `glint study gradients`, from its JSON.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace glint {

// Errors by layer and T: a row of heatmaps for each kernel.
std::string layers_picture(const nlohmann::ordered_json& rows, const std::vector<std::string>& kernels);
// Errors over T, a line for each kernel.
std::string random_picture(const nlohmann::ordered_json& rows);
// Distances of the model's gradient by layer and tensor: a heatmap for each way that moves it.
std::string distances_picture(const nlohmann::ordered_json& ways, int layers);

}  // namespace glint
