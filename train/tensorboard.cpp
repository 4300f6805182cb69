#include "train/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "train/text.h"

namespace glint {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

template <typename Number>
std::string little_endian(Number number) {
  static_assert(std::endian::native == std::endian::little);
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

// A message in protobuf's wire format. Fields are given by their numbers.
class Message {
 public:
  Message& integer(int field, uint64_t value) {
    varint(static_cast<uint64_t>(field) << 3);
    varint(value);
    return *this;
  }
  Message& number(int field, double value) { return fixed(field << 3 | 1, value); }
  Message& number(int field, float value) { return fixed(field << 3 | 5, value); }
  Message& bytes(int field, std::string_view value) {
    varint(static_cast<uint64_t>(field) << 3 | 2);
    varint(value.size());
    text_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.text_); }
  const std::string& text() const { return text_; }

 private:
  template <typename Number>
  Message& fixed(int key, Number value) {
    varint(static_cast<uint64_t>(key));
    text_ += little_endian(value);
    return *this;
  }
  void varint(uint64_t value) {
    for (; value >= 128; value >>= 7) text_ += static_cast<char>(value | 128);
    text_ += static_cast<char>(value);
  }

  std::string text_;
};

// CRC-32C (Castagnoli; RFC 3720, section 12.1), as TFRecord stores it.
uint32_t masked_crc(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) made[i] = made[i] >> 1 ^ (made[i] & 1 ? 0x82F63B78u : 0);
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<uint8_t>(byte)) & 255];
  return std::rotr(~crc, 15) + 0xA282EAD8u;
}

Message event_at(uint64_t step) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return Message().number(1, now.count()).integer(2, step);
}

// A Summary.Value that is for one of TensorBoard's plugins.
Message value_for(const char* plugin, std::string_view content, const std::string& tag, const Message& tensor) {
  const Message metadata = Message().message(1, Message().bytes(1, plugin).bytes(2, content));
  return Message().bytes(1, tag).message(8, tensor).message(9, metadata);
}

Message text_value(const std::string& tag, const std::string& text) {
  constexpr uint64_t kString = 7;  // DataType
  const Message shape = Message().message(2, Message().integer(1, 1));
  return value_for("text", "", tag, Message().integer(1, kString).message(2, shape).bytes(8, text));
}

Message hyperparameters(const ordered_json& options) {
  constexpr uint64_t kFloat = 1;
  Message session;
  for (const auto& [name, value] : options.items()) {
    Message held;  // google.protobuf.Value
    if (value.is_number()) held.number(2, value.get<double>());
    else if (value.is_boolean()) held.integer(4, value.get<bool>());
    else held.bytes(3, plain_text(value));
    session.message(1, Message().bytes(1, name).message(2, held));
  }
  const Message data = Message().integer(1, 0).message(3, session);  // version, SessionStartInfo
  return value_for("hparams", data.text(), "_hparams_/session_start_info",
                   Message().integer(1, kFloat).message(2, Message()).number(5, 0.0f));
}

// Markdown that shows the text as it is.
std::string as_code(const std::string& text) {
  std::string result = "    ";
  for (const char c : text) result += c == '\n' ? "\n    " : std::string(1, c);
  return result;
}

}  // namespace

TensorBoard::TensorBoard(const fs::path& folder, const fs::path& metrics, const ordered_json& options) {
  constexpr const char *kPrefix = "events.out.tfevents.", *kSuffix = ".glint";
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  long long number = std::chrono::duration_cast<std::chrono::seconds>(now).count();  // TensorBoard reads in its order
  std::vector<fs::path> earlier;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    number = std::max(number, 1 + std::strtoll(name.c_str() + std::strlen(kPrefix), nullptr, 10));
    if (name.ends_with(kSuffix)) earlier.push_back(entry.path());
  }
  char name[64];
  std::snprintf(name, sizeof name, "%s%010lld%s", kPrefix, number, kSuffix);
  path_ = folder / name;
  file_ = Descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666));
  GLINT_REQUIRE(file_ >= 0, "cannot write ", path_.string(), ": ", std::strerror(errno));
  write(event_at(0).bytes(3, "brain.Event:2").text());
  constexpr uint64_t kStart = 1;  // SessionLog: TensorBoard drops the points that it has, from this step on
  write(event_at(0).message(7, Message().integer(1, kStart)).text());
  write(event_at(0).message(5, Message().message(1, hyperparameters(options))).text());
  for (const MetricsLine& line : read_metrics(metrics)) add(line);
  for (const fs::path& path : earlier) {  // a TensorBoard that is reading a file would not get over its removal
    if (fs::file_size(path, error) == 0) fs::remove(path, error);
    else fs::resize_file(path, 0, error);
  }
}

void TensorBoard::add(const MetricsLine& line) {
  Message summary;
  for (const auto& [key, value] : numbers_of(line))
    if (*value) summary.message(1, Message().bytes(1, key).number(2, static_cast<float>(**value)));
  if (line.sample) summary.message(1, text_value("sample", as_code(*line.sample)));
  if (!summary.text().empty()) write(event_at(line.step).message(5, summary).text());
}

void TensorBoard::write(std::string_view event) {
  std::string record = little_endian(static_cast<uint64_t>(event.size()));
  record += little_endian(masked_crc(record));
  record += event;
  record += little_endian(masked_crc(event));
  const ssize_t written = ::write(file_, record.data(), record.size());
  GLINT_REQUIRE(written == static_cast<ssize_t>(record.size()), "cannot write ", path_.string(), ": ",
                written < 0 ? std::strerror(errno) : "disk full");
}

}  // namespace glint
