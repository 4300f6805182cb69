// Properties of this machine, from Linux.
#pragma once

#include <cstdint>
#include <string>

namespace glint {

// Bytes of memory that this process may use: the machine's, or its control group's if that is less.
uint64_t machine_memory();
// Peak resident memory of this process. (getrusage() would include the parent process.)
uint64_t peak_memory();
uint64_t used_memory();  // resident now
std::string cpu_name();
// The widest vectors this build was compiled for, e.g. "256 bits (AVX2, FMA)".
std::string compiled_vectors();
// The vector instructions that the CPU has, of those that glint uses, e.g. "AVX2 FMA AVX-512".
std::string cpu_vectors();

}  // namespace glint
