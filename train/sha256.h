// SHA-256 (FIPS 180-4), to name masks.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace glint {

// 64 hexadecimal digits.
std::string sha256_hex(std::span<const uint8_t> bytes);

}  // namespace glint
