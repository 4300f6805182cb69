// The glint program on a GPU, for tests.
#pragma once

#include <algorithm>

#include "data/corpus.h"
#include "tests/train/run_program.h"

namespace glint::test {

// Sets the properties (kernels/simt/runtime.h) of the emulated device for the programs that a test starts; no effect on
// a real GPU.
struct EmulatedDevice {
  explicit EmulatedDevice(const std::string& properties) { setenv("SIMT_DEVICE", properties.c_str(), 1); }
  ~EmulatedDevice() { unsetenv("SIMT_DEVICE"); }
};

inline Ran run_on(const std::string& properties, const Arguments& arguments) {
  const EmulatedDevice device(properties);
  return run_program(arguments);
}

inline Arguments tiny_run(const ScratchFolder& folder, const std::string& name, const std::string& steps,
                          const Arguments& more = {}) {
  const Arguments all =
      join({"train", "--out", folder / name, "--data", folder / "text.txt", "--steps", steps},
           words_of("--layers 1 --heads 4 --kv-heads 2 --embd 32 --context 12 --batch 4 --micro-batch 2 --dropout 0.2 "
                    "--lr-decay-steps 20 --eval-every 10 --eval-batches 1 --log-every 2 --checkpoint-every 3"));
  // Measuring makes two runs differ; a test of it gives the flag itself.
  const bool tunes = std::find(more.begin(), more.end(), "--tune") != more.end();
  return join(tunes ? all : join(all, {"--tune", "false"}), more);
}

inline void write_text(const ScratchFolder& folder) { write_file_for_test(folder / "text.txt", corpus_text(20000, 3)); }

}  // namespace glint::test
