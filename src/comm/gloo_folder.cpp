#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "src/comm/meeting_place.h"

namespace glint {

namespace {

namespace fs = std::filesystem;

// A file for each key.
class Folder final : public MeetingPlace {
 public:
  explicit Folder(const fs::path& path) : path_(path) {
    std::error_code error;
    fs::create_directories(path, error);
    GLINT_REQUIRE(!error, "the ranks can't meet in ", path.string(), ": ", error.message());
  }

  void set(const std::string& key, const std::string& value) override {
    const fs::path part = file(key).string() + ".part";
    std::ofstream out(part, std::ios::binary);
    out.write(value.data(), static_cast<std::streamsize>(value.size()));
    out.close();
    std::error_code error;
    if (out) fs::rename(part, file(key), error);
    GLINT_REQUIRE(out && !error, "the ranks can't meet in ", path_.string(), ": writing in it failed");
  }
  std::vector<std::optional<std::string>> look(const std::vector<std::string>& keys) override {
    std::vector<std::optional<std::string>> values;
    for (const std::string& key : keys) {
      std::ifstream in(file(key), std::ios::binary);
      if (in) {
        values.emplace_back(std::string{std::istreambuf_iterator<char>(in), {}});
      } else {
        values.emplace_back();
      }
    }
    return values;
  }
  void clear() noexcept override {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  std::string name() const override { return path_.string(); }
  std::string own_address() const override { return ""; }

 private:
  fs::path file(std::string key) const {
    std::replace(key.begin(), key.end(), '/', '-');
    return path_ / key;
  }
  fs::path path_;
};

}  // namespace

std::unique_ptr<MeetingPlace> make_folder_place(const GlooOptions& options) {
  return std::make_unique<Folder>(fs::path(options.folder) / options.launch);
}

}  // namespace glint
