// Which rank of how many this process is, as launchers say in the environment.
#pragma once

#include <functional>
#include <string>

namespace glint {

struct Ranks {
  int rank = 0;                // [0, size)
  int size = 1;                // processes in all
  int local_rank = 0;          // number of this process on its machine
  std::string master_address;  // rank 0's machine: MASTER_ADDR, or the first node of the Slurm step; empty: not known
  int master_port = 0;         // MASTER_PORT, or made from the Slurm job's number; 0: not known
  // Names this launch and this try of it; fit for a file name.
  std::string launch = "launch";
  std::string source;  // whose variables were read: "torchrun", "Slurm"; empty: none, one process
};

// The value of an environment variable; null where it is not set.
using Variables = std::function<const char*(const char* name)>;

// RANK, WORLD_SIZE, LOCAL_RANK (without it: RANK), MASTER_ADDR, MASTER_PORT as torchrun sets them; otherwise
// SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, unless in a batch script, which is outside srun; otherwise one process.
// UserError names a variable that is no number, out of range, or set without the others it needs.
Ranks ranks_from(const Variables& variables);
Ranks ranks_from_environment();

}  // namespace glint
