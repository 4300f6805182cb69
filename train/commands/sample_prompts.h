// Where `glint sample` takes several prompts from: a file, or a person at a terminal.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "train/signals.h"

namespace glint {

struct NamedPrompt {
  std::optional<std::string> text;
  std::string name;  // for errors
};

// A prompt for each line of a file (-: standard input) that is not empty. Of a file named .jsonl a line is a JSON
// string, or an object with a string "prompt". UserError that names the line.
std::vector<NamedPrompt> read_prompts(const std::string& path);

// Lines of standard input. At a terminal an interrupt discards the line so far.
class PromptLines {
 public:
  explicit PromptLines(InterruptWatch& interrupts);
  bool from_terminal() const { return terminal_; }
  std::optional<std::string> next();  // nothing: the end

 private:
  InterruptWatch& interrupts_;
  bool terminal_, ended_ = false;
  std::string read_;
};

}  // namespace glint
