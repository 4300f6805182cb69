// Starts the ranks of a run on this machine, one process each, and stays by them.
#pragma once

namespace glint {

// Runs this program `ranks` times with its own command line, and RANK, WORLD_SIZE, LOCAL_RANK in the environment. SIGINT and
// SIGTERM are passed on. When one fails the others have a moment to end by themselves, and are then ended. Returns the exit
// code of the one that failed first, or what all ended with.
int launch_ranks(int ranks);

}  // namespace glint
