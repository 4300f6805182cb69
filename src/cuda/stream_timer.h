// Times sections of a stream's work with events. Never waits: a result includes the sections that have ended.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/cuda/handles.h"

namespace glint {

class StreamTimer {
 public:
  // captured: the stream is being captured; each replay of the graph then times the section.
  void start(cudaStream_t stream, bool captured) {
    if (!captured) take_ended();  // querying an event would invalidate the capture
    if (spare_.empty()) spare_.push_back(std::make_unique<Piece>());
    auto& pieces = captured ? replayed_ : pieces_;
    pieces.push_back(std::move(spare_.back()));
    spare_.pop_back();
    record(pieces.back()->begin, stream, captured);
  }
  void stop(cudaStream_t stream, bool captured) {
    record((captured ? replayed_ : pieces_).back()->end, stream, captured);
  }

  // Call after a replay has ended: adds its times.
  void count_replay() {
    for (const auto& piece : replayed_) {
      float milliseconds = 0;
      check_cuda(cudaEventElapsedTime(&milliseconds, piece->begin.handle, piece->end.handle), "cudaEventElapsedTime");
      seconds_ += 1e-3 * milliseconds;
    }
  }

  // Total of all sections that have ended and all counted replays.
  double seconds() {
    take_ended();
    return seconds_;
  }

 private:
  struct Piece {
    CudaEvent begin{cudaEventDefault}, end{cudaEventDefault};
  };
  // In a capture an external event becomes a node of the graph, recorded in each replay; a plain one only adds a
  // dependency.
  static void record(const CudaEvent& event, cudaStream_t stream, bool captured) {
    if (captured)
      check_cuda(cudaEventRecordWithFlags(event.handle, stream, cudaEventRecordExternal), "cudaEventRecordWithFlags");
    else check_cuda(cudaEventRecord(event.handle, stream), "cudaEventRecord");
  }
  void take_ended() {
    for (float milliseconds = 0; !pieces_.empty(); pieces_.pop_front()) {
      const cudaError_t status =
          cudaEventElapsedTime(&milliseconds, pieces_.front()->begin.handle, pieces_.front()->end.handle);
      if (status != cudaSuccess) cudaGetLastError();  // clears the error
      if (status == cudaErrorNotReady) return;
      if (status == cudaSuccess) seconds_ += 1e-3 * milliseconds;
      spare_.push_back(std::move(pieces_.front()));
    }
  }

  std::deque<std::unique_ptr<Piece>> pieces_, replayed_;  // in the order of the stream
  std::vector<std::unique_ptr<Piece>> spare_;
  double seconds_ = 0;
};

}  // namespace glint
