// The rank of this process and the number of ranks, which launchers set in the environment.
#pragma once

#include <functional>
#include <string>

namespace glint {

struct Ranks {
  int rank = 0;                // [0, size)
  int size = 1;                // processes in all
  int local_rank = 0;          // index of this process on its machine
  std::string master_address;  // rank 0's machine: MASTER_ADDR, or the first node of the Slurm step; empty: unknown
  int master_port = 0;         // MASTER_PORT, or computed from the Slurm job's number; 0: unknown
  // Identifies this launch and its restart; fit for a file name.
  std::string launch = "launch";
  std::string source;  // the launcher: "torchrun", "Slurm"; empty: none, one process
};

// The value of an environment variable; null if it is not set.
using Variables = std::function<const char*(const char* name)>;

// RANK, WORLD_SIZE, LOCAL_RANK (without it: RANK), MASTER_ADDR, MASTER_PORT as torchrun sets them; otherwise
// SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, except in a batch script, which runs outside srun; otherwise one process.
// UserError names a variable that is not a number, out of range, or set without the others it needs.
Ranks ranks_from(const Variables& variables);
Ranks ranks_from_environment();

}  // namespace glint
