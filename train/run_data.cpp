#include "train/run_data.h"

#include <fstream>

#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "kernels/check.h"
#include "train/checkpoint/durable.h"

namespace glint {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kCorpusSeed = 1;  // one corpus for every run, so that their losses compare

}  // namespace

Dataset create_run_data(const RunPaths& run, const TrainOptions& options) {
  const bool prepared = !options.data.empty() && is_prepared(options.data);
  try {
    if (options.data.empty()) prepare_corpus(kCorpusBytes, kCorpusSeed, options.tokenizer, run.data());
    else if (!prepared) prepare_text(options.data, options.tokenizer, run.data());
    Dataset dataset = Dataset::open(prepared ? fs::path(options.data) : run.data());
    dataset.require_context(options.model.context);
    dataset.tokenizer().save(run.tokenizer());
    const nlohmann::ordered_json record = {{"folder", prepared ? fs::absolute(options.data).string() : "data"},
                                           {"checksum", dataset.info().checksum}};
    write_file_durably(run.data_record(), record.dump(2) + "\n");
    return dataset;
  } catch (const UserError&) {  // leaves the folder empty, so that the same --out works again
    std::error_code ignored;
    fs::remove_all(run.data(), ignored);
    fs::remove(run.tokenizer(), ignored);
    throw;
  }
}

Dataset open_run_data(const RunPaths& run) {
  std::ifstream in(run.data_record());
  const nlohmann::json record = nlohmann::json::parse(in, nullptr, false);
  const bool whole = record.is_object() && record.contains("folder") && record["folder"].is_string() &&
                     record.contains("checksum") && record["checksum"].is_number_unsigned();
  GLINT_REQUIRE(whole, run.data_record().string(),
                " is missing or damaged: it says where the tokens of this run are; start a new run");
  const fs::path folder = run.root / record["folder"].get<std::string>();  // an absolute path stays itself
  Dataset dataset = Dataset::open(folder);
  GLINT_REQUIRE(
      dataset.info().checksum == record["checksum"].get<uint64_t>(), folder.string(),
      " holds other tokens than this run was started with; prepare the original text again, or start a new run");
  GLINT_REQUIRE(dataset.tokenizer() == Tokenizer::load(run.tokenizer()), folder.string(),
                " has another tokenizer than ", run.tokenizer().string());
  return dataset;
}

}  // namespace glint
