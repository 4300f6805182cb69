// What a block has of Hopper's asynchronous hardware: its own view of shared memory, mbarriers, and operations that
// have been issued and not performed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "kernels/simt/block.h"
#include "kernels/simt/hopper.h"

namespace simt {

struct Mbarrier {
  unsigned address, expected, pending;
  int64_t bytes = 0;  // of copies that this phase still waits for
  unsigned phase = 0;
  std::vector<Thread*> waiting{};
};

struct TensorMap {  // what a CUtensorMap holds here
  uint64_t magic;
  char* base;
  uint64_t stride[4];  // bytes, of dimension 1 and up
  uint64_t size[5];
  uint16_t box[5];
  uint8_t rank, element, swizzle, kind;  // bytes of an element; 1 << swizzle 16-byte chunks take part in it
};
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

struct Load {  // by TMA, of a box or of contiguous bytes (rank 0)
  TensorMap map;
  std::array<int, 5> at;
  const char* from;
  unsigned to, bytes;
  Mbarrier* barrier;
};

struct Product {  // a warp's part of a wgmma
  std::array<float*, 32> d;
  std::array<const uint32_t*, 32> a;
  WgmmaOperands shape;
  unsigned group, lanes;  // the lanes that have issued it
};

struct Products {  // of one warp, in flight
  static constexpr unsigned kMaxInFlight = 128;
  std::array<unsigned, 32> issued{}, groups{};  // by lane, since the block's start
  unsigned fenced = 0;                          // lanes
  unsigned first = 0, last = 0;                 // numbers of those in flight
  unsigned arrived = 0, pending = 0;            // lanes in wgmma.wait_group, and its operand
  std::vector<Product> ring;
  Product& operator[](unsigned number) { return ring[number % kMaxInFlight]; }
};

struct DecodedMatrix {  // 16 x n floats
  static constexpr int kColumns = 256;
  uint64_t descriptor;
  bool mn_major;
  int n = 0;
  std::vector<float> values{};
};

class AsyncProxy {
 public:
  explicit AsyncProxy(Block& block) : block_(block) {}
  void reset();

  // Shared memory as the asynchronous proxy sees it: what threads write appears here at their proxy fence.
  char* view(unsigned address, size_t bytes);
  void fence();                                 // by the running thread
  void before_issue();                          // of an operation that reads shared memory
  void poison(unsigned address, size_t bytes);  // in both views

  Mbarrier& mbarrier(unsigned address);
  void initialise(unsigned address, unsigned count);
  void initialisation_fenced() { unfenced_[self->warp()] &= ~(1u << self->lane()); }
  void expect_fenced_mbarriers() const;
  void update(Mbarrier& barrier, unsigned arrivals, int64_t bytes);

  void issue(const Load& load) { loads_.push_back(load); }
  Products& products(unsigned warp) { return products_[warp]; }
  const float* decoded_b(const WgmmaOperands& shape);              // rows of DecodedMatrix::kColumns
  void land_at_last(Thread& thread) { late_.push_back(&thread); }  // what that thread waits for
  // Performs one operation: a load, or when none is in flight, what a thread waits for. False if there is none.
  bool land();
  bool idle() const { return loads_.empty() && late_.empty(); }
  const char* wrong_at_end() const;  // of the block; null: nothing

  int spare_registers = 0;
  std::array<int, 32> registers{};  // of a thread, by warp
  std::vector<Thread*> want_registers;

 private:
  void land(const Load& load);
  void land_products(Thread& thread);

  Block& block_;
  std::vector<char> view_;
  std::array<unsigned, 32> fencing_{};  // lanes that have fenced, until all of their warp have
  bool stale_ = false;                  // the view does not show some fence yet
  std::deque<Mbarrier> mbarriers_;
  std::array<unsigned, 32> unfenced_{};  // lanes that have initialised an mbarrier without a fence so far
  std::vector<Load> loads_;
  std::vector<Thread*> late_;
  std::array<Products, 32> products_;
  std::array<DecodedMatrix, 16> decoded_{};  // while products are performed
  size_t next_decoded_ = 0;
};

// For Fault::early_release, in releases.cpp.
void begin_launch();
bool released_already(unsigned barrier);  // by the running thread, so that its arrival now does nothing
void release_early();                     // before the running thread waits for wgmma

void perform_products(AsyncProxy& proxy, unsigned warp);
void perform_stores(AsyncProxy& proxy, Thread& thread);

}  // namespace simt
