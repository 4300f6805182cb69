// The learning rate of a step: linear warm-up, decay to --min-lr, then constant. The decay is a cosine's half (I.
// Loshchilov, F. Hutter, SGDR, 2017); a straight line; or WSD, warm-up, stable, decay (S. Hu et al., MiniCPM, 2024):
// constant up to the last --decay-part of the steps, then a straight line (as A. Hägele et al., 2024, compare).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "train/options.h"

namespace glint {

// The step at which the rate begins to fall.
inline int64_t decay_begin(const TrainOptions& options) {
  if (options.schedule != Schedule::wsd) return options.warmup;
  const double decay = std::round(options.decay_part * static_cast<double>(options.lr_decay_steps));
  return std::max(options.warmup, options.lr_decay_steps - static_cast<int64_t>(decay));
}

// step counts from 0.
inline double learning_rate(const TrainOptions& options, int64_t step) {
  if (step < options.warmup)
    return options.lr * static_cast<double>(step + 1) / static_cast<double>(options.warmup + 1);
  if (step >= options.lr_decay_steps) return options.min_lr;
  const int64_t begin = decay_begin(options);
  if (step < begin) return options.lr;
  const double progress = static_cast<double>(step - begin) / static_cast<double>(options.lr_decay_steps - begin);
  const double left =
      options.schedule == Schedule::cosine ? 0.5 * (1 + std::cos(std::numbers::pi * progress)) : 1 - progress;
  return options.min_lr + left * (options.lr - options.min_lr);
}

}  // namespace glint
