// How the ranks find each other.
#pragma once

#include <gloo/rendezvous/context.h>

#include <memory>

#include "src/comm/communicator.h"
#include "src/comm/ranks.h"

namespace glint {

// Connects every rank with every other one; throws UserError that names the ranks which did not come.
std::shared_ptr<gloo::rendezvous::Context> meet(const Ranks& ranks, const GlooOptions& options);

}  // namespace glint
