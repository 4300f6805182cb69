// Uploads a step's input to the device: a double buffer, so that the host fills one slot while the device reads the
// other.
#pragma once

#include <cstddef>
#include <memory>

#include "src/device.h"

namespace glint {

class Staging {
 public:
  virtual ~Staging() = default;
  // Host memory of slot 0 or 1, to write to. Waits until its last upload is done.
  virtual std::byte* host(int slot) = 0;
  // Copies the slot to the device; later work on the device sees it.
  virtual void upload(int slot) = 0;
  // Later work does not read the slot's last upload any more.
  virtual void release(int slot) = 0;
  virtual std::byte* slots() const = 0;  // on the device, one after the other
};

// slot_bytes: a multiple of StepInputLayout::kAlignment; each slot is aligned to that.
std::unique_ptr<Staging> make_staging(const CpuContext& ctx, size_t slot_bytes);
std::unique_ptr<Staging> make_staging(const CudaContext& ctx, size_t slot_bytes);

}  // namespace glint
