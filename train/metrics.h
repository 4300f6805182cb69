// metrics.jsonl: a line of JSON for each report of a run. Terminal, TensorBoard and `glint report` show nothing else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace glint {

// What was not computed is left out.
struct MetricsLine {
  using Value = std::optional<double>;

  uint64_t step = 0, tokens = 0;
  std::string device{}, dtype{}, machine{};  // in the first line of each start
  Value loss{}, lr{}, grad_norm{}, step_ms{}, tokens_per_s{}, mfu{}, val_loss{}, train_loss{};
  std::optional<std::string> sample{};  // a text that the model draws
};

// The numbers of a line, by their keys.
template <typename Line>  // MetricsLine, const or not
auto numbers_of(Line& line) {
  return std::vector<std::pair<const char*, decltype(&line.loss)>>{{"loss", &line.loss},
                                                                   {"lr", &line.lr},
                                                                   {"grad_norm", &line.grad_norm},
                                                                   {"step_ms", &line.step_ms},
                                                                   {"tokens_per_s", &line.tokens_per_s},
                                                                   {"mfu", &line.mfu},
                                                                   {"val_loss", &line.val_loss},
                                                                   {"train_loss", &line.train_loss}};
}

std::string to_text(const MetricsLine& line);  // with a line break
// The lines of a file, but for damaged ones and an incomplete last one. `ends`: where each ends, in bytes.
std::vector<MetricsLine> read_metrics(const std::filesystem::path& path, std::vector<size_t>* ends = nullptr);

}  // namespace glint
