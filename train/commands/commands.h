// The subcommands. Each function adds its own to the program, with its flags and its callback; a callback throws what
// goes wrong (main.cpp turns it into a line and an exit code).
#pragma once

#include "train/command_line.h"

namespace glint {

void register_train(Command program);
void register_sample(Command program);
void register_eval(Command program);
void register_data(Command program);
void register_mask(Command program);
void register_bench(Command program);
void register_plan(Command program);
void register_info(Command program);

// "0.1.0"
const char* version();

}  // namespace glint
