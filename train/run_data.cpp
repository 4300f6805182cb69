#include "train/run_data.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "data/file_writer.h"
#include "kernels/check.h"

namespace glint {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kCorpusSeed = 1;  // one corpus for every run, so that their losses compare

bool gives_prepared(const TrainOptions& options) {
  return options.data.size() == 1 && is_prepared(options.data.front());
}

TextPaths text_of(const TrainOptions& options) {
  TextPaths paths({options.data.begin(), options.data.end()}, {});
  if (!options.val_data.empty()) paths.validation.emplace_back(options.val_data);
  return paths;
}

// Of the text, where no tokenizer is given.
NewTokenizer new_tokenizer(const TrainOptions& options) {
  const bool named = options.tokenizer == "char" || options.tokenizer == "byte" || options.tokenizer == "bpe";
  return {named ? tokenizer_kind_named(options.tokenizer) : TokenizerKind::bpe,
          options.model.vocab > 0 ? options.model.vocab : kUsualVocabulary};
}

// Prepared folders are found by their own place or, where they have moved with the run, by the way from it.
void write_record(const RunPaths& run, const fs::path& prepared, uint64_t checksum) {
  nlohmann::ordered_json record = {{"folder", prepared.empty() ? "data" : fs::absolute(prepared).string()},
                                   {"checksum", checksum}};
  std::error_code unrelated;
  if (const fs::path way = fs::relative(prepared, run.root, unrelated); !prepared.empty() && !unrelated)
    record["from_run"] = way.string();
  write_file(run.data_record(), record.dump(2) + "\n");
}

nlohmann::json read_record(const RunPaths& run) {
  GLINT_REQUIRE(!is_untrained(run), run.root.string(), " was imported and has no data: give --data");
  std::ifstream in(run.data_record());
  const nlohmann::json record = nlohmann::json::parse(in, nullptr, false);
  const bool whole = record.is_object() && record.contains("folder") && record["folder"].is_string() &&
                     record.contains("checksum") && record["checksum"].is_number_unsigned() &&
                     (!record.contains("from_run") || record["from_run"].is_string());
  GLINT_REQUIRE(whole, run.data_record().string(),
                " is missing or damaged: it says where the tokens of this run are; start a new run");
  return record;
}

}  // namespace

Dataset create_run_data(const RunPaths& run, const TrainOptions& options) {
  const bool prepared = gives_prepared(options);
  GLINT_REQUIRE(options.val_data.empty() || (!prepared && !options.data.empty()),
                "--val-data goes with --data TEXT; a prepared folder and the built-in corpus have their own");
  const bool imported = is_untrained(run);
  const std::string from = imported ? run.root.string() : options.init_from;
  std::optional<Tokenizer> given;
  if (!from.empty()) given = Tokenizer::load(existing_run(from).tokenizer());
  else if (!prepared) given = Tokenizer::given(options.tokenizer);
  const NewTokenizer made = new_tokenizer(options);
  try {
    std::string note;
    const Tokenizer* const tokenizer = given ? &*given : nullptr;
    if (options.data.empty()) prepare_corpus(kCorpusBytes, kCorpusSeed, made, run.data(), tokenizer);
    else if (!prepared) note = prepare_text(text_of(options), made, run.data(), tokenizer);
    if (!note.empty() && !options.quiet) std::fprintf(stderr, "%s\n", note.c_str());
    Dataset dataset = Dataset::open(prepared ? fs::path(options.data.front()) : run.data());
    GLINT_REQUIRE(!prepared || !given || dataset.tokenizer() == *given, options.data.front(),
                  " was prepared with another tokenizer than that of ", from, ": prepare it with --tokenizer-from ",
                  from);
    dataset.require_context(options.model.context);
    dataset.tokenizer().save(run.tokenizer());
    write_record(run, prepared ? fs::path(options.data.front()) : fs::path(), dataset.info().checksum);
    return dataset;
  } catch (const UserError&) {  // leaves the folder empty, so that the same --out works again
    std::error_code ignored;
    fs::remove_all(run.data(), ignored);
    if (!imported) fs::remove(run.tokenizer(), ignored);
    throw;
  }
}

Dataset open_run_data(const RunPaths& run) {
  const nlohmann::json record = read_record(run);
  std::vector<fs::path> places = {run.root / record["folder"].get<std::string>()};  // an absolute path stays itself
  if (record.contains("from_run")) places.push_back(run.root / record["from_run"].get<std::string>());
  const auto found = std::find_if(places.begin(), places.end(), [](const fs::path& at) { return is_prepared(at); });
  GLINT_REQUIRE(found != places.end() || places.size() == 1, places[0].string(), " does not exist, nor does ",
                places.back().string(), ": if the tokens have moved, say where they are by --data");
  Dataset dataset = Dataset::open(found == places.end() ? places[0] : *found);
  const std::string folder = (found == places.end() ? places[0] : *found).string();
  GLINT_REQUIRE(
      dataset.info().checksum == record["checksum"].get<uint64_t>(), folder,
      " holds other tokens than this run was started with; prepare the original text again, or start a new run");
  GLINT_REQUIRE(dataset.tokenizer() == Tokenizer::load(run.tokenizer()), folder, " has another tokenizer than ",
                run.tokenizer().string());
  return dataset;
}

Dataset team_data(const RunPaths& run, const TrainOptions& options, Team& team) {
  std::optional<Dataset> data;
  const auto is_there = [&] { return std::filesystem::exists(run.data_record()); };
  team.run_collectively(team.is_main(),
                        [&] { data = is_there() ? open_run_data(run) : create_run_data(run, options); });
  team.run_collectively(!data && team.local_rank() == 0 && !is_there(), [&] { data = create_run_data(run, options); });
  GLINT_REQUIRE(data || is_there(), "rank ", team.rank(), " does not find ", run.data_record().string(),
                ", written by the first rank of its machine: give all ranks of a machine the same --out");
  return data ? std::move(*data) : open_run_data(run);
}

void adopt_run_data(const RunPaths& run, const TrainOptions& options) {
  GLINT_REQUIRE(!options.data.empty(), "--data is empty: leave it out, the run knows its data");
  const auto checksum = read_record(run)["checksum"].get<uint64_t>();
  const Tokenizer tokenizer = Tokenizer::load(run.tokenizer());
  const bool prepared = gives_prepared(options);
  const Dataset data = prepared ? Dataset::open(options.data.front()) : Dataset::encode(text_of(options), tokenizer);
  GLINT_REQUIRE(data.checksum() == checksum && data.tokenizer() == tokenizer, "--data ", options.data.front(),
                " differs from the data that this run was started with: a resumed run keeps its own");
  if (prepared) return write_record(run, options.data.front(), checksum);
  if (is_prepared(run.data())) return;
  prepare_text(text_of(options), tokenizer.kind(), run.data(), &tokenizer);
  write_record(run, {}, checksum);
}

}  // namespace glint
