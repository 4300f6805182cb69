#include "train/team.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/train/run_program.h"

namespace glint {
namespace {

// The errors of two ranks in this process.
template <typename Part>
std::string errors_of_two(const Part& part) {
  const test::ScratchFolder folder;
  TrainOptions options;
  options.comm_timeout = 1;
  std::string errors[2];
  const auto be = [&](int rank) {
    errors[rank] = test::error_of([&] {
      Ranks place;
      place.rank = rank, place.size = 2;
      Team team(place, folder / "run", options);
      part(team);
    });
  };
  std::thread other(be, 1);
  be(0);
  other.join();
  return errors[0] + errors[1];
}

TEST_CASE("team: ranks wait for one that works longer than the timeout" * doctest::skip(!kHasGloo)) {
  std::atomic<bool> done = false;
  CHECK(errors_of_two([&](Team& team) {
          team.run_collectively(team.is_main(), [&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(1800));
            done = true;
          });
          CHECK(done);
        }) == "");
  CHECK(errors_of_two([&](Team& team) {
          if (team.is_main()) std::this_thread::sleep_for(std::chrono::milliseconds(1800));
          team.comm().barrier();
        }).find("rank 0 hangs") != std::string::npos);
}

TEST_CASE("team: an error in collective work is thrown on the rank that ran it") {
  const TrainOptions options;
  Team alone({}, "", options);
  CHECK(test::error_of([&] { alone.run_collectively(true, [] { throw UserError("the disk is full"); }); }) ==
        "the disk is full");
  if (!kHasGloo) return;
  CHECK(errors_of_two([&](Team& team) {
          team.run_collectively(team.is_main(), [] { throw UserError("the disk is full"); });
        }).starts_with("the disk is full"));  // rank 1's error follows
}

}  // namespace
}  // namespace glint
