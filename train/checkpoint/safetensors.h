// The safetensors format (huggingface.co/docs/safetensors): 8-byte little-endian header length, JSON header, data.
// Writes F32 and BF16. Reads the data of these two, and those of F16 as floats; files may hold other types too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "data/mapped_file.h"
#include "src/tensor.h"

namespace glint {

// A named tensor in row-major order; does not own its data.
struct TensorView {
  std::string name;
  std::vector<int64_t> shape;
  void* data = nullptr;
  DType dtype = DType::f32;  // or bf16

  size_t elements() const;
  size_t bytes() const { return elements() * bytes_of(dtype); }
};

// "F32" or "BF16"
const char* type_name(DType dtype);
// "[65, 128]"
std::string shape_text(const std::vector<int64_t>& shape);

// A tensor of a file. `data` is null if its type is none of DType.
struct StoredTensor : TensorView {
  std::string type;  // "F32", "F16", "I64", ...
  const char* bytes_in_file = nullptr;

  bool is_float() const { return type == "F32" || type == "F16" || type == "BF16"; }
  // The first n elements as floats, if is_float().
  void to_floats(float* out, size_t n) const;
};

class DurableFolder;

// Writes `name` into the folder; returns the XXH3-64 of the whole file.
uint64_t write_safetensors(DurableFolder& folder, const std::string& name, std::span<const TensorView> tensors);

// A file mapped for reading. The tensors point into the mapping: read-only, valid as long as this object.
class SafetensorsFile {
 public:
  // Throws UserError if the file is missing, truncated or malformed.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // in the order of their data
  uint64_t checksum() const;                                             // XXH3-64 of the whole file

 private:
  void read();
  void* elements_at(const char* data, size_t bytes, DType dtype);

  MappedFile file_;
  std::vector<StoredTensor> tensors_;
  std::vector<std::vector<float>> unaligned_;  // copies of tensors that don't start at a multiple of an element's size
};

}  // namespace glint
