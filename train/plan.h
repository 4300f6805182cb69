// The memory and time of a run on N devices, predicted from the model's recorded graph and a few rates of a device.
//
// Memory of a rank (exact on a CPU, without what streams and libraries allocate): training_bytes() of src/optimizer.h,
// and the arena that the planner lays out for one micro-batch. The graph is recorded for a CPU: of what a GPU's kernels
// need besides, only the scratch of attention's backward on Hopper is large and counted, as if nothing else could lie
// there (in truth the logits often did); a few MB of partial sums are left out.
// For n parameters training_bytes() is
//   fp32   weights 4n, gradients 4n, moments 8n; with --zero 1 moments 8n/N
//   bf16   weights 2n rounded and 4n masters, gradients 4n, moments 8n; with --zero 1 masters of 2-D tensors and
//          moments 1/N.
//   With --optimizer-dtype bf16 moments are 4n. With --optimizer muon the matrices of layers have 4 bytes, not 8, and
//   its scratch is counted: two copies of the largest matrix, two squares of its shorter side.
// Time of a step, for m micro-batches per rank:
//   compute  = m (P / Rp + A / Ra + (B + E) / Rb) + U / Rb + M / Rp
//     P, A: FLOPs of matrix products and of attention in one micro-batch, forward and backward (each with its own Ra);
//     B: bytes that all other ops access; E: those of GELUs, where Rp does not include them; U: bytes that the
//     optimizer accesses; M: FLOPs of Muon's iterations, of which ranks share the matrices. Rp, Ra, Rb: rates of the
//     device.
//   messages = 2 (N-1)/N G / L + 2 k log2(N) t, for G = 4n bytes of gradients in k buckets, L bytes/s and t seconds per
//     hop: the reduce-scatter and the all-gather of each bucket. L is a device's link inside its node; between nodes it
//     is the network of all devices of a node together if that is less, because each sends a part of its node's data.
//   exposed  = max(messages / k, messages - (1 - 1/k) backward) of an all-reduce: all buckets but the last can overlap
//     with backward of the last micro-batch. With --zero 1 that holds for the reduce-scatter, half of it; the
//     all-gather of the weights (4n bytes in fp32, 2n in bf16) follows the update and cannot be hidden. Nor can
//     Muon's updates, exchanged as gradients are.
//   step     = compute + exposed.
// Sources: R. Thakur, R. Rabenseifner, W. Gropp, Optimization of Collective Communication Operations in MPICH, 2005
// (the cost of collectives); S. Jeaugey, Massively Scale Your Deep Learning Training with NCCL 2.4, NVIDIA, 2019
// (log2(N) hops, by trees).
#pragma once

#include <string>

#include "models/model.h"
#include "train/options.h"

namespace glint {

// Where a rate comes from: an estimate from a data sheet, a measurement, or the user.
enum class RateSource { guessed, measured, given };
struct Rate {
  double value = 0;
  RateSource source = RateSource::guessed;
  Rate(double rate = 0, RateSource from = RateSource::guessed) : value(rate), source(from) {}
  operator double() const { return value; }
};
const char* name_of(RateSource source);

struct PlanDevice {
  std::string name;
  std::string note{};                            // on the measurements
  double memory = 0;                             // bytes; 0: not limited
  Rate product_rate, byte_rate;                  // FLOP/s, bytes/s: reached, not the peak
  Rate attention_rate, attention_backward_rate;  // FLOP/s
  bool gelu_apart = false;                       // its bytes are not part of product_rate
  bool hopper = false;                           // attention's backward may sum dQ in fp32, in scratch
  int per_node = 1;
  Rate link, net;  // bytes/s of a device each way, inside a node and between nodes
  Rate latency;    // seconds per hop
};

struct PlanRun {
  GptConfig model;
  DType dtype = DType::f32;
  AttentionKind attention = AttentionKind::flash;
  bool recompute = false;
  int loss_chunk = 0;              // rows of logits in memory at a time; 0: all
  int batch = 1, micro_batch = 1;  // sequences per step, on all devices; per pass, on one
  int devices = 1;
  bool zero = false;
  DType moments = DType::f32;  // of AdamW
  bool muon = false;
  double bucket_bytes = 25 << 20;
};

struct Plan {
  double weights = 0, arena = 0;     // bytes: weights, gradients, moments, Muon's scratch; activations
  double scratch = 0;                // bytes that a GPU needs beside the arena, at most
  double compute = 0, backward = 0;  // seconds of a step; of them the last micro-batch's backward
  double messages = 0, exposed = 0;  // seconds
  double memory() const { return weights + arena + scratch; }
  double step() const { return compute + exposed; }
  double hidden() const { return messages > 0 ? 1 - exposed / messages : 1; }
};

// Work and memory of one micro-batch.
struct PlanWork {
  double arena = 0;  // bytes
  struct Part {
    double products = 0, attention = 0, bytes = 0;  // FLOPs, FLOPs, bytes
    double attention_backward = 0, gelu = 0;        // FLOPs that are not in `attention`, bytes that are not in `bytes`
  } forward, backward;
};
// Of completed options.
PlanRun plan_run(const TrainOptions& options);
// The model of a run, without memory. Throws UserError if it is too large for any machine.
std::unique_ptr<Model> planned_model(const PlanRun& run);
// Records and plans the graph of one micro-batch, without memory.
PlanWork work_of(const PlanRun& run, Model& model);

Plan plan_of(const PlanRun& run, const Parameters& parameters, const PlanWork& work, const PlanDevice& device);

// Bytes of a rank: as in plan_of() for few layers, extrapolated for more. Where sizes would overflow, the size of one
// tensor is returned. Fast for any size.
double memory_of(const PlanRun& run);

// "h100", "h200": measured where bf16 has been, otherwise as "a100": by data sheet. UserError for another name.
PlanDevice device_preset(const std::string& name, const PlanRun& run);
// This machine's CPU with that many threads: measured in a short run of at most two layers of the model and a few
// sequences, with whole logits. Ranks share the CPU, so all of them are on one node.
PlanDevice measured_cpu(const PlanRun& run, int threads);

}  // namespace glint
