// The include rules: which layer may include which, which headers of kernels/ data/ may include, where other libraries
// may appear, and that includes form no cycle. CMake links the layers by the same rules.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;
using Tree = std::map<std::string, std::string>;  // path from the root, with '/' -> content

const std::map<std::string, Names> kMayInclude = {
    {"kernels", {"kernels/"}},
    {"src", {"src/", "kernels/"}},
    {"models", {"models/", "src/", "kernels/"}},
    {"data", {"data/", "kernels/check.h", "kernels/philox.h"}},
    {"train", {"train/", "models/", "src/", "kernels/", "data/"}},
    {"gpu", {"kernels/"}},                              // tests/gpu/
    {"fuzz", {"train/", "data/", "src/", "kernels/"}},  // tests/fuzz/
    {"interop", {"train/"}},                            // tests/interop/
};

// Headers of other libraries, by how their names start, and the only places for them (tests may include any).
const std::vector<std::pair<std::string, Names>> kForeign = {
    {"Eigen/", {"kernels/"}}, {"unsupported/Eigen/", {"kernels/"}},
    {"dnnl", {"kernels/"}},   {"oneapi/dnnl", {"kernels/"}},
    {"CLI/", {"train/"}},     {"nlohmann/", {"train/", "data/"}},
    {"toml++/", {"train/"}},  {"xxhash", {"train/", "data/"}},
    {"pcre2", {"data/"}},     {"zlib", {"data/"}},
    {"doctest/", {}},         {"gloo/", {"src/comm/gloo"}},
};
const Names kCudaHeaders = {"cuda", "cublas", "nccl", "mma.h"};

bool starts_with_any(const std::string& name, const Names& starts) {
  return std::any_of(starts.begin(), starts.end(), [&](const std::string& start) { return name.starts_with(start); });
}

struct Include {
  std::string name;
  bool quoted;
};

std::vector<Include> includes_of(const std::string& content) {
  std::vector<Include> includes;
  std::istringstream stream(content);
  for (std::string line; std::getline(stream, line);) {
    size_t at = line.find_first_not_of(" \t");
    if (at == std::string::npos || line[at] != '#') continue;
    at = line.find_first_not_of(" \t", at + 1);
    if (at == std::string::npos || line.compare(at, 7, "include") != 0) continue;
    const size_t begin = line.find_first_of("\"<", at + 7);
    if (begin == std::string::npos) continue;
    const size_t end = line.find(line[begin] == '<' ? '>' : '"', begin + 1);
    if (end != std::string::npos) includes.push_back({line.substr(begin + 1, end - begin - 1), line[begin] == '"'});
  }
  return includes;
}

// The layer whose rules apply to a file: those of src/ to tests/src/x.cpp. Empty for a file of tests/ itself.
std::string layer_of(const std::string& path) {
  const std::string inside = path.starts_with("tests/") ? path.substr(6) : path;
  const size_t slash = inside.find('/');
  return slash == std::string::npos ? "" : inside.substr(0, slash);
}

bool may_use_cuda(const std::string& path) {
  return path.starts_with("tests/gpu/") ||
         (starts_with_any(path, {"kernels/cuda/", "kernels/simt/", "src/", "tests/"}) &&
          path.find("cuda") != std::string::npos);
}

// Without nvcc the emulator replaces CUDA's headers.
const std::string kEmulator = "kernels/simt/";
bool may_use_emulator(const std::string& path) {
  return starts_with_any(
      path, {"tests/", kEmulator, "kernels/cuda/device.cuh", "kernels/cuda/ptx.cuh", "kernels/cuda/ptx_sm90.cuh"});
}

// What is wrong with one include of one file, or nothing.
std::string fault_of(const Tree& tree, const std::string& path, const Include& include) {
  const std::string where = path + " includes " + include.name + ": ";
  const bool test = path.starts_with("tests/");
  const std::string layer = layer_of(path);
  if (tree.contains(include.name) && !include.quoted) return where + "write our own headers in quotes";
  if (include.quoted && !tree.contains(include.name)) return where + "no such file (name it from the root)";
  if (!include.quoted) {
    if (starts_with_any(include.name, kCudaHeaders) && !may_use_cuda(path))
      return where + "CUDA is for kernels/cuda/ and src/*cuda*";
    for (const auto& [start, layers] : kForeign)
      if (include.name.starts_with(start) && !test && !starts_with_any(path, layers))
        return where + "this library is not for this layer";
    return "";
  }
  if (include.name.starts_with(kEmulator) && !may_use_emulator(path)) return where + "only device.cuh and ptx*.cuh do";
  if (path.starts_with(kEmulator)) return include.name.starts_with(kEmulator) ? "" : where + "simt/ may not";
  if (include.name.starts_with("tests/")) return test ? "" : where + "only tests include tests";
  if (test && layer.empty()) return "";
  const auto rule = kMayInclude.find(layer);
  if (rule == kMayInclude.end()) return where + "the folder " + layer + "/ is in no layer";
  return starts_with_any(include.name, rule->second) ? "" : where + layer + "/ may not";
}

// Depth-first; `trail` holds the files from the start to here. Reports a cycle once, at the include that closes it.
void find_cycles(const Tree& tree, const std::string& path, Names& trail, std::set<std::string>& done, Names& faults) {
  const auto on_trail = std::find(trail.begin(), trail.end(), path);
  if (on_trail != trail.end()) {
    std::string cycle = "a cycle of includes: ";
    for (auto file = on_trail; file != trail.end(); ++file) cycle += *file + " -> ";
    faults.push_back(cycle + path);
    return;
  }
  const auto file = tree.find(path);
  if (file == tree.end() || done.contains(path)) return;
  trail.push_back(path);
  for (const Include& include : includes_of(file->second)) find_cycles(tree, include.name, trail, done, faults);
  trail.pop_back();
  done.insert(path);
}

Names faults_of(const Tree& tree) {
  Names faults;
  std::set<std::string> done;
  Names trail;
  for (const auto& [path, content] : tree) {
    for (const Include& include : includes_of(content)) {
      const std::string fault = fault_of(tree, path, include);
      if (!fault.empty()) faults.push_back(fault);
    }
    find_cycles(tree, path, trail, done, faults);
  }
  return faults;
}

Tree read_tree(const fs::path& root) {
  const std::set<std::string> kinds = {".h", ".cpp", ".cu", ".cuh"};
  Tree tree;
  for (const char* folder : {"kernels", "src", "models", "data", "train", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !kinds.contains(entry.path().extension().string())) continue;
      std::ifstream stream(entry.path(), std::ios::binary);
      std::ostringstream content;
      content << stream.rdbuf();
      tree[fs::relative(entry.path(), root).generic_string()] = content.str();
    }
  }
  return tree;
}

std::string include_line(const std::string& name) { return "#include \"" + name + "\"\n"; }

}  // namespace

TEST_CASE("tree: every include follows the rules") {
  const Tree tree = read_tree(GLINT_SOURCE_DIR);
  CHECK(tree.size() > 40);
  CHECK(tree.contains("kernels/philox.h"));
  for (const std::string& fault : faults_of(tree)) FAIL_CHECK(fault);
}

TEST_CASE("tree: the checker finds forbidden includes") {
  const Tree sound = {
      {"kernels/check.h", "#include <string>\n"},
      {"kernels/matmul.h", include_line("kernels/check.h")},
      {"kernels/cpu/matmul.cpp", "#include <Eigen/Core>\n" + include_line("kernels/matmul.h")},
      {"kernels/cuda/matmul.cu", "#include <cuda_runtime.h>\n" + include_line("kernels/matmul.h")},
      {"src/tensor.h", include_line("kernels/matmul.h")},
      {"models/gpt.h", include_line("src/tensor.h")},
      {"data/corpus.h", include_line("kernels/check.h")},
      {"train/trainer.cpp", include_line("models/gpt.h") + include_line("data/corpus.h") + "#include <CLI/CLI.hpp>\n"},
      {"kernels/cuda/ptx.cuh", include_line("kernels/simt/ptx.h")},
      {"kernels/simt/ptx.h", include_line("kernels/simt/simt.h")},
      {"kernels/simt/simt.h", "#include <vector>\n"},
      {"tests/random.h", ""},
      {"tests/src/tensor_test.cpp",
       "#include <doctest/doctest.h>\n" + include_line("src/tensor.h") + include_line("tests/random.h")},
  };
  CHECK(faults_of(sound).empty());

  struct Case {
    const char *path, *content, *expected;
  };
  const Case cases[] = {
      {"kernels/cpu/x.cpp", "#include \"src/tensor.h\"\n", "kernels/cpu/x.cpp includes src/tensor.h: kernels/ may not"},
      {"src/x.cpp", "  #  include \"models/gpt.h\"\n", "src/x.cpp includes models/gpt.h: src/ may not"},
      {"models/x.cpp", "#include \"data/corpus.h\"\n", "models/x.cpp includes data/corpus.h: models/ may not"},
      {"data/x.cpp", "#include \"kernels/matmul.h\"\n", "data/x.cpp includes kernels/matmul.h: data/ may not"},
      {"data/x.cpp", "#include \"src/tensor.h\"\n", "data/x.cpp includes src/tensor.h: data/ may not"},
      {"tests/kernels/x.cpp", "#include \"src/tensor.h\"\n",
       "tests/kernels/x.cpp includes src/tensor.h: kernels/ may not"},
      {"src/x.cpp", "#include \"tests/random.h\"\n", "src/x.cpp includes tests/random.h: only tests include tests"},
      {"kernels/cuda/x.cuh", "#include \"kernels/simt/simt.h\"\n",
       "kernels/cuda/x.cuh includes kernels/simt/simt.h: only device.cuh and ptx*.cuh do"},
      {"kernels/cuda/device.cuh", "#include \"tests/random.h\"\n",
       "kernels/cuda/device.cuh includes tests/random.h: only tests include tests"},
      {"kernels/simt/x.h", "#include \"kernels/check.h\"\n",
       "kernels/simt/x.h includes kernels/check.h: simt/ may not"},
      {"src/x.cpp", "#include \"tensor.h\"\n", "src/x.cpp includes tensor.h: no such file (name it from the root)"},
      {"src/x.cpp", "#include <src/tensor.h>\n", "src/x.cpp includes src/tensor.h: write our own headers in quotes"},
      {"src/x.cpp", "#include <Eigen/Core>\n", "src/x.cpp includes Eigen/Core: this library is not for this layer"},
      {"src/comm/x.h", "#include <gloo/context.h>\n",
       "src/comm/x.h includes gloo/context.h: this library is not for this layer"},
      {"models/x.cpp", "#include <cuda_runtime.h>\n",
       "models/x.cpp includes cuda_runtime.h: CUDA is for kernels/cuda/ and src/*cuda*"},
      {"src/x.cpp", "#include <cuda_bf16.h>\n",
       "src/x.cpp includes cuda_bf16.h: CUDA is for kernels/cuda/ and src/*cuda*"},
      {"kernels/x.h", "#include \"kernels/x.h\"\n", "a cycle of includes: kernels/x.h -> kernels/x.h"},
      {"kernels/check.h", "#include \"kernels/matmul.h\"\n",
       "a cycle of includes: kernels/check.h -> kernels/matmul.h -> kernels/check.h"},
  };
  for (const Case& wrong : cases) {
    INFO(wrong.path, ": ", wrong.content);
    Tree tree = sound;
    tree[wrong.path] = wrong.content;
    const Names faults = faults_of(tree);
    REQUIRE(faults.size() == 1);
    CHECK(faults[0] == wrong.expected);
  }
}
