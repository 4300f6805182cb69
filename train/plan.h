// What a run by N devices needs and takes, predicted from the model's recorded graph and three rates of a device.
//
// Memory of a rank, for n parameters (exact, but for the streams' and libraries' own):
//   fp32   weights 4n, gradients 4n, moments 8n; with --zero 1 moments 8n/N
//   bf16   weights 2n rounded and 4n masters, gradients 4n, moments 8n; with --zero 1 masters of 2-D tensors and
//   moments 1/N and the arena that the planner lays out for one micro-batch.
// Time of a step, for m micro-batches a rank:
//   compute  = m (P / Rp + A / Ra + B / Rb) + U / Rb
//     P, A: FLOPs of matrix products and of attention in one micro-batch, forward and backward; B: bytes that all else
//     touches; U: AdamW's bytes, of the part it updates. Rp, Ra, Rb: what the device reaches in each.
//   messages = 2 (N-1)/N G / L + 2 k log2(N) t, for G = 4n bytes of gradients in k buckets, L bytes/s and t seconds a
//   hop: the
//     reduce-scatter and the all-gather of each bucket. L is a device's link inside its node, and between nodes the
//     network of all devices of a node together if that is less, as each of them sends a part of what its node sends.
//   exposed  = max(messages / k, messages - (1 - 1/k) backward) of an all-reduce: all buckets but the last one can hide
//   behind the
//     last micro-batch's backward. With --zero 1 that holds for the reduce-scatter, half of it; the all-gather of the
//     weights (4n bytes in fp32, 2n in bf16) comes behind the update and hides behind nothing.
//   step     = compute + exposed.
// Sources: R. Thakur, R. Rabenseifner, W. Gropp, Optimization of Collective Communication Operations in MPICH, 2005
// (the cost of collectives); S. Jeaugey, Massively Scale Your Deep Learning Training with NCCL 2.4, NVIDIA, 2019
// (log2(N) hops, by trees).
#pragma once

#include <string>

#include "models/gpt_config.h"
#include "src/ops.h"
#include "src/tensor.h"

namespace glint {

struct PlanDevice {
  std::string name;
  double memory = 0;                                           // bytes; 0: not limited
  double product_rate = 0, attention_rate = 0, byte_rate = 0;  // FLOP/s, FLOP/s, bytes/s: what is reached, not the peak
  int per_node = 1;
  double link = 0, net = 0;  // bytes/s of a device each way, inside a node and between nodes
  double latency = 0;        // seconds a hop
};

struct PlanRun {
  GptConfig model;
  DType dtype = DType::f32;
  AttentionKind attention = AttentionKind::flash;
  bool recompute = false;
  int batch = 1, micro_batch = 1;  // sequences of all devices; of one in one pass
  int devices = 1;
  bool zero = false;
  double bucket_bytes = 25 << 20;
};

struct Plan {
  double weights = 0, arena = 0;     // bytes: weights, gradients and moments; activations
  double compute = 0, backward = 0;  // seconds of a step; of them the last micro-batch's backward
  double messages = 0, exposed = 0;  // seconds
  double memory() const { return weights + arena; }
  double step() const { return compute + exposed; }
  double hidden() const { return messages > 0 ? 1 - exposed / messages : 1; }
};

// What one micro-batch has to do, and the memory it takes.
struct PlanWork {
  double parameters = 0, decayed = 0;  // elements as they lie in the flat buffers
  double arena = 0;                    // bytes
  struct Part {
    double products = 0, attention = 0, bytes = 0;
  } forward, backward;
};
// Records and plans the model's graph, without memory for it.
PlanWork work_of(const PlanRun& run);

Plan plan_of(const PlanRun& run, const PlanWork& work, const PlanDevice& device);

// Data sheets of "h100", "h200", "a100"; UserError for another name.
PlanDevice device_preset(const std::string& name);
// This machine's CPU with so many threads: the rates of two layers of the model in a short run, its micro-batch cut to
// a few sequences. Ranks share it, so all of them are on one node.
PlanDevice measured_cpu(const PlanRun& run, int threads);

}  // namespace glint
