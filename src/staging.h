// The way of a step's input to the device: two slots in turn, so that the host fills one while the device reads the
// other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/device.h"

namespace glint {

class Staging {
 public:
  virtual ~Staging() = default;
  // Memory of slot 0 or 1 for the host to write. Waits until what was uploaded from it before has left it.
  virtual int32_t* host(int slot) = 0;
  // Brings the slot to the device; work given to the context from now on finds it there.
  virtual void upload(int slot) = 0;
  // No work given to the context from now on reads the slot's last upload.
  virtual void release(int slot) = 0;
  virtual const int32_t* slots() const = 0;  // on the device, one behind the other
};

std::unique_ptr<Staging> make_staging(const CpuContext& ctx, size_t words);  // of four bytes, a slot
std::unique_ptr<Staging> make_staging(const CudaContext& ctx, size_t words);

}  // namespace glint
