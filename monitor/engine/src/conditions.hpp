// Which conditions a row meets, remembered by the values that decide it (monitor/core/leaves.py says which).
//
// Nothing is judged here but whether a value is there and how numbers compare: all else is asked of the Python
// code, once for each different value, so that there is one meaning of a condition.
#pragma once

#include <array>
#include <vector>

#include "msgpack.hpp"
#include "objects.hpp"
#include "python.hpp"
#include "table.hpp"

namespace engine {

// The columns of a row as they are packed, one after the other as in monitor/core/events.py (EVENT_LENGTH); an
// array with its parts. An empty one is read as None.
using Columns = std::array<std::string_view, 21>;

class Conditions {
  public:
    // `spec` is what `monitor.core.leaves.describe` returns. It is held without the garbage collector's knowledge.
    explicit Conditions(PyObject *spec) : direct_(Ref::borrowed(item(spec, 0))) {
        PyObject *const leaves = item(spec, 1);
        for (Py_ssize_t at = 0; at < size_of(leaves); ++at) {
            PyObject *const leaf = item(leaves, at);
            const std::string_view kind = as_text(item(leaf, 0));
            const auto column = static_cast<size_t>(as_int(item(leaf, 1)));
            if (column >= Columns().size()) throw std::invalid_argument("a leaf of no column");
            if (kind == "value") values_.push_back(column);
            else bits_.emplace_back(kind, column, leaf);
        }
    }

    // A small number for the set of conditions that a row meets: equal sets have equal numbers, from 0 on.
    size_t id(const Columns &columns) {
        std::string key;
        key.swap(key_);
        key.clear();
        const bool sure = describe(columns, key);
        const uint64_t hash = sure ? hashed(key) : 0;
        const size_t *known = sure ? remembered_.find(key, hash) : nullptr;
        size_t found;
        if (known != nullptr) {
            found = *known;
        } else {
            found = ask(columns);
            // It may be there by now: Python may have let another thread run.
            if (sure && remembered_.find(key, hash) == nullptr) remembered_.put(key, hash, found);
        }
        key.swap(key_);
        return found;
    }

    // What the compiled conditions returned for rows of this number: bit n for condition n. Borrowed.
    PyObject *mask(size_t id) const { return masks_[id].value.get(); }
    bool any(size_t id) const { return masks_[id].any; }
    size_t count() const { return masks_.size(); }

  private:
    static constexpr size_t remembered_keys = 4096, remembered_bytes = size_t{1} << 20;
    static constexpr size_t answers = 16384, answers_bytes = size_t{1} << 20;
    static constexpr size_t patients = 10, tenant = 11;
    enum class Answer : uint8_t { no, yes, unsure };

    struct Bit {
        enum class What : uint8_t { exists, patient_exists, tenant_exists, compares, tests, patient_tests, tenant_tests };
        enum class How : uint8_t { eq, gt, gte, lt, lte };
        What what;
        size_t column;
        How how = How::eq;
        int64_t number = 0;
        Ref test;
        // What the test said of values.
        Table<bool> said{answers, answers_bytes};

        Bit(std::string_view kind, size_t of, PyObject *leaf) : what(What::exists), column(of) {
            if (kind == "exists") {
                if (of == patients) what = What::patient_exists;
                if (of == tenant) what = What::tenant_exists;
            } else if (kind == "number") {
                what = What::compares;
                const std::string_view name = as_text(item(leaf, 2));
                if (name == "gt") how = How::gt;
                else if (name == "gte") how = How::gte;
                else if (name == "lt") how = How::lt;
                else if (name == "lte") how = How::lte;
                else if (name != "eq") throw std::invalid_argument("an unknown comparison");
                number = as_int(item(leaf, 3));
            } else if (kind == "test") {
                what = of == patients ? What::patient_tests : of == tenant ? What::tenant_tests : What::tests;
                test = Ref::borrowed(item(leaf, 2));
            } else {
                throw std::invalid_argument("an unknown kind of leaf");
            }
        }
    };
    struct Mask {
        Ref value;
        bool any;
    };

    Ref direct_;
    std::vector<size_t> values_;
    std::vector<Bit> bits_;
    Table<size_t> remembered_{remembered_keys, remembered_bytes};
    std::vector<Mask> masks_;
    // Kept for its room only.
    std::string key_;

    static bool present(std::string_view packed) { return !packed.empty() && packed[0] != static_cast<char>(0xc0); }

    // Writes the values that decide all conditions; false where this code cannot tell.
    bool describe(const Columns &columns, std::string &key) {
        for (const size_t column : values_) {
            if (columns[column].empty()) key.push_back(static_cast<char>(0xc0));
            else key.append(columns[column]);
        }
        // A byte for each: there are few.
        for (Bit &bit : bits_) {
            const Answer answer = answered(bit, columns);
            if (answer == Answer::unsure) return false;
            key.push_back(static_cast<char>(answer));
        }
        return true;
    }

    Answer answered(Bit &bit, const Columns &columns) {
        const std::string_view packed = columns[bit.column];
        switch (bit.what) {
            case Bit::What::exists: return said_of(present(packed));
            case Bit::What::compares: return compared(bit, packed);
            case Bit::What::tests: return present(packed) ? tested(bit, packed) : Answer::no;
            case Bit::What::tenant_exists:
                if (present(packed)) return Answer::yes;
                return of_patients(columns[patients], 1, nullptr);
            case Bit::What::patient_exists: return of_patients(columns[patients], 0, nullptr);
            case Bit::What::patient_tests: return of_patients(columns[patients], 0, &bit);
            case Bit::What::tenant_tests:
                if (present(packed) && tested(bit, packed) == Answer::yes) return Answer::yes;
                return of_patients(columns[patients], 1, &bit);
        }
        return Answer::unsure;
    }

    static Answer said_of(bool truth) { return truth ? Answer::yes : Answer::no; }

    static Answer compared(const Bit &bit, std::string_view packed) {
        if (!present(packed)) return Answer::no;
        const Value value = Unpacker(packed).next();
        if (value.kind == Kind::natural) return Answer::unsure;
        if (value.kind != Kind::integer) return Answer::no;
        const int64_t number = value.signed_number();
        switch (bit.how) {
            case Bit::How::eq: return said_of(number == bit.number);
            case Bit::How::gt: return said_of(number > bit.number);
            case Bit::How::gte: return said_of(number >= bit.number);
            case Bit::How::lt: return said_of(number < bit.number);
            case Bit::How::lte: return said_of(number <= bit.number);
        }
        return Answer::unsure;
    }

    // Whether any pair of (patient, tenant) has a value at `place` that passes the test, or has one at all.
    Answer of_patients(std::string_view packed, size_t place, Bit *bit) {
        if (!present(packed)) return Answer::no;
        Unpacker unpacker(packed);
        const Value list = unpacker.next();
        if (list.kind != Kind::array) return Answer::unsure;
        for (uint64_t left = list.number; left > 0; --left) {
            const Value pair = unpacker.next();
            if (pair.kind != Kind::array || pair.number != 2) return Answer::unsure;
            const std::string_view both[2] = {unpacker.skip(), unpacker.skip()};
            if (present(both[place]) && (bit == nullptr || tested(*bit, both[place]) == Answer::yes)) return Answer::yes;
        }
        return Answer::no;
    }

    static Answer tested(Bit &bit, std::string_view packed) {
        const uint64_t hash = hashed(packed);
        if (const bool *known = bit.said.find(packed, hash)) return said_of(*known);
        const Ref value = object_of(packed);
        const bool truth = as_bool(Ref::checked(PyObject_CallFunctionObjArgs(bit.test.get(), value.get(), nullptr)).get());
        if (bit.said.find(packed, hash) == nullptr) bit.said.put(packed, hash, truth);
        return said_of(truth);
    }

    size_t ask(const Columns &columns) {
        const Ref row = Ref::checked(PyTuple_New(static_cast<Py_ssize_t>(columns.size())));
        for (size_t at = 0; at < columns.size(); ++at) {
            Ref value = columns[at].empty() ? Ref::borrowed(Py_None) : object_of(columns[at]);
            if (PyTuple_SetItem(row.get(), static_cast<Py_ssize_t>(at), value.release()) < 0) throw PythonError();
        }
        Ref mask = Ref::checked(PyObject_CallFunctionObjArgs(direct_.get(), row.get(), nullptr));
        const bool any = as_bool(mask.get());
        for (size_t id = 0; id < masks_.size(); ++id) {
            const int same = PyObject_RichCompareBool(masks_[id].value.get(), mask.get(), Py_EQ);
            if (same < 0) throw PythonError();
            if (same > 0) return id;
        }
        masks_.push_back(Mask{std::move(mask), any});
        return masks_.size() - 1;
    }
};

}  // namespace engine
