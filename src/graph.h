// The autograd engine: a tape recorded once, planned once, replayed every step.
//
// Recording an op (src/ops.h) appends a Node whose closures each make one kernel call. plan() fixes the schedule and
// lays every buffer out in one arena by liveness; bind() gives the arena its memory. Then forward() and backward()
// replay the closures: no allocation, no dispatch. Device and dtype are resolved when a node is recorded.
//
// Gradients: the first sink, in backward's order, that reaches a tensor's gradient sets it, later ones add. Parameter
// gradients lie outside the arena and are added to as well while accumulate(true) (micro-batches after the first).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/context.h"
#include "kernels/dropout.h"
#include "kernels/matmul.h"
#include "src/memory.h"
#include "src/parameters.h"
#include "src/planner.h"
#include "src/tensor.h"

namespace glint {

using Step = std::function<void()>;

struct GraphOptions {
  CpuContext cpu{};
  bool training = false;          // record backward, and drop
  const RngState* rng = nullptr;  // training with dropout
  int64_t global_batch = 1;       // sequences per optimizer step, over all micro-batches: numbers the dropout sites
  bool recompute = false;         // forget what lies inside a segment, compute it again in backward
};

// Where a node's backward puts a gradient. Empty if nobody wants it.
class GradientSink {
 public:
  explicit operator bool() const { return state_ != nullptr; }
  float* data() const { return state_ ? static_cast<float*>(state_->buffer->data) : nullptr; }
  Write write() const { return !state_ || (state_->first && !*state_->accumulate) ? Write::set : Write::add; }

 private:
  friend class Graph;
  struct State {
    Buffer* buffer = nullptr;
    std::string name;
    bool first = false;                // in backward's order; set by plan()
    const bool* accumulate = nullptr;  // the graph's switch for parameters; constant false for activations
    size_t elements = 0;
  };
  State* state_ = nullptr;
};

// One record of the tape. `saved` are the values that backward reads; the gradients of the outputs it reads anyway.
struct Node {
  std::string name;
  std::vector<Tensor> inputs{}, outputs{};
  std::vector<Tensor> updated{};  // values changed in place by forward
  std::vector<Tensor> saved{};
  std::vector<GradientSink> sinks{};
  Tensor scratch{}, backward_scratch{};
  Step forward{}, backward{};
  int segment = -1;
};

class Graph {
 public:
  explicit Graph(GraphOptions options) : options_(options) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // --- recording
  bool training() const { return options_.training; }
  const GraphOptions& options() const { return options_; }
  const CpuContext& cpu() const { return options_.cpu; }

  // Prefixed to the names of the nodes and tensors that follow ("h.0.attn").
  void scope(std::string name) { scope_ = std::move(name); }
  // A value filled by the host; replays leave it as it is.
  Tensor input(const std::string& name, Shape shape, DType dtype);
  // The tensor of a parameter; the same one each time it is asked for.
  Tensor parameter(Parameter* parameter);
  // Memory of the caller's (a KV cache).
  Tensor outside(const std::string& name, Shape shape, DType dtype, void* data);
  // A new value, to be an output or scratch of the next node.
  Tensor tensor(const std::string& name, Shape shape, DType dtype = DType::f32);
  Tensor scratch(const std::string& name, size_t floats);
  // Where backward of the node being recorded puts the gradient of x; empty for an empty tensor or without training.
  GradientSink gradient_into(Tensor x);
  // The gradient of `out` is kept in the buffer of x's gradient: for an op whose dx is computed in place of dout.
  void share_gradient(Tensor out, Tensor x);
  // The gradient of x takes the place of x itself.
  void gradient_in_place(Tensor x);
  // A dropout site of its own offset range; off in evaluation.
  Dropout dropout_site(float p, int heads);
  // Binds a kernel call to this graph's device.
  template <typename Call>
  Step on_device(Call call) const {
    return [call, context = &options_.cpu] { call(*context); };
  }
  void record(Node node);
  // Nodes between are one segment: with options.recompute only what enters it is kept for backward.
  void begin_segment() { segment_ = ++segments_; }
  void end_segment() { segment_ = -1; }
  // The value stays readable after a replay.
  void keep(Tensor x) { kept_.push_back(x); }

  // --- planning
  // Bytes of the arena; keep-alive rules above. Recording ends here.
  size_t plan();
  // Points every buffer into `arena` (at least plan() bytes, aligned to 64), which graphs replayed in turn may share.
  void bind(void* arena);
  uint64_t dropout_offsets_used() const { return offsets_; }  // per optimizer step
  size_t nodes() const { return nodes_.size(); }

  // --- replay
  void forward();
  void backward();
  // While true, parameter gradients are added to instead of set.
  void accumulate(bool on) { accumulate_ = on; }

  // Replays with a look at every value: the name of the first tensor that holds a NaN or an infinity.
  std::optional<std::string> find_not_finite();

  // Seconds spent by node name ("linear", "linear backward"), gathered while on.
  void profile(bool on) { profiling_ = on; }
  const std::map<std::string, double>& profiled() const { return profile_; }

 private:
  struct Scheduled {
    const Node* node;
    bool backward;
  };

  Buffer* new_buffer(const std::string& name, size_t bytes, bool outside);
  Buffer* gradient_buffer(Tensor x);
  void schedule_backward();
  void mark_first_sinks();
  std::vector<std::vector<Access>> accesses() const;
  void replay(size_t begin, size_t end);
  std::optional<std::string> not_finite_in(const Scheduled& step) const;

  GraphOptions options_;
  std::string scope_;
  std::deque<Buffer> buffers_;
  std::deque<TensorRecord> tensors_;
  std::deque<GradientSink::State> sinks_;
  std::deque<Node> nodes_;
  std::vector<Tensor> inputs_, kept_;
  std::unordered_map<const Parameter*, Tensor> parameters_;
  int segment_ = -1, segments_ = -1;
  uint64_t offsets_ = 0;

  std::vector<Scheduled> schedule_;
  size_t forward_steps_ = 0;
  std::vector<std::pair<Buffer*, size_t>> planned_;  // offset of each arena buffer
  bool accumulate_ = false;
  bool profiling_ = false;
  std::map<std::string, double> profile_;
};

}  // namespace glint
