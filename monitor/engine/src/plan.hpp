// A rule set made ready (monitor/core/plan.py): read once from the plan of Python.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "conditions.hpp"
#include "python.hpp"
#include "windows.hpp"

namespace engine {

// Texts that recur (what is counted, latches), as small numbers. Only rules bring new ones.
class Names {
  public:
    uint32_t number(std::string_view text) {
        const auto found = numbers_.find(std::string(text));
        if (found != numbers_.end()) return found->second;
        const auto number = static_cast<uint32_t>(texts_.size());
        texts_.emplace_back(text);
        numbers_.emplace(texts_.back(), number);
        return number;
    }
    const std::string &text(uint32_t number) const { return texts_[number]; }

  private:
    std::vector<std::string> texts_;
    std::unordered_map<std::string, uint32_t> numbers_;
};

struct PlannedRule {
    int64_t threshold;
    uint32_t latch;
    // monitor.core.plan.PlannedRule
    Ref planned;
};

struct Span {
    int64_t timespan_ms;
    int64_t capacity;
    std::vector<PlannedRule> rules;
    // The highest value that snapshots saw since it was last asked.
    mutable int64_t nearest = 0;
};

struct Counter {
    uint32_t key;
    Counts kind;
    int64_t born;
    int64_t least;
    int64_t capacity;
    int64_t shortest_ms;
    int64_t longest_ms;
    int64_t horizon_ms;
    int64_t keep_ms;
    int64_t floor_ms;
    std::vector<Span> spans;

    // How much the main window (timespan 0) or a straggler holds; 0 where none is used.
    int64_t capacity_of(int64_t timespan_ms) const {
        if (timespan_ms == 0) return capacity;
        int64_t most = 0;
        for (const Span &span : spans)
            if (span.timespan_ms == timespan_ms) most = std::max(most, span.capacity);
        return most;
    }
};

// How a row moves a counter (monitor/core/readers.py).
enum class How : uint8_t { once, patients, tenants, column, amount, python };

struct Reading {
    size_t counter;
    How how;
    size_t column = 0;
    // Whether the column holds pseudonyms.
    bool pseudonyms = false;
    Ref reader;
};

struct AxisPlan {
    std::string name;
    bool is_principal;
    int64_t horizon_ms;
    int64_t keep_ms;
    Conditions conditions;
    // monitor.core.plan.AxisPlan
    Ref axis_plan;
    // By the number of what a row meets.
    std::vector<std::vector<Reading>> readings;
    std::vector<bool> known;
};

class Plan {
  public:
    int64_t version = -1;
    std::vector<Counter> counters;
    std::vector<AxisPlan> axes;
    // Of a latch's number, whether it is in use.
    std::vector<bool> latches;

    Plan() = default;

    // Reads (version, counters, axes) as monitor/engine/plans.py writes it.
    Plan(PyObject *spec, Names &names) {
        version = as_int(item(spec, 0));
        PyObject *all = item(spec, 1);
        for (Py_ssize_t n = 0; n < size_of(all); ++n) counters.push_back(counter(item(all, n), names));
        all = item(spec, 2);
        for (Py_ssize_t n = 0; n < size_of(all); ++n) {
            PyObject *one = item(all, n);
            const std::string name(as_text(item(one, 0)));
            axes.push_back({name, name == "principal", as_int(item(one, 1)), as_int(item(one, 2)),
                            Conditions(item(one, 3)), Ref::borrowed(item(one, 4)), {}, {}});
        }
        for (size_t n = 0; n < counters.size(); ++n) by_key_[counters[n].key] = n;
    }

    AxisPlan *axis(std::string_view name) {
        for (AxisPlan &axis : axes)
            if (axis.name == name) return &axis;
        return nullptr;
    }
    const Counter *counter_of(uint32_t key) const {
        const auto found = by_key_.find(key);
        return found == by_key_.end() ? nullptr : &counters[found->second];
    }
    bool uses(uint32_t latch) const { return latch < latches.size() && latches[latch]; }

    // What a row moves that meets `mask`, in the order of the rule set.
    const std::vector<Reading> &readings(AxisPlan &axis, size_t number, Names &names) {
        if (number >= axis.known.size()) {
            axis.known.resize(number + 1);
            axis.readings.resize(number + 1);
        }
        if (!axis.known[number]) {
            const Ref found = Ref::checked(
                PyObject_CallMethod(axis.axis_plan.get(), "readings", "O", axis.conditions.mask(number)));
            for (Py_ssize_t n = 0; n < size_of(found.get()); ++n)
                axis.readings[number].push_back(reading(item(found.get(), n), names));
            axis.known[number] = true;
        }
        return axis.readings[number];
    }

  private:
    std::unordered_map<uint32_t, size_t> by_key_;

    Counter counter(PyObject *spec, Names &names) {
        Counter counter{names.number(as_text(item(spec, 0))),
                        static_cast<Counts>(as_int(item(spec, 1))),
                        as_int(item(spec, 2)),
                        as_int(item(spec, 3)),
                        as_int(item(spec, 4)),
                        as_int(item(spec, 5)),
                        as_int(item(spec, 6)),
                        as_int(item(spec, 7)),
                        as_int(item(spec, 8)),
                        as_int(item(spec, 9)),
                        {}};
        PyObject *spans = item(spec, 10);
        for (Py_ssize_t n = 0; n < size_of(spans); ++n) {
            PyObject *one = item(spans, n);
            Span span{as_int(item(one, 0)), as_int(item(one, 1)), {}};
            PyObject *rules = item(one, 2);
            for (Py_ssize_t m = 0; m < size_of(rules); ++m) {
                PyObject *rule = item(rules, m);
                const uint32_t latch = names.number(as_text(item(rule, 1)));
                if (latch >= latches.size()) latches.resize(latch + 1);
                latches[latch] = true;
                span.rules.push_back({as_int(item(rule, 0)), latch, Ref::borrowed(item(rule, 2))});
            }
            counter.spans.push_back(std::move(span));
        }
        return counter;
    }

    // (counter's key, how, column, whether it holds pseudonyms, reader)
    Reading reading(PyObject *spec, Names &names) {
        Reading reading;
        reading.counter = by_key_.at(names.number(as_text(item(spec, 0))));
        reading.how = static_cast<How>(as_int(item(spec, 1)));
        reading.column = static_cast<size_t>(as_int(item(spec, 2)));
        reading.pseudonyms = as_bool(item(spec, 3));
        reading.reader = Ref::borrowed(item(spec, 4));
        return reading;
    }
};

}  // namespace engine
