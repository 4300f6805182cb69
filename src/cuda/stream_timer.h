// How long pieces of a stream's work take, by events. Nothing waits: what has ended counts when it is asked for. Not for streams
// that are being captured.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "src/cuda/handles.h"

namespace glint {

class StreamTimer {
 public:
  void start(cudaStream_t stream) {
    take_ended();
    if (spare_.empty()) spare_.push_back(std::make_unique<Piece>());
    pieces_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    check_cuda(cudaEventRecord(pieces_.back()->begin.handle, stream), "cudaEventRecord");
  }
  void stop(cudaStream_t stream) { check_cuda(cudaEventRecord(pieces_.back()->end.handle, stream), "cudaEventRecord"); }

  // Of all pieces that have ended.
  double seconds() {
    take_ended();
    return seconds_;
  }

 private:
  struct Piece {
    CudaEvent begin{cudaEventDefault}, end{cudaEventDefault};
  };
  void take_ended() {
    for (float milliseconds = 0; !pieces_.empty(); pieces_.pop_front()) {
      const cudaError_t status = cudaEventElapsedTime(&milliseconds, pieces_.front()->begin.handle, pieces_.front()->end.handle);
      if (status != cudaSuccess) cudaGetLastError();  // else the next check of a launch would find it
      if (status == cudaErrorNotReady) return;
      if (status == cudaSuccess) seconds_ += 1e-3 * milliseconds;
      spare_.push_back(std::move(pieces_.front()));
    }
  }

  std::deque<std::unique_ptr<Piece>> pieces_;  // in the order of the stream
  std::vector<std::unique_ptr<Piece>> spare_;
  double seconds_ = 0;
};

}  // namespace glint
