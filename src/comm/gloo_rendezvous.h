// How CPU ranks find each other.
#pragma once

#include <gloo/rendezvous/context.h>

#include <memory>

#include "src/comm/communicator.h"
#include "src/comm/ranks.h"

namespace glint {

// Connects every rank with every other one; UserError names the ranks that are missing.
std::shared_ptr<gloo::rendezvous::Context> rendezvous(const Ranks& ranks, const GlooOptions& options);

}  // namespace glint
