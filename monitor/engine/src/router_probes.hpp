// What tests ask of single parts.
#pragma once

#include <memory>

#include "blake2b.hpp"
#include "conditions.hpp"
#include "router_json.hpp"

namespace engine {

// (spec, packed rows) -> (what Python's conditions said of each, the number of that)
inline PyObject *probe_conditions(PyObject *, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        Conditions conditions(item(arguments, 0));
        PyObject *const rows = item(arguments, 1);
        const Ref masks = Ref::checked(PyList_New(0)), ids = Ref::checked(PyList_New(0));
        for (Py_ssize_t at = 0; at < size_of(rows); ++at) {
            Unpacker unpacker(as_bytes(item(rows, at)));
            Columns columns;
            if (unpacker.array() < columns.size()) throw Malformed("too few columns");
            for (std::string_view &column : columns) column = unpacker.skip();
            const size_t id = conditions.id(columns);
            if (PyList_Append(masks.get(), conditions.mask(id)) < 0) throw PythonError();
            append(ids, integer(static_cast<int64_t>(id)));
        }
        return PyTuple_Pack(2, masks.get(), ids.get());
    });
}

// (message, key, person, size) -> digest
inline PyObject *probe_blake2b(PyObject *, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        const auto size = static_cast<size_t>(as_int(item(arguments, 3)));
        if (size < 1 || size > 64) throw std::invalid_argument("a digest has 1 to 64 bytes");
        uint8_t digest[64];
        Blake2b(size, as_bytes(item(arguments, 1)), as_bytes(item(arguments, 2))).digest(as_bytes(item(arguments, 0)), digest);
        return bytes({reinterpret_cast<const char *>(digest), size}).release();
    });
}

// text -> epoch milliseconds, or None where Python is to read it
inline PyObject *probe_time(PyObject *, PyObject *written) {
    return guarded([&]() -> PyObject * {
        const std::optional<int64_t> time = read_time(as_text(written));
        return time ? integer(*time).release() : Ref::borrowed(Py_None).release();
    });
}

// (record, realm, trust ids, most bytes) -> the fields of the event in the order of monitor/intake/event.py, or None
// where Python is to read it
inline PyObject *probe_canonical(PyObject *, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        const CanonicalSource source{std::string(as_text(item(arguments, 1))), as_bool(item(arguments, 2)), static_cast<size_t>(as_int(item(arguments, 3)))};
        // A copy of just this size: whoever watches memory notices a read beyond it.
        const std::string_view given = as_bytes(item(arguments, 0));
        const std::unique_ptr<char[]> copy(new char[given.size()]);
        std::memcpy(copy.get(), given.data(), given.size());
        Event event;
        if (!read_canonical({copy.get(), given.size()}, source, event)) return Ref::borrowed(Py_None).release();
        const Ref fields = Ref::checked(PyList_New(0)), patients = Ref::checked(PyList_New(0));
        const auto add = [&](const Ref &value) {
            append(fields, value);
        };
        const auto text_of = [](std::string_view value) { return value.data() == nullptr ? Ref::borrowed(Py_None) : text(value); };
        const auto number_of = [](std::optional<int64_t> value) { return value ? integer(*value) : Ref::borrowed(Py_None); };
        for (const auto &[patient, tenant] : event.patients) {
            const Ref pair = Ref::checked(PyTuple_Pack(2, text_of(patient).get(), text_of(tenant).get()));
            append(patients, pair);
        }
        add(integer(event.time_ms)), add(text_of(event.realm)), add(integer(event.status)), add(text_of(event.event_id));
        add(text_of(event.principal)), add(text_of(event.kind)), add(text_of(event.object));
        add(Ref::checked(PyList_AsTuple(patients.get())));
        add(text_of(event.tenant)), add(text_of(event.client_ip)), add(text_of(event.method)), add(text_of(event.route));
        add(number_of(event.bytes)), add(number_of(event.records)), add(text_of(event.gateway)), add(text_of(event.category));
        add(number_of(event.number));
        return Ref(fields).release();
    });
}

}  // namespace engine
