#include "train/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "train/checkpoint/durable.h"

namespace glint {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kAlignment = 8;            // of the data behind the header

// Bytes of one element; 0: not a type of the format.
size_t bytes_of_type(const std::string& dtype) {
  static constexpr std::pair<const char*, size_t> kTypes[] = {
      {"F32", 4}, {"BOOL", 1}, {"U8", 1},   {"I8", 1},   {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I16", 2}, {"U16", 2},
      {"F16", 2}, {"BF16", 2}, {"I32", 4},  {"U32", 4},  {"F64", 8},     {"I64", 8},     {"U64", 8}};
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
    const size_t end = offset + tensor.elements() * sizeof(float);
    GLINT_CHECK(!header.contains(tensor.name), "two tensors are called ", tensor.name);
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string result = header.dump();
  result.resize((result.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  return result;
}

// Refuses a key that appears twice in the outer object, which nlohmann would pass over.
json parse_header(const char* begin, const char* end) {
  std::set<std::string> seen;
  return json::parse(begin, end, [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && !seen.insert(value.get<std::string>()).second) {
      throw UserError("the header names " + value.get<std::string>() + " twice");
    }
    return true;
  });
}

}  // namespace

size_t TensorView::elements() const {
  size_t n = 1;
  for (int64_t size : shape) n *= static_cast<size_t>(size);
  return n;
}

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
  for (const TensorView& tensor : tensors) file.write(tensor.data, tensor.elements() * sizeof(float));
  return file.finish();
}

// What the header says of one tensor: `begin` and `end` are bytes into the data.
struct SafetensorsFile::Entry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

SafetensorsFile::SafetensorsFile(const fs::path& path) : path_(path) {
  map();
  try {
    read();
  } catch (const json::exception&) {
    ::munmap(const_cast<std::byte*>(bytes_), size_);
    throw UserError(text(path_.string(), " is not a safetensors file: its header is damaged"));
  } catch (const UserError& error) {
    ::munmap(const_cast<std::byte*>(bytes_), size_);
    throw UserError(text(path_.string(), " is damaged or not a safetensors file: ", error.what()));
  }
}

SafetensorsFile::~SafetensorsFile() { ::munmap(const_cast<std::byte*>(bytes_), size_); }

void SafetensorsFile::map() {
  const int descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  GLINT_REQUIRE(descriptor >= 0, "cannot read ", path_.string(), ": ", std::strerror(errno));
  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  size_ = regular ? static_cast<size_t>(status.st_size) : 0;
  void* address = size_ > 0 ? ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  const int error = errno;
  ::close(descriptor);
  GLINT_REQUIRE(regular, "cannot read ", path_.string(), ": not a file");
  GLINT_REQUIRE(size_ > 0, path_.string(), " is empty");
  GLINT_REQUIRE(address != MAP_FAILED, "cannot read ", path_.string(), ": ", std::strerror(error));
  bytes_ = static_cast<const std::byte*>(address);
}

void SafetensorsFile::read() {
  GLINT_REQUIRE(size_ >= kLengthBytes, "it ends after ", size_, " bytes");
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(bytes_[i]) << (8 * i);
  GLINT_REQUIRE(length <= kMaxHeader, "its header would be ", length, " bytes long");
  GLINT_REQUIRE(length <= size_ - kLengthBytes, "it ends inside its header");
  const char* text_begin = reinterpret_cast<const char*>(bytes_ + kLengthBytes);
  GLINT_REQUIRE(length > 0 && *text_begin == '{', "its header is no JSON object");

  std::vector<Entry> entries;
  const json header = parse_header(text_begin, text_begin + length);
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") add_tensor(name, entry, entries);
  }
  // The format leaves no holes and no overlaps: in the order of their offsets the tensors fill the file to its end.
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  const std::byte* data = bytes_ + kLengthBytes + length;
  const uint64_t data_size = size_ - kLengthBytes - length;
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    GLINT_REQUIRE(entry.begin == at, entry.name, " does not begin where the tensor before it ends");
    GLINT_REQUIRE(entry.end <= data_size, "it ends inside ", entry.name, " (truncated)");
    at = entry.end;
    float* elements = nullptr;
    if (entry.dtype == "F32") {
      const std::byte* source = data + entry.begin;
      if (reinterpret_cast<uintptr_t>(source) % alignof(float) != 0) {
        unaligned_.emplace_back((entry.end - entry.begin) / sizeof(float));
        std::memcpy(unaligned_.back().data(), source, entry.end - entry.begin);
        elements = unaligned_.back().data();
      } else {
        elements = const_cast<float*>(reinterpret_cast<const float*>(source));
      }
    }
    tensors_.push_back({entry.name, entry.shape, elements});
  }
  GLINT_REQUIRE(at == data_size, data_size - at, " bytes at its end belong to no tensor");
}

void SafetensorsFile::add_tensor(const std::string& name, const json& entry, std::vector<Entry>& entries) const {
  Entry result{name, entry.at("dtype").get<std::string>(), {}, 0, 0};
  uint64_t bytes = bytes_of_type(result.dtype);
  GLINT_REQUIRE(bytes > 0, name, " is of the unknown type ", result.dtype);
  for (const json& size : entry.at("shape")) {
    GLINT_REQUIRE(size.is_number_unsigned() && size.get<uint64_t>() <= INT64_MAX, name, " has a size that is no number");
    result.shape.push_back(size.get<int64_t>());
    GLINT_REQUIRE(!__builtin_mul_overflow(bytes, size.get<uint64_t>(), &bytes), name, " is impossibly large");
  }
  const json& offsets = entry.at("data_offsets");
  GLINT_REQUIRE(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned(),
                name, " has no offsets");
  result.begin = offsets[0].get<uint64_t>();
  result.end = offsets[1].get<uint64_t>();
  GLINT_REQUIRE(result.begin <= result.end && result.end - result.begin == bytes, name, " of shape ",
                shape_text(result.shape), " does not fit its offsets");
  entries.push_back(std::move(result));
}

uint64_t SafetensorsFile::checksum() const { return checksum_of(bytes_, size_); }

}  // namespace glint
