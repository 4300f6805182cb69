// Training steps of a new model on random tokens: for benchmarks and studies.
#pragma once

#include <memory>

#include "train/training_step.h"

namespace glint {

class RandomStep {
 public:
  // Completes the options; UserError where they do not fit together.
  RandomStep(TrainOptions options, const Device& device, DType dtype, Team& team);
  RandomStep(const RandomStep&) = delete;
  RandomStep& operator=(const RandomStep&) = delete;

  Model& model() { return *model_; }
  TrainingStep& step() { return *step_; }
  const TrainOptions& options() const { return options_; }
  const FillBatch& fill() const { return fill_; }
  void run() { step_->run(fill_, 1e-4); }

 private:
  TrainOptions options_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<TrainingStep> step_;
  FillBatch fill_;
};

}  // namespace glint
