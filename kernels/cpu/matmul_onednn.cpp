#include <dnnl.h>

#include <omp.h>

#include "kernels/check.h"
#include "kernels/cpu/product.h"

namespace glint {
namespace {

// oneDNN takes its thread count from OpenMP's setting, which belongs to the calling thread: set for one call.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(omp_get_max_threads()) {
    if (threads != before_) omp_set_num_threads(threads);
  }
  ~ThreadCount() { omp_set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

}  // namespace

void multiply_onednn(const CpuContext& ctx, const Product& p) {
  const ThreadCount threads(ctx.threads);
  const int64_t lda = p.a.transposed ? p.M : p.K, ldb = p.b.transposed ? p.K : p.N;
  const dnnl_status_t status =
      dnnl_sgemm(p.a.transposed ? 'T' : 'N', p.b.transposed ? 'T' : 'N', p.M, p.N, p.K, 1.0f, p.a.data, lda, p.b.data, ldb,
                 p.write == Write::add ? 1.0f : 0.0f, p.c, p.N);
  GLINT_CHECK(status == dnnl_success, "oneDNN says ", status, " to a product of ", p.M, " x ", p.K, " x ", p.N);
}

}  // namespace glint
