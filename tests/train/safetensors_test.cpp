#include "train/checkpoint/safetensors.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <doctest/doctest.h>

#include "data/durable.h"
#include "kernels/check.h"
#include "tests/random.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::RandomInputs;
using test::ScratchFolder;

namespace {

// A file by hand: header length, header, data.
std::string file_of(const std::string& header, const std::string& data) {
  uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header + data;
}

std::string reading_error(const ScratchFolder& folder, const std::string& bytes) {
  const std::string path = folder / "file.safetensors";
  test::write_file_for_test(path, bytes);
  try {
    SafetensorsFile file(path);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

uint64_t write(const std::string& folder, std::span<const TensorView> tensors) {
  DurableFolder out(folder);
  const uint64_t checksum = write_safetensors(out, "model.safetensors", tensors);
  out.commit();
  return checksum;
}

bool have_python(const std::string& package) {
  return std::system(("python3 -c 'import " + package + "' > /dev/null 2>&1").c_str()) == 0;
}
int run_python(const ScratchFolder& folder, const std::string& script, const std::string& argument) {
  test::write_file_for_test(folder / "script.py", script);
  return std::system(("python3 " + (folder / "script.py") + " " + argument).c_str());
}

}  // namespace

TEST_CASE("safetensors: the written bytes follow the format") {
  ScratchFolder folder;
  float data[3] = {1.0f, -2.0f, 0.5f};
  const TensorView tensor{"w", {3, 1}, data};
  write(folder / "out", {&tensor, 1});
  // 8 bytes of length; JSON padded with spaces so that the data begin at a multiple of 8; little-endian floats.
  std::string header = R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  CHECK(test::read_file(folder / "out/model.safetensors") ==
        file_of(header, std::string(reinterpret_cast<const char*>(data), sizeof data)));
}

TEST_CASE("safetensors: reads what it wrote, with the same checksum") {
  ScratchFolder folder;
  RandomInputs inputs(11);
  INFO(inputs.seed);
  std::vector<float> a = inputs.normal(6), b = inputs.normal(1), none;
  const std::vector<TensorView> written = {
      {"h.0.weight", {2, 3}, a.data()}, {"scalar", {}, b.data()}, {"empty", {0, 4}, none.data()}};
  const uint64_t checksum = write(folder / "out", written);
  const SafetensorsFile file(folder / "out/model.safetensors");
  CHECK(file.checksum() == checksum);
  REQUIRE(file.tensors().size() == written.size());
  for (const TensorView& tensor : written) {
    const auto same_name = [&](const TensorView& other) { return other.name == tensor.name; };
    const auto found = std::find_if(file.tensors().begin(), file.tensors().end(), same_name);
    REQUIRE(found != file.tensors().end());
    CHECK(found->shape == tensor.shape);
    if (tensor.elements() > 0) CHECK(std::memcmp(found->data, tensor.data, tensor.elements() * sizeof(float)) == 0);
  }
}

TEST_CASE("safetensors: reads a header of odd length, an empty tensor at an odd place, other types besides F32") {
  ScratchFolder folder;
  const float one = 1.0f;
  std::string header =
      R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[2,6]},"m":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},)"
      R"("e":{"dtype":"F32","shape":[0],"data_offsets":[6,6]}})";
  header.resize(header.size() / 8 * 8 + 9, ' ');
  CHECK(reading_error(folder, file_of(header, std::string("\1\0", 2) +
                                                  std::string(reinterpret_cast<const char*>(&one), 4))) == "");
  const SafetensorsFile file(folder / "file.safetensors");
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.tensors()[0].name == "m");
  CHECK(file.tensors()[0].data == nullptr);
  CHECK(file.tensors()[2].elements() == 0);
  file.tensors()[2].to_floats(nullptr, 0);
  CHECK(*static_cast<const float*>(file.tensors()[1].data) == 1.0f);
}

TEST_CASE("safetensors: errors about damaged files are one line and name the file") {
  ScratchFolder folder;
  const std::string good_header = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data(8, '\0');
  const std::string good = file_of(good_header, data);
  CHECK(reading_error(folder, good) == "");
  for (size_t length = 0; length < good.size(); ++length) {
    INFO("cut to ", length);
    CHECK(reading_error(folder, good.substr(0, length)) != "");
  }
  const auto with = [&](const std::string& header) { return reading_error(folder, file_of(header, data)); };
  const struct {
    std::string header, says;
  } cases[] = {
      {R"([1,2])", "not a JSON object"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})", "header"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "twice"},
      {R"({"w":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", "F33"},
      {R"({"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "size"},
      {R"({"w":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", "size"},
      {R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "does not fit"},
      {R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", "impossibly large"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "does not fit"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "no offsets"},
      {R"({"w":{"dtype":"F32","shape":[2]}})", "header"},
      {R"({"w":7})", "header"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", "does not begin"},
      {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "do not belong to any tensor"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "does not begin"},
  };
  for (const auto& damaged : cases) {
    const std::string error = with(damaged.header);
    INFO(damaged.header, " -> ", error);
    CHECK(error.find(damaged.says) != std::string::npos);
    CHECK(error.find("file.safetensors") != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
  }
  std::string huge = good;
  huge[7] = '\x7f';  // a header of 2^62 bytes
  CHECK(reading_error(folder, huge).find("header would be") != std::string::npos);
}

TEST_CASE("safetensors: Python's own package reads our files, and we read its") {
  if (!have_python("safetensors")) {
    MESSAGE("skipped: no Python with the safetensors package here");
    return;
  }
  ScratchFolder folder;
  float a[4] = {1.0f, 2.0f, -3.5f, 1e-30f}, b[1] = {7.0f};
  const TensorView tensors[] = {{"transformer.wte.weight", {2, 2}, a}, {"b", {1}, b}};
  write(folder / "out", tensors);
  CHECK(run_python(folder, R"(
import struct, sys
from safetensors import deserialize
found = dict(deserialize(open(sys.argv[1], "rb").read()))
assert sorted(found) == ["b", "transformer.wte.weight"], found
w = found["transformer.wte.weight"]
assert w["dtype"] == "F32" and list(w["shape"]) == [2, 2], w
assert bytes(w["data"]) == struct.pack("<4f", 1.0, 2.0, -3.5, 1e-30)
assert bytes(found["b"]["data"]) == struct.pack("<f", 7.0)
)",
                   folder / "out/model.safetensors") == 0);

  if (!have_python("numpy")) {
    MESSAGE("half skipped: the package writes only with numpy");
    return;
  }
  CHECK(run_python(folder, R"(
import sys
import numpy
from safetensors.numpy import save_file
save_file({"x": numpy.array([[1, 2, 3]], numpy.float32), "masked_bias": numpy.zeros(1, numpy.float16)}, sys.argv[1])
)",
                   folder / "theirs.safetensors") == 0);
  const SafetensorsFile theirs(folder / "theirs.safetensors");
  REQUIRE(theirs.tensors().size() == 2);
  const TensorView& x = theirs.tensors()[0].name == "x" ? theirs.tensors()[0] : theirs.tensors()[1];
  CHECK(x.shape == std::vector<int64_t>{1, 3});
  CHECK(static_cast<const float*>(x.data)[2] == 3.0f);
}
