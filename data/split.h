// How GPT-2 cuts text before byte-pair encoding: words with the space before them, numbers, signs, white space.
// Unicode's properties come from PCRE2, which knows those of Unicode 14 (version 10.42).
#pragma once

#include <cstddef>
#include <string_view>

namespace glint {

// OpenAI's pattern, github.com/openai/gpt-2, src/encoder.py. \s is Unicode's White_Space.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The end of the pattern's match at `at`, which is before `end`. Valid UTF-8 only.
const char* piece_end(const char* at, const char* end);

// The largest offset at which the text may be cut without changing a piece, whatever follows the text; 0: none.
size_t last_cut(std::string_view text);

}  // namespace glint
