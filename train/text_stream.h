// The text of a sequence, as its tokens are drawn.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"
#include "data/utf8.h"
#include "models/model.h"

namespace glint {

// A token that stands where a text begins: the separator, a line break, a space, or the first there is.
int32_t usual_first_token(const Tokenizer& tokenizer);

// Whole characters, up to the first of the stop strings, which may span several tokens and is left out.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops = {}) : stops_(std::move(stops)) {}

  // What is now certain to belong to the text. What may yet become a stop string is held back.
  std::string push(std::string_view bytes);
  std::string finish();  // at the end: what was held back
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  Utf8Stream characters_;
  std::string held_;
  bool stopped_ = false;
};

// What `glint sample --tokens N` prints, after the first token.
std::string default_sample(Model& model, const Tokenizer& tokenizer, int tokens);

}  // namespace glint
