// Which of how many processes this one is, as launchers tell it in the environment.
#pragma once

#include <functional>
#include <string>

namespace glint {

struct Ranks {
  int rank = 0;                // [0, size)
  int size = 1;                // processes in all
  int local_rank = 0;          // number of this process on its machine
  std::string master_address;  // MASTER_ADDR, or where srun was started; empty: not told
  int master_port = 0;         // MASTER_PORT; 0: not told
  // Names this launch and this try of it, as far as the launcher tells them apart; fit for a file's name.
  std::string launch = "launch";
  std::string source;  // whose variables told it: "torchrun", "Slurm"; empty: none, one process
};

// The value of an environment variable; null where it is not set.
using Variables = std::function<const char*(const char* name)>;

// RANK, WORLD_SIZE, LOCAL_RANK (without it: RANK), MASTER_ADDR, MASTER_PORT as torchrun sets them; otherwise
// SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, unless in a batch script itself, which srun has not started; otherwise one
// process. Throws UserError, one line that names the variable, for what is no number, out of range, or there without
// the others it needs.
Ranks ranks_from(const Variables& variables);
Ranks ranks_from_environment();

}  // namespace glint
