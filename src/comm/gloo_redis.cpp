#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <thread>

#include "src/comm/meeting_place.h"

#ifdef GLINT_WITH_REDIS
#include <hiredis/hiredis.h>
#endif

namespace glint {

RedisUrl redis_url(const std::string& text) {
  constexpr std::string_view kScheme = "redis://";
  const auto refuse = [&] {
    throw UserError("--rendezvous " + text + ": give redis://HOST:PORT, or leave it out to meet in the run folder");
  };
  if (!text.starts_with(kScheme)) refuse();
  std::string rest = text.substr(kScheme.size());
  if (rest.ends_with('/')) rest.pop_back();
  RedisUrl url;
  if (const size_t at = rest.rfind('@'); at != std::string::npos) {
    if (rest[0] != ':') refuse();
    url.password = rest.substr(1, at - 1);
    rest = rest.substr(at + 1);
  }
  const size_t bracket = rest.starts_with('[') ? rest.find(']') : 0;
  if (bracket == std::string::npos) refuse();
  if (const size_t colon = rest.find(':', bracket); colon != std::string::npos) {
    const char *first = rest.data() + colon + 1, *last = rest.data() + rest.size();
    const auto [end, error] = std::from_chars(first, last, url.port);
    if (error != std::errc() || end != last || url.port < 1 || url.port > 65535) refuse();
    rest = rest.substr(0, colon);
  }
  url.host = bracket > 0 ? rest.substr(1, bracket - 1) : rest;
  if (url.host.empty() || url.host.find('/') != std::string::npos) refuse();
  return url;
}

#ifndef GLINT_WITH_REDIS

std::unique_ptr<MeetingPlace> make_redis_place(const GlooOptions& options) {
  throw UserError("--rendezvous " + options.rendezvous +
                  ": this build of glint has no Redis client; build it where libhiredis-dev is installed");
}

#else

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using Reply = std::unique_ptr<redisReply, void (*)(void*)>;

constexpr const char* kLifetime = "3600";  // seconds

timeval as_timeval(milliseconds time) { return {time.count() / 1000, static_cast<suseconds_t>(time.count() % 1000 * 1000)}; }

class Redis final : public MeetingPlace {
 public:
  explicit Redis(const GlooOptions& options)
      : url_(redis_url(options.rendezvous)), prefix_("glint/" + options.launch + "/"), connection_(connect(options.timeout)) {
    redisSetTimeout(connection_.get(), as_timeval(options.timeout));
    if (!url_.password.empty()) command({"AUTH", url_.password});
    command({"PING"});
  }

  void set(const std::string& key, const std::vector<char>& data) override {
    command({"SET", prefix_ + key, std::string(data.begin(), data.end()), "EX", kLifetime});
  }
  std::vector<char> get(const std::string& key) override {
    MeetingPlace::wait({key}, kDefaultTimeout);
    const Reply reply = command({"GET", prefix_ + key});
    GLINT_REQUIRE(reply->type == REDIS_REPLY_STRING, name(), " has lost what a rank left in it");
    return {reply->str, reply->str + reply->len};
  }
  bool has(const std::string& key) override { return command({"EXISTS", prefix_ + key})->integer == 1; }
  void clear() noexcept override {
    try {
      const Reply keys = command({"KEYS", prefix_ + "*"});
      for (size_t i = 0; i < keys->elements; ++i) command({"DEL", keys->element[i]->str});
    } catch (const std::exception&) {  // they go by themselves
    }
  }
  std::string name() const override { return text("redis://", url_.host, ":", url_.port); }
  std::string own_address() const override {
    sockaddr_storage address = {};
    socklen_t length = sizeof address;
    char host[NI_MAXHOST];
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (getsockname(connection_->fd, generic, &length) != 0) return "";
    return getnameinfo(generic, length, host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0 ? host : "";
  }

 private:
  using Connection = std::unique_ptr<redisContext, void (*)(redisContext*)>;

  // Ranks may come before it.
  Connection connect(milliseconds timeout) const {
    const auto deadline = Clock::now() + timeout;
    while (true) {
      const auto left = std::max(milliseconds(50), std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
      Connection connection(redisConnectWithTimeout(url_.host.c_str(), url_.port, as_timeval(left)), redisFree);
      if (connection && connection->err == 0) return connection;
      GLINT_REQUIRE(Clock::now() < deadline, "the ranks can't meet in ", name(), ": ",
                    connection ? connection->errstr : "out of memory", "; is it running, and can it be reached from here?");
      std::this_thread::sleep_for(milliseconds(100));
    }
  }

  Reply command(const std::vector<std::string>& words) {
    std::vector<const char*> starts;
    std::vector<size_t> lengths;
    for (const std::string& word : words) starts.push_back(word.data()), lengths.push_back(word.size());
    void* answer = redisCommandArgv(connection_.get(), static_cast<int>(words.size()), starts.data(), lengths.data());
    Reply reply(static_cast<redisReply*>(answer), freeReplyObject);
    GLINT_REQUIRE(reply, "the ranks can't meet in ", name(), ": ", connection_->errstr);
    GLINT_REQUIRE(reply->type != REDIS_REPLY_ERROR, "the ranks can't meet in ", name(), ": ", reply->str);
    return reply;
  }

  const RedisUrl url_;
  const std::string prefix_;
  Connection connection_;
};

}  // namespace

std::unique_ptr<MeetingPlace> make_redis_place(const GlooOptions& options) { return std::make_unique<Redis>(options); }

#endif

}  // namespace glint
