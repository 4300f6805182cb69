#include "src/comm/communicator.h"

namespace glint {

namespace {

class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<double>) override {}
  void reduce_scatter(std::span<float>) override {}
  void reduce_scatter(std::span<double>) override {}
  void all_gather(std::span<float>) override {}
  void all_gather(std::span<double>) override {}
  void all_gather(std::span<Bf16>) override {}
  void broadcast(std::span<std::byte>, int root) override { GLINT_CHECK(root == 0, "root is ", root, " of one rank"); }
  void barrier() override {}
  void check() override {}
  void abort(const std::string&) noexcept override {}
};

}  // namespace

std::unique_ptr<Communicator> make_single_communicator() { return std::make_unique<SingleCommunicator>(); }

}  // namespace glint
