// wgmma.mma_async: "Asynchronous Warpgroup Level Matrix Instructions" of the PTX ISA; operands in shared memory are
// 128-byte-swizzled.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/simt/async_proxy.h"

namespace simt {
namespace {

constexpr int kK = 16, kRows = 16, kMostColumns = 256;  // of a warp's part

float from_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// A matrix in shared memory of which `columns` from `first` on (of m or n) times 16 (of k) are read.
struct Descriptor {
  unsigned start, leading, stride;

  explicit Descriptor(uint64_t d)
      : start((d & 0x3fff) << 4), leading((d >> 16 & 0x3fff) << 4), stride((d >> 32 & 0x3fff) << 4) {
    if (d >> 62 != 1 || (d >> 49 & 7) != 0) fail("wgmma: a matrix descriptor without 128-byte swizzle");
    if (start & 0x380) fail("wgmma: a matrix that does not start in the first row of a 1024-byte pattern");
    if (options.fault == Fault::wrong_stride) stride -= 128;
  }

  // out[k * step + column]
  void read(AsyncProxy& proxy, bool mn_major, unsigned first, unsigned columns, float* out, unsigned step) const {
    uint16_t chunk[8];
    if (mn_major) {  // 8 columns of one k lie together
      for (unsigned k = 0; k < kK; ++k) {
        for (unsigned c = 0; c < columns; c += 8) {
          const unsigned column = first + c;
          fetch(proxy, column % 64 * 2 + column / 64 * leading + k % 8 * 128 + k / 8 * stride, chunk);
          for (unsigned e = 0; e < 8; ++e) out[k * step + c + e] = from_bf16(chunk[e]);
        }
      }
      return;
    }
    for (unsigned c = 0; c < columns; ++c) {  // 8 k of one column lie together
      const unsigned column = first + c;
      for (unsigned k = 0; k < kK; k += 8) {
        fetch(proxy, column / 8 * stride + column % 8 * 128 + k * 2, chunk);
        for (unsigned e = 0; e < 8; ++e) out[(k + e) * step + c] = from_bf16(chunk[e]);
      }
    }
  }

 private:
  void fetch(AsyncProxy& proxy, unsigned offset, uint16_t (&chunk)[8]) const {
    const unsigned address = start + offset;
    std::memcpy(chunk, proxy.view(address ^ (address >> 7 & 7) << 4, 16), 16);
  }
};

// The rows of A (of 16 k) that a warp multiplies.
void read_a(AsyncProxy& proxy, const Product& product, unsigned warp, float (&A)[kRows][kK]) {
  if (!product.shape.a) {
    float transposed[kK][kRows];
    const Descriptor a(product.shape.a_descriptor);
    a.read(proxy, product.shape.a_mn_major, warp % 4 * kRows, kRows, transposed[0], kRows);
    for (int i = 0; i < kRows; ++i) {
      for (int k = 0; k < kK; ++k) A[i][k] = transposed[k][i];
    }
    return;
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int r = 0; r < 4; ++r) {
      const uint32_t pair = product.a[static_cast<size_t>(lane)][r];
      float* const to = &A[lane / 4 + 8 * (r & 1)][2 * (lane % 4) + 8 * (r >> 1)];
      to[0] = bf16_low(pair);
      to[1] = bf16_high(pair);
    }
  }
}

// D += A B, 32 columns at a time, which stay in registers.
void multiply(float (&D)[kRows][kMostColumns], const float (&A)[kRows][kK], const float (&B)[kK][kMostColumns], int n) {
  constexpr int kStep = 32;
  for (int first = 0; first < n; first += kStep) {
    for (int i = 0; i < kRows; ++i) {
      float sum[kStep];
      for (int c = 0; c < kStep; ++c) sum[c] = D[i][first + c];
      for (int k = 0; k < kK; ++k) {
        for (int c = 0; c < kStep; ++c) sum[c] += A[i][k] * B[k][first + c];
      }
      for (int c = 0; c < kStep; ++c) D[i][first + c] = sum[c];
    }
  }
}

// Row and column of accumulator r of a lane: i = lane / 4 + 8 * (r / 2 % 2), n = 8 * (r / 4) + 2 * (lane % 4) + r % 2.
void read_d(const Product& product, float (&D)[kRows][kMostColumns]) {
  for (int lane = 0; lane < 32; ++lane) {
    const float* const d = product.d[static_cast<size_t>(lane)];
    for (int r = 0; r < product.shape.n / 2; ++r) {
      D[lane / 4 + 8 * (r >> 1 & 1)][8 * (r / 4) + 2 * (lane % 4) + (r & 1)] = product.shape.accumulate ? d[r] : 0.0f;
    }
  }
}
void write_d(const Product& product, const float (&D)[kRows][kMostColumns]) {
  for (int lane = 0; lane < 32; ++lane) {
    float* const d = product.d[static_cast<size_t>(lane)];
    for (int r = 0; r < product.shape.n / 2; ++r) {
      d[r] = D[lane / 4 + 8 * (r >> 1 & 1)][8 * (r / 4) + 2 * (lane % 4) + (r & 1)];
    }
  }
}

void perform(AsyncProxy& proxy, const Product& product, unsigned warp) {
  float A[kRows][kK], D[kRows][kMostColumns], B[kK][kMostColumns];
  const int n = product.shape.n, padded = (n + 31) / 32 * 32;
  if (padded != n) std::memset(B, 0, sizeof B);
  read_a(proxy, product, warp, A);
  Descriptor(product.shape.b_descriptor)
      .read(proxy, product.shape.b_mn_major, 0, static_cast<unsigned>(n), B[0], kMostColumns);
  read_d(product, D);
  multiply(D, A, B, padded);
  write_d(product, D);
}

bool same(const WgmmaOperands& x, const WgmmaOperands& y) {
  return !x.a == !y.a && x.a_descriptor == y.a_descriptor && x.b_descriptor == y.b_descriptor && x.n == y.n &&
         x.accumulate == y.accumulate && x.a_mn_major == y.a_mn_major && x.b_mn_major == y.b_mn_major;
}

// The products of groups that at most `pending` later ones were committed after.
bool covered(Products& products, unsigned number) {
  return products[number].group + products.pending < products.groups[0];
}

}  // namespace

void wgmma_fence() { self->block->async().products(self->warp()).fenced |= 1u << self->lane(); }
void wgmma_commit() { ++self->block->async().products(self->warp()).groups[self->lane()]; }

// The lanes of a warp issue one by one; that they agree is checked here and when they wait.
void wgmma(const WgmmaOperands& operands) {
  Untracked untracked;
  AsyncProxy& proxy = self->block->async();
  proxy.before_issue();
  Products& products = proxy.products(self->warp());
  const unsigned lane = self->lane(), number = products.issued[lane]++;
  if (!(products.fenced >> lane & 1)) fail("wgmma.mma_async without wgmma.fence");
  if (products.ring.empty()) products.ring.resize(Products::kMost);
  Product& product = products[number];
  if (number == products.last) {
    if (++products.last - products.first > Products::kMost) fail("too many wgmma in flight");
    product.shape = operands;
    product.group = products.groups[lane];
    product.lanes = 0;
  }
  if (!same(product.shape, operands) || product.group != products.groups[lane]) {
    fail("wgmma.mma_async: the lanes of a warp have different operands");
  }
  product.lanes |= 1u << lane;
  product.d[lane] = operands.d;
  product.a[lane] = operands.a;
  if (!operands.accumulate) {  // in flight, it holds nothing
    std::fill(operands.d, operands.d + operands.n / 2, std::numeric_limits<float>::quiet_NaN());
  }
}

// The warp waits, and its products are performed when nothing else of the block can go on: who lets go of an operand
// too early finds it overwritten.
void wgmma_wait(unsigned pending) {
  Untracked untracked;
  if (options.fault == Fault::no_wgmma_wait) return;
  if (options.fault == Fault::late_wgmma_wait) ++pending;
  Block& block = *self->block;
  AsyncProxy& proxy = block.async();
  Products& products = proxy.products(self->warp());
  const unsigned lane = self->lane();
  if (products.arrived == 0) products.pending = pending;
  products.arrived |= 1u << lane;
  products.fenced &= ~(1u << lane);
  if (products.pending != pending) fail("wgmma.wait_group: the lanes of a warp differ");
  if (products.arrived == ~0u) {
    products.arrived = 0;
    for (unsigned other = 0; other < 32; ++other) {
      if (products.issued[other] != products.last || products.groups[other] != products.groups[0]) {
        fail("wgmma: the lanes of a warp have not issued and committed the same");
      }
    }
    self->waits_for = Thread::Wait::products;
    proxy.land_at_last(*self);
  }
  block.wait({"wgmma.wait_group"});
}

void perform_products(AsyncProxy& proxy, unsigned warp) {
  Untracked untracked;
  Products& products = proxy.products(warp);
  for (; products.first != products.last && covered(products, products.first); ++products.first) {
    perform(proxy, products[products.first], warp);
  }
}

}  // namespace simt
