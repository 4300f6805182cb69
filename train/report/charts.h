// The curves of a report.
#pragma once

#include <string>
#include <vector>

#include "train/report/history.h"

namespace glint {

// Losses of training (pale) and validation of all runs: a picture of its own, as SVG. UserError if there are none yet.
std::string loss_picture(const std::vector<RunHistory>& runs);

// <figure> elements, each with its picture on a linear and on a logarithmic axis, and its data for the tooltips.
std::string figures(const std::vector<RunHistory>& runs);

}  // namespace glint
