// What is asked of records of `routed` without judging their rows; what is said of each is in _store.pyi.
#pragma once

#include "python.hpp"

namespace engine {

extern PyMethodDef record_functions[];

}  // namespace engine
