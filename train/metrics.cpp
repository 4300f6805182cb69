#include "train/metrics.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "data/file_writer.h"

namespace glint {

using nlohmann::ordered_json;

std::string to_text(const MetricsLine& line) {
  ordered_json json;
  json["step"] = line.step;
  json["tokens"] = line.tokens;
  if (!line.device.empty()) json["device"] = line.device, json["dtype"] = line.dtype, json["machine"] = line.machine;
  for (const auto& [key, value] : numbers_of(line))  // JSON has no NaN
    if (*value) json[key] = std::isfinite(**value) ? ordered_json(**value) : ordered_json(nullptr);
  if (line.sample) json["sample"] = *line.sample;
  return json.dump() + "\n";
}

std::vector<MetricsLine> read_metrics(const std::filesystem::path& path, std::vector<size_t>* ends) {
  const std::string content = read_file(path).value_or("");
  std::vector<MetricsLine> lines;
  for (size_t at = 0, end = 0; (end = content.find('\n', at)) != std::string::npos; at = end + 1) {
    const ordered_json json = ordered_json::parse(content.begin() + static_cast<std::ptrdiff_t>(at),
                                                  content.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    const auto count = [&](const char* key) { return json.contains(key) && json[key].is_number_unsigned(); };
    if (!json.is_object() || !count("step")) continue;
    const auto text = [&](const char* key) {
      return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
    };
    const auto number = [&](const char* key) { return json.contains(key) && json[key].is_number(); };
    MetricsLine& line = lines.emplace_back();
    line.step = json["step"].get<uint64_t>();
    if (count("tokens")) line.tokens = json["tokens"].get<uint64_t>();
    line.device = text("device"), line.dtype = text("dtype"), line.machine = text("machine");
    for (const auto& [key, value] : numbers_of(line))
      if (number(key)) *value = json[key].get<double>();
    if (json.contains("sample")) line.sample = text("sample");
    if (ends) ends->push_back(end + 1);
  }
  return lines;
}

}  // namespace glint
