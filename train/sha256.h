// SHA-256 by the system's sha256sum.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace glint {

// In hexadecimal. UserError if sha256sum is missing.
std::string sha256(const std::vector<uint8_t>& bytes);

}  // namespace glint
