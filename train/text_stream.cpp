#include "train/text_stream.h"

#include <algorithm>
#include <utility>

#include "models/generate.h"

namespace glint {

int32_t usual_first_token(const Tokenizer& tokenizer) {
  if (tokenizer.separator() >= 0) return tokenizer.separator();
  for (const char* text : {"\n", " "})
    if (const auto encoded = tokenizer.encode(text); encoded.unknown.empty()) return encoded.ids.front();
  return 0;
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped_) return "";
  held_ += characters_.push(bytes);
  size_t first = std::string::npos, holds = 0;
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
    for (size_t length = std::min(held_.size(), stop.size() - 1); length > holds; --length)
      if (held_.ends_with(std::string_view(stop).substr(0, length))) holds = length;
  }
  stopped_ = first != std::string::npos;
  const size_t certain = stopped_ ? first : held_.size() - holds;
  std::string text = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  return text;
}

std::string TextStream::finish() { return stopped_ ? "" : std::exchange(held_, "") + characters_.finish(); }

std::string default_sample(Model& model, const Tokenizer& tokenizer, int tokens) {
  SamplingOptions sampling;
  sampling.never = tokenizer.unknown();
  TextStream stream;
  std::string text;
  const int32_t first = usual_first_token(tokenizer);
  Generator(model).generate({&first, 1}, tokens, sampling, [&](int, int32_t token) {
    std::string bytes;
    tokenizer.append_decoded(bytes, token);
    text += stream.push(bytes);
    return token != tokenizer.separator();
  });
  return text + stream.finish();
}

}  // namespace glint
