// TensorBoard's event files in a run's folder: the numbers of metrics.jsonl as scalars under the same names, samples as
// text, and the options as hyperparameters.
//
// The format is TensorFlow's: records of TFRecord, each an Event message of protobuf. Numbers of fields are from
// tensorboard/compat/proto/{event,summary,tensor,tensor_shape}.proto and tensorboard/plugins/hparams/plugin_data.proto.
#pragma once

#include <filesystem>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "data/descriptor.h"
#include "train/metrics.h"

namespace glint {

class TensorBoard {
 public:
  // Begins a file with the lines that metrics.jsonl has so far. It takes the place of those of the folder, which are
  // emptied, and tells a TensorBoard that has read them to forget all of their points.
  TensorBoard(const std::filesystem::path& folder, const std::filesystem::path& metrics,
              const nlohmann::ordered_json& options);
  void add(const MetricsLine& line);

 private:
  void write(std::string_view event);

  std::filesystem::path path_;
  Descriptor file_;
};

}  // namespace glint
