// A report of runs as one HTML page that needs no network: curves, settings side by side, samples, dropout sites and
// the machine.
#pragma once

#include <string>
#include <vector>

#include "train/report/history.h"

namespace glint {

std::string report_page(const std::vector<RunHistory>& runs);

}  // namespace glint
