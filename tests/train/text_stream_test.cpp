#include "train/text_stream.h"

#include <doctest/doctest.h>

#include "tests/random.h"

using namespace glint;

namespace {

std::string in_pieces(const std::string& bytes, const std::vector<std::string>& stops, test::RandomInputs& inputs) {
  TextStream stream(stops);
  std::string text;
  for (size_t at = 0; at < bytes.size() && !stream.stopped();) {
    const auto length = static_cast<size_t>(1 + inputs.below(4));
    text += stream.push(std::string_view(bytes).substr(at, length));
    at += length;
  }
  return text + stream.finish();
}

}  // namespace

TEST_CASE("text stream: ends before the first stop string, whatever the tokens") {
  test::RandomInputs inputs(19);
  INFO("seed ", inputs.seed);
  for (int i = 0; i < 300; ++i) {
    std::string bytes;
    for (int n = inputs.below(30); n >= 0; --n) bytes += "ab\xC3\xA9"[inputs.below(3)] == '\xC3' ? "\xC3\xA9" : "ab";
    for (int n = inputs.below(10); n >= 0; --n) bytes.insert(bytes.size() / 2, "a");
    const std::vector<std::string> stops = {"aab",
                                            "b\xC3\xA9"
                                            "b",
                                            "aaaaa"};
    size_t end = bytes.size();
    for (const std::string& stop : stops) end = std::min(end, bytes.find(stop));
    INFO("text ", bytes);
    if (find_utf8_error(bytes) != std::string::npos) continue;  // "a" inside a character
    CHECK(in_pieces(bytes, stops, inputs) == bytes.substr(0, end));
    CHECK(in_pieces(bytes, {}, inputs) == bytes);
  }
}

TEST_CASE("text stream: what may become a stop string is held back, and comes at the end") {
  TextStream stream({"###", "\n\n"});
  CHECK(stream.push("one##") == "one");
  CHECK(stream.push(" two\n") == "## two");
  CHECK(stream.push("three#") == "\nthree");
  CHECK(!stream.stopped());
  CHECK(stream.finish() == "#");
  CHECK(stream.push("a##") == "a");
  CHECK(stream.push("# b") == "");
  CHECK(stream.stopped());
  CHECK(stream.push("c") == "");
  CHECK(stream.finish() == "");
}
