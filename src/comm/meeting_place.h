// Where ranks leave for each other what they need to connect: a folder that all of them see, or a Redis.
#pragma once

#include <gloo/rendezvous/store.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "src/comm/communicator.h"

namespace glint {

// Gloo's own stores round timeouts up to whole seconds, a key at a time, so that they could not soon tell which of many ranks
// are missing. Errors: UserError, one line that names the place.
class MeetingPlace : public gloo::rendezvous::Store {
 public:
  void wait(const std::vector<std::string>& keys) override { wait(keys, kDefaultTimeout); }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override;
  // The indices of the keys that are not there when the timeout is over.
  std::vector<size_t> missing(const std::vector<std::string>& keys, std::chrono::milliseconds timeout);

  virtual bool has(const std::string& key) = 0;
  virtual void clear() noexcept = 0;                                // everything, once all have read it
  virtual std::string name() const = 0;                             // for people
  virtual std::string own_address() const { return ""; }            // by which this machine reached it; "" where it is none
};

std::unique_ptr<MeetingPlace> make_folder_place(const GlooOptions& options);

// options.rendezvous: redis://[:PASSWORD@]HOST[:PORT], HOST an address in [] if it is IPv6's. Waits until it is there, for a
// timeout at most. What is left in it goes by itself after an hour.
std::unique_ptr<MeetingPlace> make_redis_place(const GlooOptions& options);

struct RedisUrl {
  std::string host, password;
  int port = 6379;
};
RedisUrl redis_url(const std::string& text);

}  // namespace glint
