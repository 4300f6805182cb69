// The pictures of `glint study mask`, from its JSON.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace glint {

// rates: [{axis, dropped, half_band}]; rate: of dropping, as expected.
std::string mask_rates_picture(const nlohmann::ordered_json& rates, double rate);
// [{axis, correlation, pairs}]
std::string mask_lags_picture(const nlohmann::ordered_json& lags);
// {attention, rows}: how often each byte occurs
std::string mask_bytes_picture(const nlohmann::ordered_json& bytes);
// What an 8-bit rate is off by, over p.
std::string mask_8bit_picture();

}  // namespace glint
