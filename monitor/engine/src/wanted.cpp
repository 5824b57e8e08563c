// The Python type `Wanted`: what is said of it is in _store.pyi.
#include "wanted.hpp"

#include <string>
#include <unordered_map>

#include "evidence.hpp"

namespace engine {
namespace {

// Looks for the rows of some subjects in records of `routed`; the others are passed over.
class Wanted {
  public:
    // A sequence of (axis, name).
    explicit Wanted(PyObject *subjects) {
        for (Py_ssize_t n = 0; n < size_of(subjects); ++n) {
            PyObject *const subject = item(subjects, n);
            key_of(as_text(item(subject, 0)), as_text(item(subject, 1)));
            numbers_.emplace(key_, n);
        }
    }

    // Returns ([(number of the subject, time, plain evidence as JSON)], [rows that Python must read, packed]) of the
    // events that are evidence, of the rows of the array at `at` in a record.
    Ref rows(std::string_view record, size_t at, int64_t append_ms) {
        const Ref found = Ref::checked(PyList_New(0)), odd = Ref::checked(PyList_New(0));
        Unpacker unpacker(record.substr(at));
        for (size_t left = unpacker.array(); left > 0; --left) {
            const Unpacker row = unpacker;
            size_t columns = unpacker.array();
            // What every row has; a shorter one is no event.
            Value head[TIME];
            for (size_t column = 0; column < TIME && columns > 0; ++column, --columns) head[column] = unpacker.whole();
            unpacker.skip(columns);
            const Value &axis = head[AXIS], &name = head[SUBJECT];
            if (axis.kind != Kind::text || name.kind != Kind::text) continue;
            key_of(axis.data, name.data);
            const auto number = numbers_.find(key_);
            if (number != numbers_.end()) take(row, number->second, append_ms, found, odd);
        }
        return Ref::checked(PyTuple_Pack(2, found.get(), odd.get()));
    }

  private:
    std::unordered_map<std::string, Py_ssize_t> numbers_;
    // Reused from row to row.
    Row row_;
    std::string key_, plain_;

    void key_of(std::string_view axis, std::string_view name) {
        key_.assign(axis);
        key_.push_back('\0');
        key_.append(name);
    }

    void take(Unpacker unpacker, Py_ssize_t number, int64_t append_ms, const Ref &found, const Ref &odd) {
        row_.read(unpacker);
        const Value *const columns = row_.columns;
        try {
            if (columns[KIND].kind != Kind::integer) throw OddRow("TypeError");
            if (!row_.is_event()) return;
            if (row_.length < EVENT_LENGTH || columns[TIME].kind != Kind::integer || !columns[STATUS].is_int()) throw OddRow("TypeError");
            row_.read_patients();
            if (!is_evidence(row_)) return;
            const int64_t time_ms = std::min(columns[TIME].signed_number(), append_ms);
            write_evidence(row_, time_ms, plain_);
            append(found, Ref::checked(Py_BuildValue("(nLy#)", number, static_cast<long long>(time_ms), plain_.data(),
                                                     static_cast<Py_ssize_t>(plain_.size()))));
        } catch (const OddRow &) {
            append(odd, bytes(row_.raw));
        }
    }
};

PyObject *make(PyTypeObject *type, PyObject *arguments, PyObject *) {
    return Holder<Wanted>::make(type, [&] {
        if (size_of(arguments) != 1) throw std::invalid_argument("expected one argument");
        return std::make_unique<Wanted>(item(arguments, 0));
    });
}

// (record, where its rows begin, its append time)
PyObject *rows(PyObject *self, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        const std::string_view record = as_bytes(item(arguments, 0));
        const int64_t at = as_int(item(arguments, 1));
        if (at < 0 || static_cast<size_t>(at) > record.size()) throw Malformed("rows beyond the record");
        return Holder<Wanted>::of(self).rows(record, static_cast<size_t>(at), as_int(item(arguments, 2))).release();
    });
}

PyMethodDef methods[] = {{"rows", rows, METH_VARARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void *>(make)},
                       {Py_tp_dealloc, reinterpret_cast<void *>(Holder<Wanted>::dealloc)},
                       {Py_tp_methods, methods},
                       {0, nullptr}};

PyType_Spec spec = {"monitor.engine._store.Wanted", sizeof(Holder<Wanted>), 0, Py_TPFLAGS_DEFAULT, slots};

}  // namespace

Ref wanted_type() { return Ref::checked(PyType_FromSpec(&spec)); }

}  // namespace engine
