// Values as text.
#pragma once

#include <cstdio>
#include <string>

namespace glint {

// formatted("%.3g", 0.5) == "0.5"
inline std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// A string as it is, anything else as JSON.
template <typename Json>
std::string plain_text(const Json& value) {
  return value.is_string() ? value.template get<std::string>() : value.dump();
}

}  // namespace glint
