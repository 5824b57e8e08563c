// From the records of a source to pieces of packed rows: what is plain here, all else by Python.
#pragma once

#include "router_json.hpp"
#include "router_repeats.hpp"
#include "router_rows.hpp"

namespace engine {

// Some records in a row, and who knows what to do with those that are not plain.
struct Batch {
    PyObject *values, *offsets;  // lists
    // Numbers of records that Python decodes whatever they hold.
    PyObject *careful;
    // number -> a sequence of events, or None where the record is refused
    PyObject *read;
    // (number, events) -> a list of (partition, packed row), or None where the record is refused
    PyObject *route;
    const CanonicalSource *canonical;  // or nullptr
    Repeats *repeats;                  // or nullptr
};

// What is told of them.
class Told {
  public:
    int64_t routed = 0, unrouted = 0, repeated = 0, newest_ms = 0, sample = -1;
    Ref numbers = Ref::checked(PyList_New(0));
};

void take_batch(Router &router, Targets &targets, const Batch &batch, Told &told);

// Reads an event of Python's; false where it has what this code does not know. `event` lives as long as `held`.
bool read_event(PyObject *object, Event &event, std::vector<Ref> &held);

}  // namespace engine
