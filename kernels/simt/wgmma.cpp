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

constexpr int kK = 16, kRows = 16;  // of a warp's part
constexpr int kMaxColumns = DecodedMatrix::kColumns;
using Accumulators = float[kRows][kMaxColumns];

float from_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// A matrix in shared memory.
struct Descriptor {
  unsigned start, leading, stride;

  explicit Descriptor(uint64_t d)
      : start((d & 0x3fff) << 4), leading((d >> 16 & 0x3fff) << 4), stride((d >> 32 & 0x3fff) << 4) {
    if (d >> 62 != 1 || (d >> 49 & 7) != 0) fail("wgmma: a matrix descriptor without 128-byte swizzle");
    if (start & 0x380) fail("wgmma: a matrix that does not start in the first row of a 1024-byte pattern");
    if (options.fault == Fault::wrong_stride) stride -= 128;
  }

  // out[k * step + column] for `columns` columns (of m or n) from `first` on, and 16 k.
  void read(AsyncProxy& proxy, bool mn_major, unsigned first, unsigned columns, float* out, unsigned step) const {
    const unsigned end = first + columns - 1;  // the last one; whole 128-byte rows of the pattern are touched
    const unsigned furthest = mn_major ? end / 64 * leading + stride + 7 * 128 : end / 8 * stride + end % 8 * 128;
    const unsigned row = start / 128 * 128;
    const char* const from = proxy.view(row, furthest + 128) - row;
    uint16_t chunks[8][8];  // of 8 columns, 8 k each; or the other way round
    for (unsigned c = 0; c < columns; c += 8) {
      const unsigned column = first + c;
      for (unsigned k = 0; k < kK; k += 8) {
        const unsigned place =
            mn_major ? column % 64 * 2 + column / 64 * leading + k / 8 * stride : column / 8 * stride + k * 2;
        for (unsigned i = 0; i < 8; ++i) {
          const unsigned address = start + place + i * 128;
          __builtin_memcpy(chunks[i], from + (address ^ (address >> 7 & 7) << 4), 16);
        }
        for (unsigned i = 0; i < 8; ++i) {
          for (unsigned j = 0; j < 8; ++j) {
            out[(k + i) * step + c + j] = from_bf16(mn_major ? chunks[i][j] : chunks[j][i]);
          }
        }
      }
    }
  }
};

// The rows of A that a warp multiplies.
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
void multiply(Accumulators& D, const float (&A)[kRows][kK], const float* B, int n) {
  constexpr int kStep = 32;
  for (int first = 0; first < n; first += kStep) {
    for (int i = 0; i < kRows; ++i) {
      float sum[kStep];
      for (int c = 0; c < kStep; ++c) sum[c] = D[i][first + c];
      for (int k = 0; k < kK; ++k) {
        for (int c = 0; c < kStep; ++c) sum[c] += A[i][k] * B[k * kMaxColumns + first + c];
      }
      for (int c = 0; c < kStep; ++c) D[i][first + c] = sum[c];
    }
  }
}

// copy(pair of a lane's registers, pair of D): registers 4j and 4j + 1 are row lane / 4, columns 8j + 2 * (lane % 4)
// and one more; the next two, eight rows below.
template <typename Copy>
void for_each_pair(const Product& product, Accumulators& D, const Copy& copy) {
  for (int lane = 0; lane < 32; ++lane) {
    float* const d = product.d[static_cast<size_t>(lane)];
    for (int j = 0; j < product.shape.n / 8; ++j) {
      copy(d + 4 * j, &D[lane / 4][8 * j + 2 * (lane % 4)]);
      copy(d + 4 * j + 2, &D[lane / 4 + 8][8 * j + 2 * (lane % 4)]);
    }
  }
}
void read_d(const Product& product, Accumulators& D) {
  if (!product.shape.accumulate) return (void)std::fill_n(&D[0][0], kRows * kMaxColumns, 0.0f);
  for_each_pair(product, D, [](const float* d, float* to) { __builtin_memcpy(to, d, 2 * sizeof(float)); });
}
void write_d(const Product& product, Accumulators& D) {
  for_each_pair(product, D, [](float* d, const float* from) { __builtin_memcpy(d, from, 2 * sizeof(float)); });
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

void wgmma_fence() {
  Untracked untracked;
  self->block->async().products(self->warp()).fenced |= 1u << self->lane();
}
void wgmma_commit() {
  Untracked untracked;
  ++self->block->async().products(self->warp()).groups[self->lane()];
}

// The lanes of a warp issue one by one; that they agree is checked here and when they wait.
void wgmma(const WgmmaOperands& operands) {
  Untracked untracked;
  AsyncProxy& proxy = self->block->async();
  proxy.before_issue();
  Products& products = proxy.products(self->warp());
  const unsigned lane = self->lane(), number = products.issued[lane]++;
  if (!(products.fenced >> lane & 1)) fail("wgmma.mma_async without wgmma.fence");
  if (products.ring.empty()) products.ring.resize(Products::kMaxInFlight);
  Product& product = products[number];
  if (number == products.last) {
    if (++products.last - products.first > Products::kMaxInFlight) fail("too many wgmma in flight");
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
  release_early();
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

// The matrix B of a product, as floats. The warps of a warpgroup share it.
const float* AsyncProxy::decoded_b(const WgmmaOperands& shape) {
  for (const DecodedMatrix& matrix : decoded_) {
    if (matrix.descriptor == shape.b_descriptor && matrix.mn_major == shape.b_mn_major && matrix.n == shape.n) {
      return matrix.values.data();
    }
  }
  DecodedMatrix& matrix = decoded_[next_decoded_++ % decoded_.size()];
  matrix.descriptor = shape.b_descriptor;
  matrix.mn_major = shape.b_mn_major;
  matrix.n = shape.n;
  matrix.values.resize(kK * kMaxColumns);
  const auto columns = static_cast<unsigned>(shape.n);
  Descriptor(shape.b_descriptor).read(*this, shape.b_mn_major, 0, columns, matrix.values.data(), kMaxColumns);
  return matrix.values.data();
}

// Accumulators stay in D from one product to the next that adds to them.
void perform_products(AsyncProxy& proxy, unsigned warp) {
  Untracked untracked;
  Products& products = proxy.products(warp);
  Accumulators D;
  const Product* in_d = nullptr;
  for (; products.first != products.last && covered(products, products.first); ++products.first) {
    const Product& product = products[products.first];
    if (!in_d || !product.shape.accumulate || product.d != in_d->d || product.shape.n != in_d->shape.n) {
      if (in_d) write_d(*in_d, D);
      read_d(product, D);
    }
    in_d = &product;
    float A[kRows][kK];
    read_a(proxy, product, warp, A);
    multiply(D, A, proxy.decoded_b(product.shape), (product.shape.n + 31) / 32 * 32);
  }
  if (in_d) write_d(*in_d, D);
}

}  // namespace simt
