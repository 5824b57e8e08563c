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
    // `single`: rows are wanted one by one (`take_rows`), and not in pieces.
    explicit Targets(size_t partitions, bool single = false) : targets_(partitions), single_(single) {}

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
        if (single_) target.starts.push_back(target.packed.size());
        return target.packed;
    }
    bool none() const { return touched_.empty(); }

    // `stamp` is what `take_rows` tells of each row.
    void keep(int64_t offset, int64_t stamp = 0) {
        for (const size_t partition : touched_) {
            Target &target = targets_[partition];
            target.touched = false;
            if (single_) target.stamps.resize(target.rows, stamp);
            if (!single_ && target.rows_before > 0 && (target.packed.size() > piece_bytes || target.rows > piece_rows)) {
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
            if (single_) target.starts.resize(target.rows);
        }
        touched_.clear();
    }

    // The rows that were kept, as a list by partition of (stamps, packed rows).
    Ref take_rows() {
        drop();
        const Ref all = Ref::checked(PyList_New(0));
        for (Target &target : targets_) {
            const Ref stamps = Ref::checked(PyList_New(0)), rows = Ref::checked(PyList_New(0));
            target.starts.push_back(target.packed.size());
            for (size_t row = 0; row < target.rows; ++row) {
                const size_t from = target.starts[row];
                const Ref packed = bytes(std::string_view(target.packed).substr(from, target.starts[row + 1] - from));
                append(rows, packed);
                append(stamps, integer(target.stamps[row]));
            }
            append(all, Ref::checked(PyTuple_Pack(2, stamps.get(), rows.get())));
            target = Target();
        }
        return all;
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
            append(pieces, one);
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
        std::vector<size_t> starts;
        std::vector<int64_t> stamps;
    };
    struct Piece {
        size_t partition;
        int64_t last;
        size_t rows;
        Ref packed;
    };
    std::vector<Target> targets_;
    bool single_;
    std::vector<size_t> touched_;
    std::vector<Piece> finished_;
};

}  // namespace engine
