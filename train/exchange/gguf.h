// The GGUF format, version 3 (github.com/ggml-org/ggml, docs/gguf.md): typed metadata, then tensors, of which the
// fastest dimension comes first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace glint {

enum class GgufType : uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };  // ggml's numbers

inline constexpr int kQ8Block = 32;  // q8_0: elements that share a scale

// Rows of floats, as the type holds them: to nearest; q8_0 takes rows of a multiple of kQ8Block.
std::vector<char> packed(std::span<const float> values, GgufType type);

class GgufWriter {
 public:
  void add(const std::string& key, const std::string& text);
  void add(const std::string& key, const char* text) { add(key, std::string(text)); }
  void add(const std::string& key, uint32_t number);
  void add(const std::string& key, float number);
  void add(const std::string& key, bool truth);
  void add(const std::string& key, const std::vector<std::string>& texts);
  void add(const std::string& key, const std::vector<int32_t>& numbers);

  // rows x columns floats, row by row; a vector has rows 0. values: called once, by write().
  void add_tensor(const std::string& name, uint64_t rows, uint64_t columns, GgufType type,
                  std::function<std::vector<float>()> values);

  // Replaces the file, atomically.
  void write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    uint64_t rows, columns;
    GgufType type;
    std::function<std::vector<float>()> values;
    uint64_t bytes() const;
  };
  void add_key(const std::string& key, uint32_t type);

  std::string metadata_;
  uint64_t keys_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace glint
