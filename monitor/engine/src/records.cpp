// Where the rows of a record begin, and whose requests they are.
#include "records.hpp"

#include <vector>

#include "row.hpp"

namespace engine {
namespace {

// Where the rows of a routed record of the current version begin (wire/routed.py), or None for any other.
PyObject *head(PyObject *, PyObject *record) {
    return guarded([&]() -> PyObject * {
        const std::string_view content = as_bytes(record);
        try {
            Unpacker unpacker(content);
            if (unpacker.array() != 7 || unpacker.integer() != 4 || unpacker.integer() != 0) return none();
            const std::string_view origin = unpacker.skip();
            const int64_t first = unpacker.integer(), last = unpacker.integer();
            const Value resume = unpacker.next();
            if (resume.kind != Kind::boolean) return none();
            const size_t at = unpacker.at();
            const size_t rows = unpacker.array();
            return Py_BuildValue("(y#LLOnn)", origin.data(), static_cast<Py_ssize_t>(origin.size()),
                                 static_cast<long long>(first), static_cast<long long>(last),
                                 resume.number != 0 ? Py_True : Py_False, static_cast<Py_ssize_t>(at),
                                 static_cast<Py_ssize_t>(rows));
        } catch (const Malformed &) {
            return none();
        }
    });
}

// What Python must read: it compares such numbers as others.
bool is_odd(const Value &value) { return value.kind == Kind::boolean || value.kind == Kind::real; }

// (record, where its rows begin, above which offset, its append time, {realm: from when on})
PyObject *heard(PyObject *, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        const std::string_view record = as_bytes(item(arguments, 0));
        const int64_t at = as_int(item(arguments, 1)), prior = as_int(item(arguments, 2)), append_ms = as_int(item(arguments, 3));
        if (at < 0 || static_cast<size_t>(at) > record.size()) throw Malformed("rows beyond the record");
        struct Awaited {
            std::string_view realm;
            int64_t from_ms;
            PyObject *name;
        };
        std::vector<Awaited> awaited;
        PyObject *realm = nullptr, *from = nullptr;
        for (Py_ssize_t place = 0; PyDict_Next(item(arguments, 4), &place, &realm, &from) != 0;)
            awaited.push_back({as_text(realm), saturated(from), realm});
        const Ref found = Ref::checked(PyList_New(0));
        Unpacker unpacker(record.substr(static_cast<size_t>(at)));
        for (size_t left = unpacker.array(); left > 0; --left) {
            size_t columns = unpacker.array();
            Value row[REALM + 1];
            size_t column = 0;
            for (; column <= REALM && columns > 0; ++column, --columns) row[column] = unpacker.whole();
            unpacker.skip(columns);
            const Value &offset = row[OFFSET], &kind = row[KIND], &time = row[TIME];
            if (is_odd(offset) || is_odd(kind) || is_odd(time)) return none();
            // A malformed row is reported already.
            if (column <= REALM || !offset.is_int() || kind.kind != Kind::integer || !time.is_int()) continue;
            if (offset.kind == Kind::integer && offset.signed_number() <= prior) continue;
            if (kind.number != EVENT_ROW || row[AXIS].kind != Kind::text || row[AXIS].data != "principal") continue;
            const int64_t time_ms = time.kind == Kind::natural ? append_ms : std::min(time.signed_number(), append_ms);
            for (const Awaited &one : awaited) {
                if (time_ms < one.from_ms || row[REALM].kind != Kind::text || row[REALM].data != one.realm) continue;
                append(found, Ref::checked(Py_BuildValue("(OL)", one.name, static_cast<long long>(time_ms))));
            }
        }
        return Ref(found).release();
    });
}

}  // namespace

PyMethodDef record_functions[] = {{"head", head, METH_O, nullptr}, {"heard", heard, METH_VARARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

}  // namespace engine
