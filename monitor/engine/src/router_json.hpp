// Reads canonical events (docs/events.md) that are written plainly; monitor/intake/canonical.py reads all others,
// and says what is wrong with them.
#pragma once

#include <string>
#include <string_view>

#include "router_event.hpp"

namespace engine {

// A source's events: of `realm` unless they say otherwise.
struct CanonicalSource {
    std::string realm;
    bool trust_ids = false;
    size_t most_bytes = 0;
};

// Returns whether the record is one that this code reads; only then `event` is what Python would give.
bool read_canonical(std::string_view record, const CanonicalSource &source, Event &event);

// The epoch milliseconds of a time as RFC 3339, where it is written as most gateways do.
std::optional<int64_t> read_time(std::string_view text);

}  // namespace engine
