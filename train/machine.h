// What machine this is, as far as Linux tells.
#pragma once

#include <cstdint>
#include <string>

namespace glint {

// Bytes of memory this process may use at most: the machine's, or its control group's if that is less.
uint64_t machine_memory();
// The most memory this process has held so far. (Not getrusage's figure: that one is inherited from whoever started
// us.)
uint64_t peak_memory();
// What it holds now.
uint64_t used_memory();
std::string cpu_name();
// The widest vectors this build was compiled for, e.g. "256 bits (AVX2, FMA)".
std::string compiled_vectors();
// What the CPU offers, as far as it matters here, e.g. "AVX2 FMA AVX-512".
std::string cpu_vectors();

}  // namespace glint
