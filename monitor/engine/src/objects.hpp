// Objects of Python from msgpack: the kinds that rows have.
#pragma once

#include "msgpack.hpp"
#include "python.hpp"

namespace engine {

// The next value as msgspec gives it: arrays are lists. Throws Malformed for a map, an extension, or what is
// deeper than rows are.
inline Ref object_of(Unpacker &unpacker, int depth = 8) {
    const Value value = unpacker.next();
    switch (value.kind) {
        case Kind::nil: return Ref::borrowed(Py_None);
        case Kind::boolean: return Ref::borrowed(value.number != 0 ? Py_True : Py_False);
        case Kind::integer: return integer(value.signed_number());
        case Kind::natural: return Ref::checked(PyLong_FromUnsignedLongLong(value.number));
        case Kind::text: return text(value.data);
        case Kind::binary: return bytes(value.data);
        case Kind::real: {
            double number = 0;
            if (value.raw.size() == 9) {
                std::memcpy(&number, &value.number, sizeof number);
            } else {
                const auto bits = static_cast<uint32_t>(value.number);
                float small = 0;
                std::memcpy(&small, &bits, sizeof small);
                number = static_cast<double>(small);
            }
            return Ref::checked(PyFloat_FromDouble(number));
        }
        case Kind::array: {
            if (depth == 0) throw Malformed("nested too deeply");
            Ref list = Ref::checked(PyList_New(static_cast<Py_ssize_t>(value.number)));
            for (uint64_t at = 0; at < value.number; ++at) {
                if (PyList_SetItem(list.get(), static_cast<Py_ssize_t>(at), object_of(unpacker, depth - 1).release()) < 0)
                    throw PythonError();
            }
            return list;
        }
        default: throw Malformed("a kind that rows do not have");
    }
}

inline Ref object_of(std::string_view packed) {
    Unpacker unpacker(packed);
    return object_of(unpacker);
}

}  // namespace engine
