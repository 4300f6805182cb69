#include "src/staging.h"

#include "src/memory.h"

namespace glint {

namespace {

// The CPU reads host memory directly: no copy.
class CpuStaging final : public Staging {
 public:
  explicit CpuStaging(size_t slot_bytes) : slot_bytes_(slot_bytes), memory_(2 * slot_bytes, "the tokens of a step") {}
  std::byte* host(int slot) override { return slots() + static_cast<size_t>(slot) * slot_bytes_; }
  void upload(int) override {}
  void release(int) override {}
  std::byte* slots() const override { return static_cast<std::byte*>(memory_.data()); }

 private:
  size_t slot_bytes_;
  DeviceMemory memory_;
};

}  // namespace

std::unique_ptr<Staging> make_staging(const CpuContext&, size_t slot_bytes) {
  return std::make_unique<CpuStaging>(slot_bytes);
}

}  // namespace glint
