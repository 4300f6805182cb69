// glint bench: how fast the kernels and a whole step are on this machine.
#include "train/commands/bench.h"

#include "train/commands/commands.h"

namespace glint {

void register_bench(CLI::App& program) {
  CLI::App* command = program.add_subcommand("bench", "Time attention, matrix products or a whole training step");
  command->require_subcommand(1);
  register_bench_attention(*command);
  register_bench_matmul(*command);
  register_bench_step(*command);
}

}  // namespace glint
