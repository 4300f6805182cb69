// Event files of TensorBoard: their framing and what is in them. tests/interop/ has TensorBoard itself read them.
#include "train/tensorboard.h"

#include <bit>
#include <cstring>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/train/run_program.h"

using namespace glint;
using namespace glint::test;

namespace {

// CRC-32C bit by bit (RFC 3720), masked as TFRecord's.
uint32_t masked_crc_of(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

template <typename Number>
Number number_at(const std::string& file, size_t at) {
  Number number{};
  REQUIRE(at + sizeof number <= file.size());
  std::memcpy(&number, file.data() + at, sizeof number);
  return number;
}

// The events of each file of a folder, in the order of names.
std::vector<std::vector<std::string>> events_of(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  std::vector<std::vector<std::string>> files;
  for (const std::string& name : names) {
    if (name.find("events.out.tfevents.") == std::string::npos) continue;
    const std::string file = read_file(name);
    std::vector<std::string>& events = files.emplace_back();
    for (size_t at = 0; at < file.size();) {
      const auto length = static_cast<size_t>(number_at<uint64_t>(file, at));
      CHECK(number_at<uint32_t>(file, at + 8) == masked_crc_of(file.substr(at, 8)));
      events.push_back(file.substr(at + 12, length));
      CHECK(number_at<uint32_t>(file, at + 12 + length) == masked_crc_of(events.back()));
      at += 16 + length;
    }
  }
  return files;
}

bool has(const std::string& event, std::string_view bytes) { return event.find(bytes) != std::string::npos; }

}  // namespace

TEST_CASE("tensorboard: whole records; a later start writes a file with all lines in their place") {
  CHECK(masked_crc_of("123456789") == std::rotr(0xE3069283u, 15) + 0xA282EAD8u);  // CRC catalogue: CRC-32/ISCSI
  const ScratchFolder folder;
  const std::string run = folder / "run", metrics = run + "/metrics.jsonl";
  std::filesystem::create_directory(run);
  MetricsLine before{.step = 0}, line{.step = 300};
  before.val_loss = 4.5, line.loss = 2.5, line.lr = 0.001, line.sample = "one\ntwo";
  write_file_for_test(metrics, to_text(before));
  const nlohmann::ordered_json options = {{"lr", 0.001}, {"out", "run"}, {"bias", true}};
  TensorBoard(run, metrics, options).add(line);
  auto files = events_of(run);
  REQUIRE(files.size() == 1);
  REQUIRE(files[0].size() == 5);  // version, start, hyperparameters, the line that was there, the new line
  CHECK(files[0][0].ends_with("brain.Event:2"));
  CHECK(has(files[0][1], std::string("\x10\x00\x3a\x02\x08\x01", 6)));  // SessionLog START
  CHECK(has(files[0][2], "_hparams_/session_start_info"));
  CHECK(has(files[0][2], "out\x12\x05\x1a\x03run"));                         // string_value
  CHECK(has(files[0][3], std::string("val_loss\x15\x00\x00\x90\x40", 13)));  // simple_value 4.5
  CHECK(has(files[0][4], std::string("\x10\xac\x02", 3)));                   // step 300
  CHECK(has(files[0][4], std::string("loss\x15\x00\x00\x20\x40", 9)));
  CHECK(has(files[0][4], "    one\n    two"));
  write_file_for_test(run + "/events.out.tfevents.0000000001.another", "");  // of another program: stays
  write_file_for_test(metrics, to_text(before) + to_text(line));             // one that came while it was off
  TensorBoard(run, metrics, options).add(line);
  const auto again = events_of(run);
  REQUIRE(again.size() == 3);
  CHECK(again[1].empty());
  REQUIRE(again[2].size() == 6);
  for (size_t i = 0; i < 5; ++i) CHECK(again[2][i].substr(9) == files[0][i].substr(9));  // but for the time
  TensorBoard(run, metrics, options);
  CHECK(events_of(run).size() == 3);  // those that were empty are gone, but for the other program's
}
