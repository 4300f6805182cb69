// Where a step's time goes, op by op, against the roofline (S. Williams, A. Waterman, D. Patterson, 2009).
#pragma once

#include <string>
#include <vector>

#include "src/graph.h"

namespace glint {

struct OpTime {
  std::string name;
  double ms;              // of a step
  double share;           // of the time of all ops
  double gflops, gbytes;  // a second
  double of_peak;         // the larger share of the device's peak in products or bandwidth; ops in a cache exceed 1
  double roofline_ms;     // what the peak would take: of_peak * ms
};
// Of a profile of `steps` steps; the longest first.
std::vector<OpTime> op_times(const Profile& profile, double steps, double peak_gflops, double bandwidth_gbytes);

}  // namespace glint
