// The subcommands. Each function adds its own to the program, with its flags and its callback; a callback throws what
// goes wrong (main.cpp turns it into a line and an exit code).
#pragma once

namespace CLI {
class App;
}

namespace glint {

void register_train(CLI::App& program);
void register_sample(CLI::App& program);
void register_eval(CLI::App& program);
void register_data(CLI::App& program);
void register_mask(CLI::App& program);
void register_bench(CLI::App& program);
void register_info(CLI::App& program);

// "0.1.0"
const char* version();

}  // namespace glint
