#include "src/comm/gloo_meeting.h"

#include <gloo/barrier.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "src/comm/gloo_address.h"
#include "src/comm/meeting_place.h"
#include "src/comm/no_sigpipe.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Between two looks at what is there: longer and longer.
class Nap {
 public:
  void operator()() {
    std::this_thread::sleep_for(length_);
    length_ = std::min(2 * length_, milliseconds(50));
  }

 private:
  milliseconds length_{1};
};

// What a rank tells of itself when it signs in: one line.
struct Card {
  std::string nonce, address, machine;

  std::string line() const { return nonce + " " + address + " " + machine; }
  static Card from(const std::string& line) {
    Card card;
    std::istringstream(line) >> card.nonce >> card.address >> card.machine;
    return card;
  }
};

std::string random_word() {
  std::random_device bits;
  return str_cat(std::hex, bits(), bits());
}

// The same for ranks that reach each other over loopback, and for no others: containers have a network of their own.
std::string this_machine() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::error_code error;
  const std::string network = std::filesystem::read_symlink("/proc/self/ns/net", error).string();
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return str_cat(host, "/", boot, "/", network);
}

// A meeting of this launch's ranks alone. What a try that failed has left in the place has another name, and is never
// taken for its ranks' words: rank 0 names the meeting anew, and lists who signed in under that name; the others sign
// in under each name that they find, until they find themselves on its list.
class Meeting {
 public:
  Meeting(MeetingPlace& place, const Ranks& ranks, const GlooOptions& options, Clock::time_point deadline,
          const std::string& address)
      : place_(place),
        ranks_(ranks),
        options_(options),
        deadline_(deadline),
        own_(Card{random_word(), address, this_machine()}.line()) {
    ranks.rank == 0 ? host() : join();
    require_reachable();
  }

  std::string key(const std::string& word) const { return name_ + "-" + word; }

 private:
  static constexpr const char* kLatest = "meeting";
  std::string here(int rank) const { return key(str_cat("here-", rank)); }

  void host() {
    name_ = random_word();
    place_.set(here(0), own_);
    place_.set(kLatest, name_);
    std::vector<std::string> cards(static_cast<size_t>(ranks_.size));
    std::vector<int> missing;
    for (int rank = 0; rank < ranks_.size; ++rank) missing.push_back(rank);
    for (Nap nap;; nap()) {
      const bool last = Clock::now() >= deadline_;
      missing = those_missing(missing, &cards);
      if (missing.empty()) break;
      if (last) say_missing(missing);
    }
    std::string list;
    for (const std::string& card : cards) list += card + "\n";
    place_.set(key("all"), list);
    cards_ = cards;
  }

  void join() {
    for (Nap nap;; nap()) {
      const bool last = Clock::now() >= deadline_;
      const auto values = place_.look({kLatest, key("all")});
      if (values[1] && lists_own(*values[1])) return;
      if (values[0] && *values[0] != name_) {
        name_ = *values[0];
        place_.set(here(ranks_.rank), own_);
      }
      if (last) say_missing_but_own();
    }
  }

  // Whether rank 0's list of all has this one on it; then cards_ are theirs.
  bool lists_own(const std::string& list) {
    std::vector<std::string> cards;
    std::istringstream lines(list);
    for (std::string line; std::getline(lines, line);) cards.push_back(line);
    const auto own = static_cast<size_t>(ranks_.rank);
    if (own >= cards.size() || cards[own] != own_) return false;
    GLINT_REQUIRE(cards.size() == static_cast<size_t>(ranks_.size), "rank 0 was told of ", cards.size(),
                  " ranks, rank ", ranks_.rank, " of ", ranks_.size, ": tell all the same number");
    cards_ = cards;
    return true;
  }

  // Which of some ranks have not signed in; the others' cards, where wanted.
  std::vector<int> those_missing(const std::vector<int>& of, std::vector<std::string>* cards = nullptr) const {
    std::vector<std::string> keys;
    for (int rank : of) keys.push_back(here(rank));
    const auto values = place_.look(keys);
    std::vector<int> missing;
    for (size_t i = 0; i < of.size(); ++i) {
      if (!values[i]) {
        missing.push_back(of[i]);
      } else if (cards) {
        (*cards)[static_cast<size_t>(of[i])] = *values[i];
      }
    }
    return missing;
  }

  [[noreturn]] void say_missing_but_own() const {
    std::vector<int> missing;
    for (int rank = 0; rank < ranks_.size && !name_.empty(); ++rank) missing.push_back(rank);
    if (!missing.empty()) missing = those_missing(missing);
    if (missing.empty()) missing = {0};  // no meeting, or one of the past
    say_missing(missing);
  }
  [[noreturn]] void say_missing(const std::vector<int>& missing) const {
    std::string list;
    for (int rank : missing) list += str_cat(list.empty() ? "" : ", ", rank);
    const bool one = missing.size() == 1;
    const double seconds = static_cast<double>(options_.timeout.count()) / 1000;
    throw UserError(str_cat(one ? "rank " : "ranks ", list, " of ", ranks_.size, " did not come to ", place_.name(),
                            " within ", seconds, " s: see what stopped ", one ? "it" : "them"));
  }

  // A machine that looks up its own name often finds loopback.
  void require_reachable() const {
    std::vector<Card> cards;
    for (const std::string& line : cards_) cards.push_back(Card::from(line));
    for (size_t rank = 0; rank < cards.size(); ++rank) {
      if (!is_loopback(cards[rank].address)) continue;
      const auto elsewhere = [&](const Card& card) { return card.machine != cards[rank].machine; };
      const auto far = std::find_if(cards.begin(), cards.end(), elsewhere);
      GLINT_REQUIRE(far == cards.end(), "rank ", rank, " would talk over ", cards[rank].address, ", where rank ",
                    far - cards.begin(), " on another machine can't reach it: tell rank ", rank,
                    " its network, such as --interface eth0");
    }
  }

  MeetingPlace& place_;
  const Ranks& ranks_;
  const GlooOptions& options_;
  const Clock::time_point deadline_;
  const std::string own_;
  std::string name_;                // rank 0's word for it
  std::vector<std::string> cards_;  // by rank, once all are there
};

// What Gloo leaves there for the other ranks. Its own stores round timeouts up to whole seconds.
class Letters final : public gloo::rendezvous::Store {
 public:
  Letters(MeetingPlace& place, const Meeting& meeting, milliseconds patience)
      : place_(place), meeting_(meeting), patience_(patience) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    place_.set(meeting_.key(key), {data.begin(), data.end()});
  }
  std::vector<char> get(const std::string& key) override {
    const std::string value = await(key, Clock::now() + patience_);
    return {value.begin(), value.end()};
  }
  void wait(const std::vector<std::string>& keys) override { wait(keys, patience_); }
  void wait(const std::vector<std::string>& keys, const milliseconds& timeout) override {
    const auto deadline = Clock::now() + timeout;
    for (const std::string& key : keys) await(key, deadline);
  }

 private:
  std::string await(const std::string& key, Clock::time_point deadline) const {
    for (Nap nap;; nap()) {
      const bool last = Clock::now() >= deadline;
      if (const auto value = place_.look({meeting_.key(key)})[0]) return *value;
      GLINT_REQUIRE(!last, "what another rank was to leave did not come to ", place_.name());
    }
  }

  MeetingPlace& place_;
  const Meeting& meeting_;
  const milliseconds patience_;
};

// routed: an address to take where none was asked for.
std::string own_address(const GlooOptions& options, const std::string& routed) {
  if (!options.host.empty()) return address_of_host(options.host);
  if (!options.interface.empty()) return address_of_interface(options.interface);
  return routed.empty() ? "127.0.0.1" : routed;
}

std::shared_ptr<gloo::transport::Device> open_device(const std::string& address) {
  gloo::transport::tcp::attr attributes(
      address.c_str());  // as numbers: where it finds no host, it walks a list that it never set
  try {
    return gloo::transport::tcp::CreateDevice(attributes);
  } catch (const std::exception& fault) {
    throw UserError("ranks can't talk over " + address + ": " + fault.what());
  }
}

}  // namespace

std::shared_ptr<gloo::rendezvous::Context> meet(const Ranks& ranks, const GlooOptions& options) {
  GLINT_CHECK(0 <= ranks.rank && ranks.rank < ranks.size, "rank is ", ranks.rank, " of ", ranks.size);
  GLINT_CHECK(!options.launch.empty() && options.launch.find('/') == std::string::npos, "launch is '", options.launch,
              "'");
  const NoSigpipe no_sigpipe;  // also for Gloo's own thread, which starts here
  const auto deadline = Clock::now() + options.timeout;
  const bool in_folder = options.rendezvous.empty();
  const std::unique_ptr<MeetingPlace> place =
      in_folder ? make_folder_place(options) : make_redis_place(options, deadline);
  const std::string address =
      own_address(options, in_folder ? address_towards(ranks.master_address) : place->own_address());
  auto device = open_device(address);
  auto context = std::make_shared<gloo::rendezvous::Context>(ranks.rank, ranks.size);
  const Meeting meeting(*place, ranks, options, deadline, address);
  // All were there a moment ago: who keeps the others waiting now died since. Gloo waits five of its timeouts to
  // connect.
  const milliseconds patience = std::max<milliseconds>(std::chrono::seconds(1), options.timeout / 5);
  context->setTimeout(patience);
  try {
    Letters letters(*place, meeting, patience);
    context->connectFullMesh(letters, device);
    gloo::BarrierOptions barrier(context);
    gloo::barrier(barrier);
  } catch (const std::exception& fault) {
    throw UserError(str_cat("rank ", ranks.rank, " could not connect to all other ranks: ", fault.what()));
  }
  if (ranks.rank == 0) place->clear();
  return context;
}

}  // namespace glint
