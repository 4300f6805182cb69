// Collectives over Gloo's point-to-point messages: every rank receives its shard from every other one, adds in the
// order of ranks, and sends the sum to every other one. This moves as many bytes as a ring, 2 (N-1)/N of the buffer
// each way; a ring would add each shard in a different order.
#include <algorithm>
#include <vector>

#include "src/comm/communicator.h"
#include "src/comm/gloo_mesh.h"

namespace glint {

namespace {

// Maximum of elements per rank in one round; scratch holds as many for each rank and should stay in cache.
constexpr size_t kPiece = size_t{1} << 18;
// Maximum of elements of a sum that every rank computes itself.
constexpr size_t kSmall = 1024;
// Maximum of bytes of a broadcast in one round; the timeout applies to each round.
constexpr size_t kBroadcastPiece = size_t{1} << 24;

class GlooCommunicator final : public Communicator {
 public:
  GlooCommunicator(const Ranks& ranks, const GlooOptions& options) : mesh_(ranks, options) {}

  int rank() const override { return mesh_.rank(); }
  int size() const override { return mesh_.size(); }
  void all_reduce(std::span<float> data) override { reduce_all(data); }
  void all_reduce(std::span<double> data) override { reduce_all(data); }
  void reduce_scatter(std::span<float> data) override { reduce_shards(data); }
  void all_gather(std::span<float> data) override { gather_shards(std::as_writable_bytes(data), sizeof(float)); }
  void all_gather(std::span<Bf16> data) override { gather_shards(std::as_writable_bytes(data), sizeof(Bf16)); }

  void broadcast(std::span<std::byte> data, int root) override {
    GLINT_CHECK(0 <= root && root < size(), "root is ", root, " of ", size(), " ranks");
    for (size_t at = 0; at < data.size(); at += kBroadcastPiece) {
      const auto piece = data.subspan(at, std::min(kBroadcastPiece, data.size() - at));
      GlooMesh::Round round(mesh_);
      if (rank() == root) {
        for (int peer : others()) round.send(peer, piece.data(), piece.size());
        round.wait_sends();
      } else {
        round.receive(root, piece.data(), piece.size());
        round.wait_receive(root);
      }
    }
  }

  void abort(const std::string& why) noexcept override { mesh_.abort(why); }

 private:
  // The other ranks, starting with the next one, so that not all send to the same rank at once.
  std::vector<int> others() const {
    std::vector<int> ranks;
    for (int i = 1; i < size(); ++i) ranks.push_back((rank() + i) % size());
    return ranks;
  }

  template <typename T>
  void reduce_all(std::span<T> data) {
    if (data.size() <= kSmall) return reduce_small(data);
    const size_t most = kPiece * static_cast<size_t>(size());
    for (size_t at = 0; at < data.size(); at += most) {
      const std::span<T> piece = data.subspan(at, std::min(most, data.size() - at));
      reduce_shards(piece);
      gather_shards(std::as_writable_bytes(piece), sizeof(T));
    }
  }

  // In one round every rank receives everything, so that each can name a rank that hangs.
  template <typename T>
  void reduce_small(std::span<T> data) {
    const std::vector<T> own(data.begin(), data.end());
    std::vector<std::vector<T>> all(static_cast<size_t>(size()), own);
    GlooMesh::Round round(mesh_);
    for (int peer : others()) round.receive(peer, all[static_cast<size_t>(peer)].data(), data.size_bytes());
    for (int peer : others()) round.send(peer, own.data(), data.size_bytes());
    for (int peer : others()) round.wait_receive(peer);
    round.wait_sends();
    std::copy(all[0].begin(), all[0].end(), data.begin());
    for (int peer = 1; peer < size(); ++peer)
      for (size_t i = 0; i < data.size(); ++i) data[i] += all[static_cast<size_t>(peer)][i];
  }

  // Shards may be longer than a piece: in round i, every rank receives piece i of its shard.
  template <typename T>
  void reduce_shards(std::span<T> data) {
    const size_t longest = shard_of(data.size(), 0, size()).size();
    for (size_t at = 0; at < longest; at += kPiece) {
      const auto piece_of = [&](int owner) {
        const Shard shard = shard_of(data.size(), owner, size());
        const size_t begin = std::min(shard.size(), at);
        return data.subspan(shard.begin + begin, std::min(kPiece, shard.size() - begin));
      };
      reduce_piece<T>(piece_of);
    }
  }

  template <typename T, typename PieceOf>
  void reduce_piece(const PieceOf& piece_of) {
    const std::span<T> mine = piece_of(rank());
    scratch_.resize(std::max(scratch_.size(), mine.size_bytes() * static_cast<size_t>(size())));
    const auto from = [&](int peer) {  // what this rank receives from it
      T* inbox = reinterpret_cast<T*>(scratch_.data()) + static_cast<size_t>(peer) * mine.size();
      return peer == rank() ? mine : std::span<T>(inbox, mine.size());
    };
    GlooMesh::Round round(mesh_);
    for (int peer : others()) round.receive(peer, from(peer).data(), mine.size_bytes());
    for (int peer : others()) round.send(peer, piece_of(peer).data(), piece_of(peer).size_bytes());
    const std::span<T> sum = from(0);  // is `mine` on rank 0
    round.wait_receive(0);
    for (int peer = 1; peer < size(); ++peer) {
      round.wait_receive(peer);
      T* into = sum.data();
      const T* next = from(peer).data();
      for (size_t i = 0; i < mine.size(); ++i) into[i] += next[i];
    }
    if (rank() != 0) std::copy(sum.begin(), sum.end(), mine.begin());
    round.wait_sends();
  }

  void gather_shards(std::span<std::byte> data, size_t element) {
    const size_t n = data.size() / element;
    const auto bytes_of = [&](int owner) {
      const Shard shard = shard_of(n, owner, size());
      return data.subspan(shard.begin * element, shard.size() * element);
    };
    const std::span<std::byte> mine = bytes_of(rank());
    GlooMesh::Round round(mesh_);
    for (int peer : others()) round.receive(peer, bytes_of(peer).data(), bytes_of(peer).size());
    for (int peer : others()) round.send(peer, mine.data(), mine.size());
    for (int peer : others()) round.wait_receive(peer);
    round.wait_sends();
  }

  GlooMesh mesh_;
  std::vector<std::byte> scratch_;
};

}  // namespace

std::unique_ptr<Communicator> make_gloo_communicator(const Ranks& ranks, const GlooOptions& options) {
  return std::make_unique<GlooCommunicator>(ranks, options);
}

}  // namespace glint
