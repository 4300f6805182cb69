// glint report: the curves and settings of runs, as one HTML page or as a picture of their losses.
#include "train/report/report.h"

#include <filesystem>

#include "data/file_writer.h"
#include "kernels/check.h"
#include "train/commands/commands.h"

namespace glint {

namespace {

struct ReportFlags {
  std::vector<std::string> runs;
  std::string out, svg;
};

void report(const ReportFlags& flags) {
  GLINT_REQUIRE(!flags.out.empty() || !flags.svg.empty(), "give --out FILE.html, or --svg FILE.svg");
  GLINT_REQUIRE(flags.out != flags.svg, "--out and --svg are the same file: give two");
  const std::vector<RunHistory> runs = read_histories({flags.runs.begin(), flags.runs.end()});
  const auto write = [](const std::string& path, const std::string& content) {
    if (std::filesystem::is_regular_file(path)) {  // only another report is written over
      const auto before = read_file(path);
      GLINT_REQUIRE(!before || before->starts_with(content.substr(0, 5)), path,
                    " exists, and is not what report writes: give another name");
    }
    write_file(path, content);
    write_out("written: " + path + "\n");
  };
  if (!flags.out.empty()) write(flags.out, report_page(runs));
  if (!flags.svg.empty()) write(flags.svg, loss_picture(runs));
}

}  // namespace

void register_report(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("report", "Draw the curves of runs, beside their settings and samples");
  const auto flags = std::make_shared<ReportFlags>();
  command.add_option("RUN", flags->runs, "Run folders")->required();
  command.add_option("--out", flags->out, "HTML page to write, which needs no other file")->type_name("FILE");
  command.add_option("--svg", flags->svg, "Picture of the losses alone")->type_name("FILE");
  command.callback([flags] { report(*flags); });
}

}  // namespace glint
