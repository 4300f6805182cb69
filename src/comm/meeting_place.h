// Where ranks leave for each other what they need to connect: a folder that all of them see, or a Redis.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/comm/communicator.h"

namespace glint {

// Errors: UserError, one line that names the place.
class MeetingPlace {
 public:
  virtual ~MeetingPlace() = default;
  virtual void set(const std::string& key, const std::string& value) = 0;
  // What is there now, by key.
  virtual std::vector<std::optional<std::string>> look(const std::vector<std::string>& keys) = 0;
  virtual void clear() noexcept = 0;            // everything, once all have read it
  virtual std::string name() const = 0;         // for people
  virtual std::string own_address() const = 0;  // from which this machine reaches it; "" where it is none
};

std::unique_ptr<MeetingPlace> make_folder_place(const GlooOptions& options);

// options.rendezvous: see RedisUrl. Waits for it, until the deadline at most, which holds for all that follows too.
// What is left in it goes by itself, an hour after the last word or, if that is longer, a minute after a timeout.
std::unique_ptr<MeetingPlace> make_redis_place(const GlooOptions& options,
                                               std::chrono::steady_clock::time_point deadline);

// redis://[[USER]:PASSWORD@]HOST[:PORT], HOST an address in [] if it is IPv6's; %XX stands for a byte of user or
// password.
struct RedisUrl {
  std::string host, user, password;
  int port = 6379;
};
RedisUrl redis_url(const std::string& text);

}  // namespace glint
