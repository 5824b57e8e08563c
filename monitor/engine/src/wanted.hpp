// The Python type `Wanted`, which looks for the rows of some subjects in records of `routed`.
#pragma once

#include "python.hpp"

namespace engine {

Ref wanted_type();

}  // namespace engine
