#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "src/comm/meeting_place.h"

namespace glint {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

void MeetingPlace::wait(const std::vector<std::string>& keys, const milliseconds& timeout) {
  GLINT_REQUIRE(missing(keys, timeout).empty(), "what another rank was to leave did not come to ", name());
}

std::vector<size_t> MeetingPlace::missing(const std::vector<std::string>& keys, milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (auto nap = milliseconds(1);; nap = std::min(2 * nap, milliseconds(50))) {
    const bool last = Clock::now() >= deadline;
    std::vector<size_t> absent;
    for (size_t i = 0; i < keys.size(); ++i)
      if (!has(keys[i])) absent.push_back(i);
    if (last || absent.empty()) return absent;
    std::this_thread::sleep_for(nap);
  }
}

namespace {

// A file for each key.
class Folder final : public MeetingPlace {
 public:
  explicit Folder(const fs::path& path) : path_(path) {
    std::error_code error;
    fs::create_directories(path, error);
    GLINT_REQUIRE(!error, "the ranks can't meet in ", path.string(), ": ", error.message());
  }

  void set(const std::string& key, const std::vector<char>& data) override {
    const fs::path part = file(key).string() + ".part";
    std::ofstream out(part, std::ios::binary);
    out.write(data.data(), static_cast<std::streamsize>(data.size()));
    out.close();
    std::error_code error;
    if (out) fs::rename(part, file(key), error);
    GLINT_REQUIRE(out && !error, "the ranks can't meet in ", path_.string(), ": writing in it failed");
  }
  std::vector<char> get(const std::string& key) override {
    MeetingPlace::wait({key}, kDefaultTimeout);
    std::ifstream in(file(key), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  bool has(const std::string& key) override {
    std::error_code error;
    return fs::exists(file(key), error);
  }
  void clear() noexcept override {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  std::string name() const override { return path_.string(); }

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
