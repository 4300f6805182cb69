#include "src/staging.h"

#include <vector>

namespace glint {

namespace {

// The host's memory is the device's.
class CpuStaging final : public Staging {
 public:
  explicit CpuStaging(size_t words) : words_(words), memory_(2 * words) {}
  int32_t* host(int slot) override { return memory_.data() + static_cast<size_t>(slot) * words_; }
  void upload(int) override {}
  void release(int) override {}
  const int32_t* slots() const override { return memory_.data(); }

 private:
  size_t words_;
  std::vector<int32_t> memory_;
};

}  // namespace

std::unique_ptr<Staging> make_staging(const CpuContext&, size_t words) { return std::make_unique<CpuStaging>(words); }

}  // namespace glint
