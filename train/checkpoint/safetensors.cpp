#include "train/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include "data/durable.h"
#include "kernels/check.h"
#include "train/exchange/half.h"

namespace glint {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kAlignment = 8;            // of the data after the header

// Bytes of one element; 0 if the format has no such type.
size_t bytes_of_type(const std::string& dtype) {
  static constexpr std::pair<const char*, size_t> kTypes[] = {
      {"F32", 4}, {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I16", 2}, {"U16", 2},
      {"F16", 2}, {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F64", 8},     {"I64", 8},     {"U64", 8}};
  for (const auto& [name, bytes] : kTypes) {
    if (dtype == name) return bytes;
  }
  return 0;
}

std::string make_header(std::span<const TensorView> tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  size_t offset = 0;
  for (const TensorView& tensor : tensors) {
    const size_t end = offset + tensor.bytes();
    GLINT_CHECK(!header.contains(tensor.name), "two tensors are named ", tensor.name);
    header[tensor.name] = {
        {"dtype", type_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string result = header.dump();
  result.resize((result.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  return result;
}

// Refuses a key that appears twice in the outer object, which nlohmann would accept.
json parse_header(const char* begin, const char* end) {
  std::set<std::string> seen;
  return json::parse(begin, end, [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && !seen.insert(value.get<std::string>()).second) {
      throw UserError("the header names " + value.get<std::string>() + " twice");
    }
    return true;
  });
}

// The header's entry of one tensor; begin and end are byte offsets into the data.
struct Entry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

Entry read_entry(const std::string& name, const json& json_entry) {
  Entry result{name, json_entry.at("dtype").get<std::string>(), {}, 0, 0};
  uint64_t bytes = bytes_of_type(result.dtype);
  GLINT_REQUIRE(bytes > 0, name, " is of the unknown type ", result.dtype);
  for (const json& size : json_entry.at("shape")) {
    GLINT_REQUIRE(size.is_number_unsigned() && size.get<uint64_t>() <= INT64_MAX, name,
                  " has a size that is not a number");
    result.shape.push_back(size.get<int64_t>());
    GLINT_REQUIRE(!__builtin_mul_overflow(bytes, size.get<uint64_t>(), &bytes), name, " is impossibly large");
  }
  const json& offsets = json_entry.at("data_offsets");
  const bool two = offsets.is_array() && offsets.size() == 2;
  GLINT_REQUIRE(two && offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned(), name, " has no offsets");
  result.begin = offsets[0].get<uint64_t>();
  result.end = offsets[1].get<uint64_t>();
  GLINT_REQUIRE(result.begin <= result.end && result.end - result.begin == bytes, name, " of shape ",
                shape_text(result.shape), " does not fit its offsets");
  return result;
}

// Sorted by offset.
std::vector<Entry> read_entries(const char* begin, const char* end) {
  std::vector<Entry> entries;
  const json header = parse_header(begin, end);
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") entries.push_back(read_entry(name, entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  return entries;
}

}  // namespace

size_t TensorView::elements() const {
  size_t n = 1;
  for (int64_t size : shape) n *= static_cast<size_t>(size);
  return n;
}

void StoredTensor::to_floats(float* out, size_t n) const {
  const auto convert = [&](auto element) {  // copied first: data need not be aligned
    for (size_t i = 0; i < n; ++i) {
      std::memcpy(&element, bytes_in_file + i * sizeof element, sizeof element);
      out[i] = to_float(element);
    }
  };
  if (type == "F32") convert(0.0f);
  else if (type == "BF16") convert(Bf16{});
  else if (type == "F16") convert(Half{});
  else GLINT_CHECK(false, name, " is of type ", type);
}

const char* type_name(DType dtype) { return dtype == DType::bf16 ? "BF16" : "F32"; }

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string result = "[";
  for (size_t i = 0; i < shape.size(); ++i) result += (i ? ", " : "") + std::to_string(shape[i]);
  return result + "]";
}

uint64_t write_safetensors(DurableFolder& folder, const std::string& name, std::span<const TensorView> tensors) {
  const std::string header = make_header(tensors);
  unsigned char length[kLengthBytes];
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<unsigned char>(uint64_t{header.size()} >> (8 * i));
  DurableFile file(folder.file(name));
  file.write(length, sizeof length);
  file.write(header.data(), header.size());
  for (const TensorView& tensor : tensors) file.write(tensor.data, tensor.bytes());
  return file.finish();
}

SafetensorsFile::SafetensorsFile(const fs::path& path) : file_(path) {
  try {
    read();
  } catch (const json::exception&) {
    throw UserError(str_cat(path.string(), " is damaged or not a safetensors file: its header can't be read"));
  } catch (const UserError& error) {
    throw UserError(str_cat(path.string(), " is damaged or not a safetensors file: ", error.what()));
  }
}

void SafetensorsFile::read() {
  const size_t size = file_.size();
  GLINT_REQUIRE(size >= kLengthBytes, "it ends after ", size, " bytes");
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{static_cast<unsigned char>(file_.data()[i])} << (8 * i);
  GLINT_REQUIRE(length <= kMaxHeader, "its header would be ", length, " bytes long");
  GLINT_REQUIRE(length <= size - kLengthBytes, "it ends inside its header");
  const char* header = file_.data() + kLengthBytes;
  GLINT_REQUIRE(length > 0 && *header == '{', "its header is not a JSON object");

  // The format has no holes and no overlaps: in the order of their offsets the tensors fill the file.
  const char* data = header + length;
  const uint64_t data_size = size - kLengthBytes - length;
  uint64_t at = 0;
  for (Entry& entry : read_entries(header, header + length)) {
    GLINT_REQUIRE(entry.begin == at, entry.name, " does not begin where the tensor before it ends");
    GLINT_REQUIRE(entry.end <= data_size, "it ends inside ", entry.name, " (truncated)");
    at = entry.end;
    StoredTensor& tensor = tensors_.emplace_back();
    tensor.name = std::move(entry.name), tensor.shape = std::move(entry.shape);
    tensor.type = entry.dtype, tensor.bytes_in_file = data + entry.begin;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (entry.dtype != type_name(dtype)) continue;
      tensor.data = elements_at(data + entry.begin, entry.end - entry.begin, dtype);
      tensor.dtype = dtype;
    }
  }
  GLINT_REQUIRE(at == data_size, data_size - at, " bytes at its end do not belong to any tensor");
}

void* SafetensorsFile::elements_at(const char* data, size_t bytes, DType dtype) {
  const bool aligned = reinterpret_cast<uintptr_t>(data) % bytes_of(dtype) == 0;
  if (aligned || bytes == 0) return const_cast<char*>(data);
  unaligned_.emplace_back((bytes + sizeof(float) - 1) / sizeof(float));
  std::memcpy(unaligned_.back().data(), data, bytes);
  return unaligned_.back().data();
}

uint64_t SafetensorsFile::checksum() const { return checksum_of(file_.data(), file_.size()); }

}  // namespace glint
