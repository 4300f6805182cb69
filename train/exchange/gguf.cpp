#include "train/exchange/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "data/file_writer.h"
#include "kernels/bf16.h"
#include "kernels/check.h"
#include "train/exchange/half.h"

namespace glint {

namespace {

constexpr uint32_t kGgufVersion = 3;
constexpr uint64_t kGgufAlignment = 32;
// Types of metadata.
constexpr uint32_t kOfUint32 = 4, kOfInt32 = 5, kOfFloat32 = 6, kOfBool = 7, kOfString = 8, kOfArray = 9;

template <typename Value>
void put(std::string& out, Value value) {
  static_assert(std::is_trivially_copyable_v<Value>);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);  // both this machine and the format are little-endian
  out.append(bytes, sizeof value);
}
void put_text(std::string& out, const std::string& text) {
  put(out, uint64_t{text.size()});
  out += text;
}

template <typename Element, typename Convert>
std::vector<char> converted(std::span<const float> values, const Convert& convert) {
  std::vector<char> out(values.size() * sizeof(Element));
  for (size_t i = 0; i < values.size(); ++i) {
    const Element element = convert(values[i]);
    std::memcpy(out.data() + i * sizeof element, &element, sizeof element);
  }
  return out;
}

Half finite_half(float value) {
  const Half half = to_half(value);
  GLINT_REQUIRE(std::isfinite(to_float(half)), "a weight is too large for fp16 (", value,
                "): choose --dtype fp32 or bf16");
  return half;
}

// Blocks of a scale, the largest magnitude / 127, and the values in its units.
std::vector<char> quantized(std::span<const float> values) {
  GLINT_CHECK(values.size() % kQ8Block == 0, values.size(), " values");
  constexpr size_t kBytes = sizeof(Half) + kQ8Block;
  std::vector<char> out(values.size() / kQ8Block * kBytes);
  for (size_t block = 0; block < values.size() / kQ8Block; ++block) {
    const float* from = values.data() + block * kQ8Block;
    char* to = out.data() + block * kBytes;
    float largest = 0;
    for (int i = 0; i < kQ8Block; ++i) largest = std::max(largest, std::fabs(from[i]));
    const float scale = largest / 127, inverse = scale > 0 ? 1 / scale : 0;
    const Half stored = finite_half(scale);
    std::memcpy(to, &stored, sizeof stored);
    for (int i = 0; i < kQ8Block; ++i)
      to[sizeof stored + static_cast<size_t>(i)] = static_cast<char>(std::lround(from[i] * inverse));
  }
  return out;
}

uint64_t padded_to_alignment(uint64_t bytes) { return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

}  // namespace

std::vector<char> packed(std::span<const float> values, GgufType type) {
  if (type == GgufType::q8_0) return quantized(values);
  if (type == GgufType::f16) return converted<Half>(values, finite_half);
  if (type == GgufType::bf16) return converted<Bf16>(values, to_bf16);
  return converted<float>(values, [](float value) { return value; });
}

void GgufWriter::add_key(const std::string& key, uint32_t type) {
  keys_ += 1;
  put_text(metadata_, key);
  put(metadata_, type);
}

void GgufWriter::add(const std::string& key, const std::string& text) {
  add_key(key, kOfString);
  put_text(metadata_, text);
}
void GgufWriter::add(const std::string& key, uint32_t number) {
  add_key(key, kOfUint32);
  put(metadata_, number);
}
void GgufWriter::add(const std::string& key, float number) {
  add_key(key, kOfFloat32);
  put(metadata_, number);
}
void GgufWriter::add(const std::string& key, bool truth) {
  add_key(key, kOfBool);
  put(metadata_, static_cast<uint8_t>(truth));
}
void GgufWriter::add(const std::string& key, const std::vector<std::string>& texts) {
  add_key(key, kOfArray);
  put(metadata_, kOfString);
  put(metadata_, uint64_t{texts.size()});
  for (const std::string& text : texts) put_text(metadata_, text);
}
void GgufWriter::add(const std::string& key, const std::vector<int32_t>& numbers) {
  add_key(key, kOfArray);
  put(metadata_, kOfInt32);
  put(metadata_, uint64_t{numbers.size()});
  for (const int32_t number : numbers) put(metadata_, number);
}

uint64_t GgufWriter::Tensor::bytes() const {
  const uint64_t elements = std::max<uint64_t>(rows, 1) * columns;
  if (type == GgufType::q8_0) return elements / kQ8Block * (sizeof(Half) + kQ8Block);
  return elements * (type == GgufType::f32 ? 4 : 2);
}

void GgufWriter::add_tensor(const std::string& name, uint64_t rows, uint64_t columns, GgufType type,
                            std::function<std::vector<float>()> values) {
  GLINT_CHECK(type != GgufType::q8_0 || columns % kQ8Block == 0, name, " has rows of ", columns);
  tensors_.push_back({name, rows, columns, type, std::move(values)});
}

void GgufWriter::write(const std::filesystem::path& path) const {
  std::string head = "GGUF";
  put(head, kGgufVersion);
  put(head, uint64_t{tensors_.size()});
  put(head, keys_);
  head += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(head, tensor.name);
    put(head, uint32_t{tensor.rows > 0 ? 2u : 1u});
    put(head, tensor.columns);
    if (tensor.rows > 0) put(head, tensor.rows);
    put(head, static_cast<uint32_t>(tensor.type));
    put(head, offset);
    offset += padded_to_alignment(tensor.bytes());
  }
  FileWriter file(path);
  head.resize(padded_to_alignment(head.size()), '\0');
  file.append(head);
  for (const Tensor& tensor : tensors_) {
    std::vector<char> data = packed(tensor.values(), tensor.type);
    GLINT_CHECK(data.size() == tensor.bytes(), tensor.name, " has ", data.size(), " bytes, not ", tensor.bytes());
    data.resize(padded_to_alignment(data.size()));
    file.append(data.data(), data.size());
  }
  file.commit();
}

}  // namespace glint
