// One event before pseudonyms, as monitor/intake/event.py has it, and the pieces of routed rows that come of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "python.hpp"
#include "table.hpp"

namespace engine {

struct SeededHash {
    size_t operator()(std::string_view key) const { return static_cast<size_t>(hashed(key)); }
};

// A text without data is None; all of them live as long as the record that was read.
struct Event {
    int64_t time_ms = 0, status = 0;
    std::string_view realm, event_id, principal, kind, object, tenant, client_ip, method, route, gateway, category;
    std::optional<int64_t> bytes, records, number;
    std::vector<std::pair<std::string_view, std::string_view>> patients;

    void clear() {
        std::vector<std::pair<std::string_view, std::string_view>> room;
        room.swap(patients);
        *this = Event();
        room.clear();
        patients.swap(room);
    }
};

// Packed rows by routed partition, in pieces that end where a source offset does. The rows of one source offset
// count together or not at all.
class Targets {
  public:
    explicit Targets(size_t partitions) : targets_(partitions) {}

    // Where one more row of the offset at hand is to be written.
    std::string &row(int64_t partition) {
        Target &target = targets_.at(static_cast<size_t>(partition));
        if (!target.touched) {
            target.touched = true;
            target.bytes_before = target.packed.size();
            target.rows_before = target.rows;
            touched_.push_back(static_cast<size_t>(partition));
        }
        ++target.rows;
        return target.packed;
    }
    bool none() const { return touched_.empty(); }

    void keep(int64_t offset) {
        for (const size_t partition : touched_) {
            Target &target = targets_[partition];
            target.touched = false;
            if (target.rows_before > 0 && (target.packed.size() > piece_bytes || target.rows > piece_rows)) {
                const std::string_view packed(target.packed);
                finished_.push_back({partition, target.last, target.rows_before, bytes(packed.substr(0, target.bytes_before))});
                target.packed.erase(0, target.bytes_before);
                target.rows -= target.rows_before;
            }
            target.last = offset;
        }
        touched_.clear();
    }
    void drop() {
        for (const size_t partition : touched_) {
            Target &target = targets_[partition];
            target.touched = false;
            target.packed.resize(target.bytes_before);
            target.rows = target.rows_before;
        }
        touched_.clear();
    }

    // All that was kept, as a list of (partition, last offset, rows, packed rows), in order within a partition.
    Ref take() {
        drop();
        for (size_t partition = 0; partition < targets_.size(); ++partition) {
            Target &target = targets_[partition];
            if (target.rows == 0) continue;
            finished_.push_back({partition, target.last, target.rows, bytes(target.packed)});
            target.packed.clear();
            target.rows = 0;
        }
        const Ref pieces = Ref::checked(PyList_New(0));
        for (const Piece &piece : finished_) {
            const Ref one = Ref::checked(Py_BuildValue("(nLnO)", static_cast<Py_ssize_t>(piece.partition), static_cast<long long>(piece.last), static_cast<Py_ssize_t>(piece.rows), piece.packed.get()));
            if (PyList_Append(pieces.get(), one.get()) < 0) throw PythonError();
        }
        finished_.clear();
        return pieces;
    }

  private:
    // About the least that is worth a call: records of `routed` are made of whole pieces.
    static constexpr size_t piece_bytes = 64 * 1024, piece_rows = 250;
    struct Target {
        std::string packed;
        size_t rows = 0, bytes_before = 0, rows_before = 0;
        int64_t last = 0;
        bool touched = false;
    };
    struct Piece {
        size_t partition;
        int64_t last;
        size_t rows;
        Ref packed;
    };
    std::vector<Target> targets_;
    std::vector<size_t> touched_;
    std::vector<Piece> finished_;
};

}  // namespace engine
