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

// The time of a log as it is read: the latest of its events up to a record, but for what is later than any clock
// that is right (monitor/trial/reading.py).
struct LogTime {
    PyObject *taken;  // a list of when Kafka took each record, or None: then the events' own times count
    int64_t latest_ms, first_ms, reached_ms, never;
    int64_t events = 0, anonymous = 0, ahead = 0;

    void pass(int64_t at_ms) {
        if (at_ms <= reached_ms) return;
        if (at_ms > latest_ms) {
            ++ahead;
            return;
        }
        reached_ms = at_ms;
        if (first_ms == never) first_ms = at_ms;
    }
};

// What is told of them.
class Told {
  public:
    int64_t routed = 0, unrouted = 0, repeated = 0, newest_ms = 0, sample = -1;
    Ref numbers = Ref::checked(PyList_New(0));
};

// With `log`, rows are stamped with its time.
void take_batch(Router &router, Targets &targets, const Batch &batch, Told &told, LogTime *log = nullptr);

// Reads an event of Python's; false where it has what this code does not know. `event` lives as long as `held`.
bool read_event(PyObject *object, Event &event, std::vector<Ref> &held);

}  // namespace engine
