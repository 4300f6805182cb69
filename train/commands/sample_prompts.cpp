#include "train/commands/sample_prompts.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include <nlohmann/json.hpp>

#include "data/file_writer.h"
#include "data/streamed_files.h"
#include "kernels/check.h"
#include "train/command_line.h"

namespace glint {

std::vector<NamedPrompt> read_prompts(const std::string& path) {
  const std::optional<std::string> content = read_file(path == "-" ? "/dev/stdin" : path);
  GLINT_REQUIRE(content, "--prompts ", path, " can't be read");
  const bool json = path.ends_with(".jsonl");
  std::vector<NamedPrompt> prompts;
  std::istringstream lines(*content);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (number == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    const std::string name = str_cat("line ", number, " of --prompts ", path);
    if (json) {
      auto value = nlohmann::json::parse(line, nullptr, false);
      if (value.is_object() && value.contains("prompt")) value = nlohmann::json(value["prompt"]);
      GLINT_REQUIRE(value.is_string() && value != "", name,
                    " is not a JSON string, or object with a string \"prompt\", that is not empty");
      line = value.get<std::string>();
    }
    prompts.push_back({line, name});
  }
  GLINT_REQUIRE(!prompts.empty(), "--prompts ", path, " has no prompt: give one a line");
  return prompts;
}

PromptLines::PromptLines(InterruptWatch& interrupts) : interrupts_(interrupts), terminal_(isatty(STDIN_FILENO) == 1) {}

std::optional<std::string> PromptLines::next() {
  constexpr const char* kAsk = "> ";
  constexpr int kWaitMs = 50;
  if (terminal_) write_out(kAsk);
  size_t end = 0;
  while ((end = read_.find('\n')) == std::string::npos && !ended_) {
    if (terminal_ && interrupts_.take()) {
      read_.clear();
      write_out(std::string("\n") + kAsk);
    }
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, terminal_ ? kWaitMs : -1) <= 0) continue;
    char bytes[4096];
    const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count > 0) read_.append(bytes, static_cast<size_t>(count));
    else ended_ = count == 0 || errno != EINTR;
  }
  if (ended_ && read_.empty()) {
    if (terminal_) write_out("\n");
    return {};
  }
  std::string line = read_.substr(0, end);
  read_.erase(0, ended_ && end == std::string::npos ? read_.size() : end + 1);
  return line;
}

}  // namespace glint
