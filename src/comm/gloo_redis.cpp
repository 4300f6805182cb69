#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <thread>

#include "src/comm/gloo_address.h"
#include "src/comm/meeting_place.h"

#ifdef GLINT_WITH_REDIS
#include <hiredis/hiredis.h>
#include <sys/time.h>
#endif

namespace glint {

namespace {

constexpr std::string_view kScheme = "redis://";

// As errors may show it: without the password.
std::string shown(const std::string& url) {
  const size_t at = url.rfind('@');
  return at == std::string::npos ? url : str_cat(kScheme, "...", url.substr(at));
}

// %XX as the byte it stands for; nothing where it stands for none.
std::optional<std::string> decoded(std::string_view word) {
  std::string bytes;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] != '%') {
      bytes += word[i];
      continue;
    }
    const std::string_view digits = word.substr(i + 1, 2);
    int byte = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || digits[0] == '-' || error != std::errc() || end != digits.data() + 2) return std::nullopt;
    bytes += static_cast<char>(byte);
    i += 2;
  }
  return bytes;
}

}  // namespace

RedisUrl redis_url(const std::string& text) {
  const auto require = [&](bool readable) {
    GLINT_REQUIRE(readable, "--rendezvous ", shown(text),
                  ": give redis://HOST:PORT, or leave it out to meet in the run folder");
  };
  require(text.starts_with(kScheme));
  std::string rest = text.substr(kScheme.size());
  if (rest.ends_with('/')) rest.pop_back();
  RedisUrl url;
  if (const size_t at = rest.rfind('@'); at != std::string::npos) {
    const size_t colon = rest.find(':');
    require(colon < at);
    const auto user = decoded(rest.substr(0, colon)), password = decoded(rest.substr(colon + 1, at - colon - 1));
    require(user && password && !password->empty());
    url.user = *user;
    url.password = *password;
    rest = rest.substr(at + 1);
  }
  const bool bracketed = rest.starts_with('[');
  const size_t end_of_host = bracketed ? rest.find(']') : std::min(rest.find(':'), rest.size());
  require(end_of_host != std::string::npos);
  url.host = rest.substr(bracketed, end_of_host - bracketed);
  const std::string after = rest.substr(end_of_host + bracketed);
  if (!after.empty()) {
    const char *first = after.data() + 1, *last = after.data() + after.size();
    const auto [end, error] = std::from_chars(first, last, url.port);
    require(after[0] == ':' && error == std::errc() && end == last && 1 <= url.port && url.port <= 65535);
  }
  require(!url.host.empty() && url.host.find('/') == std::string::npos);
  return url;
}

#ifndef GLINT_WITH_REDIS

std::unique_ptr<MeetingPlace> make_redis_place(const GlooOptions& options, std::chrono::steady_clock::time_point) {
  throw UserError("--rendezvous " + shown(options.rendezvous) +
                  ": this build of glint has no Redis client; build it where libhiredis-dev is installed");
}

#else

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Words = std::vector<std::string>;
using Reply = std::unique_ptr<redisReply, void (*)(void*)>;

// One hash for a launch: so one command asks for any number of keys, one deletes them, and one lifetime holds for all.
class Redis final : public MeetingPlace {
 public:
  Redis(const GlooOptions& options, Clock::time_point deadline)
      : url_(redis_url(options.rendezvous)),
        hash_("glint/" + options.launch),
        lifetime_(std::max<seconds>(std::chrono::hours(1), ceil<seconds>(options.timeout) + std::chrono::minutes(1))),
        deadline_(deadline),
        connection_(nullptr, redisFree) {
    connect();
  }

  void set(const std::string& key, const std::string& value) override {
    command({"HSET", hash_, key, value});
    command({"EXPIRE", hash_, std::to_string(lifetime_.count())});
  }
  std::vector<std::optional<std::string>> look(const Words& keys) override {
    Words words = {"HMGET", hash_};
    words.insert(words.end(), keys.begin(), keys.end());
    const Reply reply = command(words);
    require(reply->type == REDIS_REPLY_ARRAY && reply->elements == keys.size(), "its answers are not a Redis's");
    std::vector<std::optional<std::string>> values;
    for (size_t i = 0; i < keys.size(); ++i) {
      const redisReply& value = *reply->element[i];
      values.push_back(value.type == REDIS_REPLY_STRING ? std::optional(std::string(value.str, value.len))
                                                        : std::nullopt);
    }
    return values;
  }
  void clear() noexcept override {
    try {
      command({"DEL", hash_});
    } catch (const std::exception&) {  // it goes by itself
    }
  }
  std::string name() const override {
    const bool bracketed = url_.host.find(':') != std::string::npos;
    return str_cat(kScheme, bracketed ? "[" + url_.host + "]" : url_.host, ":", url_.port);
  }
  std::string own_address() const override { return address_of_socket(connection_->fd); }

 private:
  // For one command; a little even when the deadline has passed, as what comes after it must not fail for that alone.
  timeval left() const {
    const auto time = std::max(milliseconds(200), std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now()));
    return {time.count() / 1000, static_cast<suseconds_t>(time.count() % 1000 * 1000)};
  }
  void require(bool well, const std::string& fault) const {
    GLINT_REQUIRE(well, "the ranks can't meet in ", name(), ": ", fault);
  }

  // Ranks may come before it does, or while it still reads its data.
  void connect() {
    while (true) {
      connection_.reset(redisConnectWithTimeout(url_.host.c_str(), url_.port, left()));
      require(connection_ != nullptr, "out of memory");
      const std::string fault = connection_->err == 0 ? greet() : fault_of_connection();
      if (fault.empty()) return;
      require(Clock::now() < deadline_, fault + "; is it running, and can it be reached from here?");
      std::this_thread::sleep_for(milliseconds(100));
    }
  }
  // What may still pass; throws what won't.
  std::string greet() {
    Words password = {"AUTH", url_.password};
    if (!url_.user.empty()) password.insert(password.begin() + 1, url_.user);
    for (const Words& words : {password, Words{"PING"}}) {
      if (words.back().empty()) continue;
      const Reply reply = ask(words);
      if (!reply) return fault_of_connection();
      if (reply->type != REDIS_REPLY_ERROR) continue;
      const std::string fault(reply->str, reply->len);
      require(fault.starts_with("LOADING"), fault);
      return fault;
    }
    return "";
  }

  // Nothing where the connection fails.
  Reply ask(const Words& words) {
    std::vector<const char*> starts;
    std::vector<size_t> lengths;
    for (const std::string& word : words) starts.push_back(word.data()), lengths.push_back(word.size());
    redisSetTimeout(connection_.get(), left());
    void* reply = redisCommandArgv(connection_.get(), static_cast<int>(words.size()), starts.data(), lengths.data());
    return {static_cast<redisReply*>(reply), freeReplyObject};
  }
  Reply command(const Words& words) {
    Reply reply = ask(words);
    require(reply != nullptr, reply ? "" : fault_of_connection());
    require(reply->type != REDIS_REPLY_ERROR, reply->type == REDIS_REPLY_ERROR ? reply->str : "");
    return reply;
  }
  std::string fault_of_connection() const {
    const bool silent =
        connection_->err == REDIS_ERR_IO && std::strcmp(connection_->errstr, std::strerror(EAGAIN)) == 0;
    return silent ? "it does not answer" : connection_->errstr;
  }

  const RedisUrl url_;
  const std::string hash_;
  const seconds lifetime_;
  const Clock::time_point deadline_;
  std::unique_ptr<redisContext, void (*)(redisContext*)> connection_;
};

}  // namespace

std::unique_ptr<MeetingPlace> make_redis_place(const GlooOptions& options, Clock::time_point deadline) {
  return std::make_unique<Redis>(options, deadline);
}

#endif

}  // namespace glint
