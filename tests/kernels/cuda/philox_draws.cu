#include "tests/kernels/cuda/philox_draws.h"

#include "kernels/cuda/attention/philox.cuh"

namespace glint::test {
namespace {

__device__ void put(PhiloxCounter* out, int k, const uint32_t (&random)[4]) {
  out[(blockIdx.x * kDrawsOfCase + k) * 32 + threadIdx.x] = {random[0], random[1], random[2], random[3]};
}

__global__ void draw_along_row_kernel(PhiloxCounter* out, const DrawCase* cases, Dropout site) {
  const DrawCase& c = cases[blockIdx.x];
  site.rng = &c.rng;
  const attention::RowPhilox philox(site);
  const attention::RowPhilox::Row row = philox.row(c.b, c.NH, c.h, c.row);
  for (int k = 0; k < kDrawsOfCase; ++k) {
    uint32_t random[4];
    philox.draw(random, row, c.column + k);
    put(out, k, random);
  }
}

__global__ void draw_along_columns_kernel(PhiloxCounter* out, const DrawCase* cases, Dropout site) {
  const DrawCase& c = cases[blockIdx.x];
  site.rng = &c.rng;
  const attention::ColumnPhilox philox(site);
  const attention::ColumnPhilox::Columns columns = philox.columns(c.b, c.NH, c.h, c.column);
  for (int k = 0; k < kDrawsOfCase; k += 2) {
    uint32_t random[2][4];
    philox.draw(random, columns, c.row + k / 2);
    put(out, k, random[0]);
    put(out, k + 1, random[1]);
  }
}

}  // namespace

void draw_along_row(const CudaContext& ctx, PhiloxCounter* out, const DrawCase* cases, int n, Dropout site) {
  launch(
      ctx, {dim3(n), dim3(32)}, [] { return "draw_along_row"; }, draw_along_row_kernel, out, cases, site);
}
void draw_along_columns(const CudaContext& ctx, PhiloxCounter* out, const DrawCase* cases, int n, Dropout site) {
  launch(
      ctx, {dim3(n), dim3(32)}, [] { return "draw_along_columns"; }, draw_along_columns_kernel, out, cases, site);
}

}  // namespace glint::test
