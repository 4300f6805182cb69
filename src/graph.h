// The autograd engine: a tape recorded once, planned once, replayed every step.
//
// Recording an op (src/ops.h) appends a Node whose closures each make one kernel call. plan() fixes the schedule and
// lays every buffer out in one arena by liveness; bind() gives the arena its memory. Then forward() and backward()
// replay the closures: no allocation, no dispatch. Device and dtype are resolved when a node is recorded.
//
// Gradients: the first sink in the schedule's order sets a tensor's gradient, later ones add to it. Parameter gradients
// lie outside the arena; with accumulate(true), for micro-batches after the first, all sinks add to them.
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
#include "src/device.h"
#include "src/memory.h"
#include "src/parameters.h"
#include "src/planner.h"
#include "src/tensor.h"

namespace glint {

using Step = std::function<void()>;

struct GraphOptions {
  Device device = CpuContext{};
  DType dtype = DType::f32;       // of activations, their gradients, and the weights of matrix products and embeddings
  bool training = false;          // record backward, and apply dropout
  const RngState* rng = nullptr;  // training with dropout
  int64_t global_batch = 1;       // sequences per optimizer step, over all micro-batches: numbers the dropout sites
  bool recompute = false;         // keep only the inputs of a segment, compute the rest again in backward
  DropoutVariant dropout_variant = DropoutVariant::flash;  // of attention; others: the reference attention only
};

// Where a node writes a gradient, in backward unless it says otherwise. Empty if none is needed.
class GradientSink {
 public:
  explicit operator bool() const { return state_ != nullptr; }
  template <typename Scalar = float>
  Scalar* data() const {
    return state_ ? static_cast<Scalar*>(state_->buffer->data) : nullptr;
  }
  Write write() const { return !state_ || (state_->first && !*state_->accumulate) ? Write::set : Write::add; }

 private:
  friend class Graph;
  struct State {
    Buffer* buffer = nullptr;
    std::string name;
    bool first = false;                // in the schedule's order; set by plan()
    const bool* accumulate = nullptr;  // the graph's switch for parameters; constant false for activations
    size_t elements = 0;
    DType dtype = DType::f32;
  };
  State* state_ = nullptr;
};

// One record of the tape. `saved`: the values that backward reads, besides the gradients of the outputs.
struct Node {
  std::string name;
  std::vector<Tensor> inputs{}, outputs{};
  std::vector<Tensor> updated{};  // values changed in place by forward
  std::vector<Tensor> saved{};
  std::vector<GradientSink> sinks{};
  std::vector<GradientSink> forward_sinks{};  // written by forward, and so before those of any backward
  Tensor scratch{}, backward_scratch{};
  Step forward{}, backward{};
  double flops = 0, backward_flops = 0;  // of matrix products; attention counts unmasked elements only
  double forward_bytes = 0;              // read and written by forward, if not each buffer once
  int segment = -1;
};

// Time and work of the nodes of one name.
struct OpStats {
  double seconds = 0, flops = 0, bytes = 0;  // bytes: each buffer once, or twice if read and written
};
using Profile = std::map<std::string, OpStats>;

// The arena over one replay. Time is a step of the schedule; `steps` has their names, with the inputs before and the
// results behind.
struct ArenaBuffer {
  enum class Use { value, gradient, scratch };
  std::string name;
  Use use;
  PlannedBuffer place;
};
struct ArenaPlan {
  std::vector<std::string> steps;
  size_t forward_steps = 0;  // the inputs too
  std::vector<ArenaBuffer> buffers;
};

class Graph {
 public:
  explicit Graph(GraphOptions options) : options_(options) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // --- recording
  // Where dropout reads its RNG state, in device memory; call it before the first site is recorded.
  void set_rng(const RngState* rng) { options_.rng = rng; }
  bool training() const { return options_.training; }
  const GraphOptions& options() const { return options_; }

  // Prefix of the names of the nodes and tensors that follow ("h.0.attn").
  void scope(std::string name) { scope_ = std::move(name); }
  // A value filled by the host; replays do not change it.
  Tensor input(const std::string& name, Shape shape, DType dtype);
  // The tensor of a parameter, in fp32; one tensor per parameter.
  Tensor parameter(Parameter* parameter);
  // The same parameter in this graph's dtype, for matrix products and embeddings.
  Tensor weight(Parameter* parameter);
  // Memory owned by the caller (a KV cache).
  Tensor outside(const std::string& name, Shape shape, DType dtype, void* data);
  // A new value: an output or scratch of the next node, by default an activation in this graph's dtype.
  Tensor tensor(const std::string& name, Shape shape) { return tensor(name, std::move(shape), options_.dtype); }
  Tensor tensor(const std::string& name, Shape shape, DType dtype);
  Tensor scratch(const std::string& name, size_t floats);
  // Scratch of size(context) floats.
  template <typename Size>
  Tensor scratch_for(const std::string& name, Size size) {
    return scratch(name, options_.device.visit([&](const auto& ctx) { return size(ctx); }));
  }
  // Where the node being recorded writes the gradient of x; empty for an empty tensor or without training.
  GradientSink gradient_into(Tensor x);
  // The gradient of `out` shares the buffer of x's gradient: for an op that computes dx in place of dout.
  void share_gradient(Tensor out, Tensor x);
  // The gradient of x overwrites x.
  void gradient_in_place(Tensor x);
  // A dropout site with its own range of offsets; off in evaluation.
  Dropout dropout_site(float p, int heads);
  // Binds a kernel call, a lambda [=]<typename Scalar>(const auto& ctx), to this graph's device and dtype.
  template <typename Call>
  Step on_device(Call call) const {
    return options_.device.visit([&](const auto& ctx) -> Step {
      if (options_.dtype == DType::bf16) return [call, &ctx] { call.template operator()<Bf16>(ctx); };
      return [call, &ctx] { call.template operator()<float>(ctx); };
    });
  }
  void record(Node node);
  // The nodes in between form one segment: with options.recompute only its inputs are kept for backward.
  void begin_segment() { segment_ = ++segments_; }
  void end_segment() { segment_ = -1; }
  // The value stays readable after a replay.
  void keep(Tensor x) { kept_.push_back(x); }

  // --- planning
  // Returns the bytes of the arena. Recording ends here.
  size_t plan();
  // Points every buffer into `arena` (at least plan() bytes, aligned to 64), which graphs replayed in turn may share.
  void bind(void* arena);
  ArenaPlan arena_plan() const;                               // after plan()
  uint64_t dropout_offsets_used() const { return offsets_; }  // per optimizer step
  size_t nodes() const { return nodes_.size(); }
  // backward() calls `call` when the gradients of these parameters are complete. Call after plan().
  void on_gradient_ready(const std::vector<const Parameter*>& parameters, Step call);
  // backward() calls `call` with each node of that name right after its backward, while memory still holds all that it
  // has read. Call after plan().
  void after_backward_of(const std::string& name, const std::function<void(const Node&)>& call);

  // --- replay
  void forward();
  void backward();
  // While on, parameter gradients are added to instead of set.
  void accumulate(bool on) { accumulate_ = on; }

  // Replays and checks every value; returns the name of the first tensor with a NaN or an infinity.
  std::optional<std::string> find_nonfinite();

  // FLOPs and bytes of one forward and backward by node name ("linear", "linear backward"), without running it. After
  // plan().
  Profile work();
  // The same with seconds, summed over all replays while profiling is on.
  void profile(bool on);
  const Profile& profiled() const { return profile_; }

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
  void add_after(size_t i, Step call);
  void count_bytes();
  std::string profiled_name(size_t i) const;  // of a scheduled step
  void add_work(OpStats& stats, size_t i) const;
  std::optional<std::string> nonfinite_in(const Scheduled& step) const;
  bool finite(const void* data, DType dtype, size_t n) const;
  Tensor parameter_tensor(Parameter* parameter, DType dtype, Buffer* value);

  GraphOptions options_;
  std::string scope_;
  std::deque<Buffer> buffers_;
  std::deque<TensorRecord> tensors_;
  std::deque<GradientSink::State> sinks_;
  std::deque<Node> nodes_;
  std::vector<Tensor> inputs_, kept_;
  std::unordered_map<const Parameter*, Tensor> parameters_, weights_;
  int segment_ = -1, segments_ = -1;
  uint64_t offsets_ = 0;

  std::vector<Scheduled> schedule_;
  size_t forward_steps_ = 0;
  std::vector<Step> after_;                          // called after each scheduled step, if not empty
  std::vector<std::pair<Buffer*, size_t>> planned_;  // offset of each arena buffer
  bool accumulate_ = false;
  bool profiling_ = false;
  Profile profile_;
  std::vector<double> bytes_;  // of each scheduled step, for the profile
};

}  // namespace glint
