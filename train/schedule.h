// The learning rate of a step: linear warm-up, cosine decay (I. Loshchilov, F. Hutter, 2017), then constant.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "train/options.h"

namespace glint {

// step counts from 0.
inline double learning_rate(const TrainOptions& options, int64_t step) {
  if (step < options.warmup)
    return options.lr * static_cast<double>(step + 1) / static_cast<double>(options.warmup + 1);
  if (step >= options.lr_decay_steps) return options.min_lr;
  const double span = static_cast<double>(options.lr_decay_steps - options.warmup);
  const double progress = static_cast<double>(step - options.warmup) / span;
  return options.min_lr + 0.5 * (1 + std::cos(std::numbers::pi * progress)) * (options.lr - options.min_lr);
}

}  // namespace glint
