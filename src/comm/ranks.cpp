#include "src/comm/ranks.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "kernels/check.h"

namespace glint {

namespace {

class Reader {
 public:
  explicit Reader(const Variables& variables) : variables_(variables) {}

  bool has(const char* name) const { return !value(name).empty(); }  // empty counts as not set
  std::string value(const char* name) const {
    const char* found = variables_(name);
    return found ? found : "";
  }
  int number(const char* name, int smallest, int largest) const {
    const std::string word = value(name);
    int number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    const bool whole = error == std::errc() && end == word.data() + word.size();
    GLINT_REQUIRE(whole, name, "='", word, "' in the environment is not a whole number");
    GLINT_REQUIRE(smallest <= number && number <= largest, name, "=", number, " in the environment is not in ",
                  smallest, " to ", largest);
    return number;
  }

 private:
  const Variables& variables_;
};

constexpr int kMaxRanks = 1 << 16;

// Rank, size and local rank, from three variables of one launcher.
void read_place(const Reader& read, Ranks& ranks, const char* rank, const char* size, const char* local) {
  GLINT_REQUIRE(read.has(size), rank, " is set in the environment and ", size,
                " is not: set both, or neither for one process");
  GLINT_REQUIRE(read.has(rank), size, " is set in the environment and ", rank,
                " is not: set both, or neither for one process");
  ranks.size = read.number(size, 1, kMaxRanks);
  ranks.rank = read.number(rank, 0, kMaxRanks);
  GLINT_REQUIRE(ranks.rank < ranks.size, rank, "=", ranks.rank, " in the environment is not below ", size, "=",
                ranks.size);
  ranks.local_rank = ranks.rank;
  if (!read.has(local)) return;
  ranks.local_rank = read.number(local, 0, kMaxRanks);
  GLINT_REQUIRE(ranks.local_rank < ranks.size, local, "=", ranks.local_rank, " in the environment is not below ", size,
                "=", ranks.size);
}

void read_master(const Reader& read, Ranks& ranks) {
  if (!read.has("MASTER_ADDR") && !read.has("MASTER_PORT")) return;
  GLINT_REQUIRE(read.has("MASTER_ADDR"),
                "MASTER_PORT is set in the environment and MASTER_ADDR is not: set both, or neither");
  GLINT_REQUIRE(read.has("MASTER_PORT"),
                "MASTER_ADDR is set in the environment and MASTER_PORT is not: set both, or neither");
  ranks.master_address = read.value("MASTER_ADDR");
  ranks.master_port = read.number("MASTER_PORT", 1, 65534);
}

// "node03" of "node[03-07,12],gpu1".
std::string first_node(const std::string& list) {
  const size_t end = list.find_first_of(",[");
  std::string node = list.substr(0, end);
  if (end == std::string::npos || list[end] == ',') return node;
  return node + list.substr(end + 1, list.find_first_of(",-]", end) - end - 1);
}

// Slurm does not choose a port: compute one from the numbers of job and step, below the ephemeral ports.
void read_slurm_master(const Reader& read, Ranks& ranks) {
  for (const char* nodes : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_LAUNCH_NODE_IPADDR"})
    if (ranks.master_address.empty()) ranks.master_address = first_node(read.value(nodes));
  const auto number = [&](const char* name) { return std::strtoul(read.value(name).c_str(), nullptr, 10); };
  ranks.master_port = static_cast<int>(16000 + 2 * ((8 * number("SLURM_JOB_ID") + number("SLURM_STEP_ID")) % 8000));
}

// An identifier of the launch, fit for a file name.
std::string launch_of(const Reader& read, std::initializer_list<const char*> names) {
  std::string launch = "launch";
  for (const char* name : names)
    if (read.has(name)) launch += "-" + read.value(name);
  std::replace_if(
      launch.begin(), launch.end(), [](unsigned char c) { return !std::isalnum(c) && !std::strchr("-_.", c); }, '_');
  return launch.substr(0, 200);
}

}  // namespace

Ranks ranks_from(const Variables& variables) {
  const Reader read(variables);
  Ranks ranks;
  // Checked first, since srun may start torchrun once per machine. LOCAL_RANK alone is ignored.
  if (read.has("RANK") || read.has("WORLD_SIZE")) {
    ranks.source = "torchrun";
    read_place(read, ranks, "RANK", "WORLD_SIZE", "LOCAL_RANK");
    read_master(read, ranks);
    ranks.launch = launch_of(
        read, {"TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "MASTER_ADDR", "MASTER_PORT"});
    return ranks;
  }
  // A batch script has SLURM_PROCID=0 and the job's SLURM_NTASKS, but runs once; only srun sets SLURM_STEP_ID.
  const bool batch_script = read.has("SLURM_JOB_ID") && !read.has("SLURM_STEP_ID");
  if ((read.has("SLURM_PROCID") || read.has("SLURM_NTASKS")) && !batch_script) {
    ranks.source = "Slurm";
    read_place(read, ranks, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID");
    read_master(read, ranks);
    if (ranks.master_address.empty()) read_slurm_master(read, ranks);
    ranks.launch = launch_of(read, {"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"});
  }
  return ranks;
}

Ranks ranks_from_environment() {
  return ranks_from([](const char* name) { return std::getenv(name); });
}

}  // namespace glint
