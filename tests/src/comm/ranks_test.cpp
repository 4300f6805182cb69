#include "src/comm/ranks.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "tests/train/run_program.h"

namespace {

using Environment = std::map<std::string, std::string>;

glint::Ranks ranks_in(const Environment& environment) {
  return glint::ranks_from([&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

}  // namespace

TEST_CASE("ranks: one process without a launcher") {
  const Environment environments[] = {
      {},
      {{"LOCAL_RANK", "1"}},
      {{"RANK", ""}, {"WORLD_SIZE", ""}},
      {{"SLURM_JOB_ID", "7"},
       {"SLURM_PROCID", "0"},
       {"SLURM_NTASKS", "4"}},  // in the script that sbatch runs, outside srun
  };
  for (const Environment& environment : environments) {
    const glint::Ranks ranks = ranks_in(environment);
    CHECK(ranks.rank == 0);
    CHECK(ranks.size == 1);
    CHECK(ranks.source == "");
  }
}

TEST_CASE("ranks: torchrun's variables, then Slurm's") {
  Environment environment = {{"SLURM_PROCID", "2"},
                             {"SLURM_NTASKS", "3"},
                             {"SLURM_LOCALID", "0"},
                             {"SLURM_JOB_ID", "41"},
                             {"SLURM_STEP_ID", "5"}};
  glint::Ranks ranks = ranks_in(environment);
  CHECK(ranks.source == "Slurm");
  CHECK(ranks.rank == 2);
  CHECK(ranks.size == 3);
  CHECK(ranks.local_rank == 0);
  CHECK(ranks.launch == "launch-41-5");
  CHECK(ranks.master_address == "");
  environment["SLURM_LAUNCH_NODE_IPADDR"] = "10.0.0.7";
  CHECK(ranks_in(environment).master_address == "10.0.0.7");
  CHECK(ranks_in(environment).master_port == 16666);  // 16000 + 2 (8 41 + 5)
  for (const auto& [nodes, first] : {std::pair{"gpu[003-007,12],cpu1", "gpu003"}, std::pair{"a,b[1-2]", "a"},
                                     std::pair{"n[7]", "n7"}, std::pair{"alone", "alone"}}) {
    environment["SLURM_STEP_NODELIST"] = nodes;
    CHECK(ranks_in(environment).master_address == first);
  }
  environment.insert({{"RANK", "9"}, {"WORLD_SIZE", "16"}, {"LOCAL_RANK", "1"}});
  environment.insert({{"MASTER_ADDR", "node-1/x"}, {"MASTER_PORT", "29500"}});
  ranks = ranks_in(environment);
  CHECK(ranks.source == "torchrun");
  CHECK(ranks.rank == 9);
  CHECK(ranks.size == 16);
  CHECK(ranks.local_rank == 1);
  CHECK(ranks.master_address == "node-1/x");
  CHECK(ranks.master_port == 29500);
  CHECK(ranks.launch == "launch-41-node-1_x-29500");
  environment["TORCHELASTIC_RESTART_COUNT"] = "1";
  CHECK(ranks_in(environment).launch != ranks.launch);
  environment.erase("LOCAL_RANK");
  CHECK(ranks_in(environment).local_rank == 9);
  CHECK(ranks_in({{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}}).rank == 1);
}

TEST_CASE("ranks: an inconsistent environment is an error that names the variable") {
  struct Case {
    Environment environment;
    const char* expected;
  };
  const Case cases[] = {
      {{{"RANK", "0"}}, "RANK is set in the environment and WORLD_SIZE is not: set both, or neither for one process"},
      {{{"WORLD_SIZE", "2"}},
       "WORLD_SIZE is set in the environment and RANK is not: set both, or neither for one process"},
      {{{"RANK", "2"}, {"WORLD_SIZE", "2"}}, "RANK=2 in the environment is not below WORLD_SIZE=2"},
      {{{"RANK", "one"}, {"WORLD_SIZE", "2"}}, "RANK='one' in the environment is not a whole number"},
      {{{"RANK", "1x"}, {"WORLD_SIZE", "2"}}, "RANK='1x' in the environment is not a whole number"},
      {{{"RANK", "-1"}, {"WORLD_SIZE", "2"}}, "RANK=-1 in the environment is not in 0 to 65536"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "0"}}, "WORLD_SIZE=0 in the environment is not in 1 to 65536"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "99999999999"}},
       "WORLD_SIZE='99999999999' in the environment is not a whole number"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "2"}},
       "LOCAL_RANK=2 in the environment is not below WORLD_SIZE=2"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}},
       "MASTER_ADDR is set in the environment and MASTER_PORT is not: set both, or neither"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "1"}},
       "MASTER_PORT is set in the environment and MASTER_ADDR is not: set both, or neither"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "65536"}},
       "MASTER_PORT=65536 in the environment is not in 1 to 65534"},
      {{{"SLURM_PROCID", "3"}},
       "SLURM_PROCID is set in the environment and SLURM_NTASKS is not: set both, or neither for one process"},
      {{{"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "3"}}, "SLURM_PROCID=3 in the environment is not below SLURM_NTASKS=3"},
  };
  for (const Case& wrong : cases) CHECK(glint::test::error_of([&] { ranks_in(wrong.environment); }) == wrong.expected);
}
