// glint export: a run's model in the format of another program.
#include <cstdio>

#include "kernels/check.h"
#include "train/commands/commands.h"
#include "train/exchange/gguf_model.h"
#include "train/exchange/hf_model.h"
#include "train/loaded_run.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

enum class Format { hf, gguf };

struct ExportFlags : RunFlags {
  std::string out;
  Format format = Format::hf;
  GgufType dtype = GgufType::f32;
};

void export_run(const ExportFlags& flags) {
  const bool hf = flags.format == Format::hf;
  GLINT_REQUIRE(!hf || flags.dtype == GgufType::f32 || flags.dtype == GgufType::bf16,
                "--format hf is written in fp32 or bf16; fp16 and q8_0 go with --format gguf");
  std::error_code error;
  const fs::path out = flags.out;
  if (hf) require_no_folder(out, "the model");
  else GLINT_REQUIRE(!fs::exists(out, error), "there is already a ", flags.out, ": choose another --out");
  const LoadedRun run = load_run(flags, CpuContext{}, DType::f32);
  if (out.has_parent_path()) fs::create_directories(out.parent_path(), error);
  std::string note;
  if (hf) write_hf_model(out, run, flags.dtype == GgufType::bf16 ? DType::bf16 : DType::f32);
  else note = write_gguf(out, run, flags.dtype);
  if (!note.empty()) std::fprintf(stderr, "%s\n", note.c_str());
  std::printf("%s: step %llu of %s\n", flags.out.c_str(), static_cast<unsigned long long>(run.state.step),
              flags.run.c_str());
}

}  // namespace

void register_export(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("export", "Write a trained model for transformers or llama.cpp");
  const auto flags = std::make_shared<ExportFlags>();
  add_run_flags(command, *flags);
  command.add_option("--out", flags->out, "The folder (hf) or file (gguf) to write")->required()->type_name("PATH");
  add_choice(command, "--format", flags->format, "Of Hugging Face's transformers, or of llama.cpp",
             {{"hf", Format::hf}, {"gguf", Format::gguf}});
  add_choice(command, "--dtype", flags->dtype, "Number format of matrices; fp16 and q8_0 of gguf only",
             {{"fp32", GgufType::f32}, {"bf16", GgufType::bf16}, {"fp16", GgufType::f16}, {"q8_0", GgufType::q8_0}});
  command.callback([flags] { export_run(*flags); });
}

}  // namespace glint
