// One row of `routed` as it is read (monitor/core/events.py names the columns).
#pragma once

#include <string_view>
#include <vector>

#include "conditions.hpp"
#include "msgpack.hpp"

namespace engine {

constexpr size_t OFFSET = 0, KIND = 1, AXIS = 2, SUBJECT = 3, TIME = 4, EVENT_ID = 5, REALM = 6, PATIENTS = 10, TENANT = 11,
                 ROUTE = 14, STATUS = 15, CATEGORY = 20, EVENT_LENGTH = 21;
constexpr int64_t EVENT_ROW = 0;

struct Patient {
    Value patient;
    Value tenant;
};

// What Python would raise for a row of another form, by its name.
class OddRow : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

class Row {
  public:
    // The columns of every event; of those that hold parts, `raw` is all of it.
    Value columns[EVENT_LENGTH];
    Columns packed;
    // All columns, also those beyond.
    size_t length = 0;
    std::string_view raw;
    std::vector<Patient> patients;

    void read(Unpacker &unpacker) {
        const size_t from = unpacker.at();
        length = unpacker.array();
        for (size_t column = 0; column < length; ++column) {
            const Value value = unpacker.whole();
            if (column < EVENT_LENGTH) {
                columns[column] = value;
                packed[column] = value.raw;
            }
        }
        raw = unpacker.since(from);
    }

    bool is_event() const { return length > KIND && columns[KIND].kind == Kind::integer && columns[KIND].number == 0; }

    // Reads the pairs of patients; throws OddRow.
    void read_patients() {
        patients.clear();
        const Value &column = columns[PATIENTS];
        if (column.kind == Kind::nil) return;
        if (column.kind != Kind::array) throw OddRow("TypeError");
        Unpacker unpacker(column.raw);
        for (size_t left = unpacker.array(); left > 0; --left) {
            const Value pair = unpacker.next();
            if (pair.kind != Kind::array) throw OddRow("TypeError");
            if (pair.number != 2) throw OddRow("ValueError");
            const Value patient = unpacker.whole(), tenant = unpacker.whole();
            patients.push_back({patient, tenant});
        }
    }
};

}  // namespace engine
