#include "train/study/gradients.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "train/picture/picture.h"

namespace glint {

using nlohmann::ordered_json;

namespace {

size_t place_of(std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) names.push_back(name);
  return static_cast<size_t>(found - names.begin());
}

// "ln_1", "c_attn", "attn proj"
std::string short_name(const std::string& tensor) {
  const std::string name = tensor.substr(0, tensor.rfind('.'));
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return name;
  return name.ends_with("c_proj") ? name.substr(0, dot) + " proj" : name.substr(dot + 1);
}

}  // namespace

std::string layers_picture(const ordered_json& rows, const std::vector<std::string>& kernels) {
  std::vector<std::string> lengths, layers;
  for (const ordered_json& row : rows)
    place_of(lengths, str_cat(row["T"].get<int>())), place_of(layers, str_cat(row["layer"].get<int>()));
  std::vector<picture::Heatmap> panels;
  for (const std::string& kernel : kernels) {
    for (const char* result : kResults) {
      picture::Heatmap panel{str_cat(result, ": ", kernel),
                             "T",
                             "layer",
                             lengths,
                             layers,
                             std::vector<double>(lengths.size() * layers.size(), NAN),
                             "%.1e"};
      for (const ordered_json& row : rows) {
        if (row["kernel"] != kernel) continue;
        const size_t column = place_of(lengths, str_cat(row["T"].get<int>())),
                     line = place_of(layers, str_cat(row["layer"].get<int>()));
        panel.values[line * lengths.size() + column] = row[result];
      }
      panels.push_back(panel);
    }
  }
  return picture::draw_heatmaps(panels, {"relative error", true}, {.per_row = 4});
}

std::string random_picture(const ordered_json& rows) {
  std::vector<picture::LinePanel> panels;
  for (const char* result : kResults) {
    picture::LinePanel panel{result, {"T, tokens", true}, {"relative error", true}, {}};
    for (const char* kernel : {kFlash, kReference, kBf16, kReferenceBf16}) {
      picture::Line line{kernel, {}, {}};
      for (const ordered_json& row : rows)
        if (row["kernel"] == kernel) line.x.push_back(row["T"]), line.y.push_back(row[result]);
      panel.x.ticks = line.x;
      panel.lines.push_back(line);
    }
    panels.push_back(panel);
  }
  return picture::draw_lines(panels, {.per_row = 2});
}

std::string distances_picture(const ordered_json& ways, int layers) {
  std::vector<picture::Heatmap> panels;
  for (const ordered_json& way : ways) {
    if (way["same_bits"].get<bool>()) continue;
    picture::Heatmap panel{way["way"], "", "layer", {}, {}, {}, "%.0e"};
    for (int layer = 0; layer < layers; ++layer) panel.rows.push_back(str_cat(layer));
    std::vector<std::string> tensors;
    for (const auto& [name, distance] : way["parameters"].items()) {
      if (!name.starts_with("h.0.") || !name.ends_with(".weight")) continue;
      tensors.push_back(name.substr(4));  // "attn.c_attn.weight"
      panel.columns.push_back(short_name(tensors.back()));
    }
    for (int layer = 0; layer < layers; ++layer)
      for (const std::string& tensor : tensors)
        panel.values.push_back(way["parameters"][str_cat("h.", layer, ".", tensor)]);
    panels.push_back(panel);
  }
  return picture::draw_heatmaps(panels, {"relative distance", true}, {.per_row = 2});
}

}  // namespace glint
