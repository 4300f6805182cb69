// Starts the ranks of a run on this machine, one process each, and waits for them.
#pragma once

#include <filesystem>

namespace glint {

struct Restarts {
  std::filesystem::path run;  // its folder
  int most = 0;               // times
};

// Runs this program `ranks` times with the same command line, and RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
// MASTER_PORT in the environment. SIGINT and SIGTERM are forwarded. When a rank fails the others have 5 s to end by
// themselves, and are then killed; a line names the rank that failed first, unless that is rank 0 with an error of its
// own. Then all are started again, with --resume where the run folder can be resumed, as often as `restarts`
// allows. Returns when all have ended well; else throws ExitCode, with the code of the rank that failed first.
void launch_ranks(int ranks, const Restarts& restarts = {});

}  // namespace glint
