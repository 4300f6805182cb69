// glint mask: shows the dropout mask of one head, to compare it bit for bit with other implementations: as
// kernels/dropout.h defines it, or (--device) as the attention kernel of a device applies it.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "data/file_writer.h"
#include "kernels/check.h"
#include "src/measure/attention_mask.h"
#include "src/memory.h"
#include "train/commands/commands.h"
#include "train/head_mask.h"
#include "train/text.h"

namespace glint {

namespace {

struct MaskFlags {
  float p = 0.1f;
  uint64_t seed = 0, offset = 0, batch_index = 0;
  int64_t heads = 1, head = 0, rows = 64, cols = 64;
  MaskSource source = MaskSource::definition;
  DtypeChoice dtype = DtypeChoice::fp32;
  AttentionKind attention = AttentionKind::flash;  // of the kernels of a GPU
  std::string out;

  uint64_t sequence_head() const { return batch_index * static_cast<uint64_t>(heads) + static_cast<uint64_t>(head); }
};

void validate(const MaskFlags& flags) {
  constexpr int64_t kMostElements = int64_t{1} << 33;  // a gigabyte of packed bits
  GLINT_REQUIRE(flags.p >= 0 && flags.p < 1, "--p ", flags.p, " is not in [0, 1)");
  GLINT_REQUIRE(flags.heads > 0, "--heads ", flags.heads, ": give a number of 1 or more");
  GLINT_REQUIRE(flags.head >= 0 && flags.head < flags.heads, "--head ", flags.head, " is not in 0 .. ", flags.heads - 1,
                "; --heads says how many there are");
  GLINT_REQUIRE(flags.rows > 0, "--rows ", flags.rows, ": give a number of 1 or more");
  GLINT_REQUIRE(flags.cols > 0, "--cols ", flags.cols, ": give a number of 1 or more");
  GLINT_REQUIRE(flags.attention == AttentionKind::flash || flags.source == MaskSource::cuda,
                "--attention flash-sm80 names kernels for GPUs; add --device cuda");
  GLINT_REQUIRE(flags.rows <= kMostElements / flags.cols, "--rows ", flags.rows, " --cols ", flags.cols, " would need ",
                human_bytes(static_cast<double>(flags.rows) * static_cast<double>(flags.cols) / 8),
                " of memory; ask for at most ", kMostElements, " elements");
  constexpr int64_t kMost = 65536;
  GLINT_REQUIRE(flags.source == MaskSource::definition || (flags.rows <= kMost && flags.cols <= kMost), "--rows ",
                flags.rows, " --cols ", flags.cols, ": with --device up to ", kMost, " each");
}

HeadMask drawn(const MaskFlags& flags) {
  HeadMask mask(flags.rows, flags.cols);
  if (flags.source == MaskSource::definition) {
    mask.draw(flags.p, flags.seed, flags.offset, flags.sequence_head());
  } else {
    draw_by_kernel(device_of(flags.source), dtype_of(flags.dtype), flags.attention,
                   {flags.rows, flags.cols, flags.p, {flags.seed, flags.offset, 0, flags.sequence_head()}},
                   [&](int64_t i, int64_t j) { mask.keep(i, j); });
  }
  return mask;
}

// A binary PBM (P4): dropped elements black. Rows are padded to whole bytes, highest bit first.
void write_pbm(const HeadMask& mask, const std::string& path) {
  FileWriter file(path);
  file.append(str_cat("P4\n", mask.cols(), " ", mask.rows(), "\n"));
  std::vector<uint8_t> row(static_cast<size_t>(mask.cols() + 7) / 8);
  for (int64_t i = 0; i < mask.rows(); ++i) {
    std::fill(row.begin(), row.end(), uint8_t{0});
    for (int64_t j = 0; j < mask.cols(); ++j) {
      if (!mask.kept(i, j)) row[static_cast<size_t>(j / 8)] |= static_cast<uint8_t>(0x80 >> (j % 8));
    }
    file.append(row.data(), row.size());
  }
  file.commit();
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (!value || !*value) continue;
    const std::string locale = value;
    return locale.find("UTF-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

// The upper left part that fits the terminal: with UTF-8, half blocks show two rows per line; otherwise # means
// dropped.
std::string picture(const HeadMask& mask) {
  constexpr int64_t kLinesAround = 4;  // the other output, and the prompt
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > kLinesAround;
  const int64_t width = known ? size.ws_col : 80, height = (known ? size.ws_row : 36) - kLinesAround;
  const bool utf8 = locale_is_utf8();
  const int64_t rows = std::min(mask.rows(), utf8 ? 2 * height : height), cols = std::min(mask.cols(), width);
  static constexpr const char* kHalves[] = {" ", "▀", "▄", "█"};
  std::string result;
  if (rows < mask.rows() || cols < mask.cols()) {
    result += str_cat("the first ", rows, " rows and ", cols, " columns, dropped ones marked:\n");
  }
  for (int64_t i = 0; i < rows; i += utf8 ? 2 : 1) {
    for (int64_t j = 0; j < cols; ++j) {
      const bool below = i + 1 < rows && !mask.kept(i + 1, j);
      if (utf8) {
        result += kHalves[(mask.kept(i, j) ? 0 : 1) + (below ? 2 : 0)];
      } else {
        result += mask.kept(i, j) ? '.' : '#';
      }
    }
    result += '\n';
  }
  return result;
}

void show_mask(const MaskFlags& flags) {
  validate(flags);
  const HeadMask mask = drawn(flags);
  const int64_t elements = mask.rows() * mask.cols();
  if (!flags.out.empty()) write_pbm(mask, flags.out);
  const double percent = 100.0 * static_cast<double>(mask.count()) / static_cast<double>(elements);
  write_out(str_cat("kept ", mask.count(), " of ", elements, " (", formatted("%.2f", percent), "%)\nsha256 ",
                    mask.sha256(), "\n", flags.out.empty() ? picture(mask) : ""));
}

}  // namespace

void register_mask(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "mask", "Show the dropout mask of one attention head, bit for bit as in FlashAttention-2");
  const auto flags = std::make_shared<MaskFlags>();
  add_option(command, "--p", flags->p, "Drop probability");
  add_option(command, "--seed", flags->seed, "Philox key, 64 bits; 0x... works too");
  add_option(command, "--offset", flags->offset, "Philox offset, 64 bits");
  add_option(command, "--batch-index", flags->batch_index, "Index of the sequence in the batch");
  add_option(command, "--heads", flags->heads, "Query heads of the model");
  add_option(command, "--head", flags->head, "The head to show");
  add_option(command, "--rows", flags->rows, "Query positions");
  add_option(command, "--cols", flags->cols, "Key positions");
  add_option(command, "--device", flags->source,
             "none: the mask as defined; else what this device's attention kernel drops");
  add_option(command, "--dtype", flags->dtype, "Number format of the kernel, with --device");
  add_choice(command, "--attention", flags->attention, "Kernel, with --device cuda",
             {{"flash", AttentionKind::flash}, {"flash-sm80", AttentionKind::flash_sm80}});
  command.add_option("--out", flags->out, "Write a picture to this PBM file instead of the terminal; black: dropped")
      ->type_name("FILE");
  command.callback([flags] { show_mask(*flags); });
}

}  // namespace glint
