// What tests ask of single parts.
#pragma once

#include "blake2b.hpp"
#include "conditions.hpp"

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
            if (PyList_Append(ids.get(), integer(static_cast<int64_t>(id)).get()) < 0) throw PythonError();
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

}  // namespace engine
