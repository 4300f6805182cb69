// The subcommands. Each function adds one to the program, with its flags and a callback. Errors are thrown; main.cpp
// turns them into a message and an exit code.
#pragma once

#include "train/command_line.h"

namespace glint {

void register_train(CLI::App& program);
void register_sample(CLI::App& program);
void register_eval(CLI::App& program);
void register_import(CLI::App& program);
void register_export(CLI::App& program);
void register_data(CLI::App& program);
void register_mask(CLI::App& program);
void register_bench(CLI::App& program);
void register_plan(CLI::App& program);
void register_study(CLI::App& program);
void register_info(CLI::App& program);
void register_report(CLI::App& program);

// "0.1.0"
const char* version();

}  // namespace glint
