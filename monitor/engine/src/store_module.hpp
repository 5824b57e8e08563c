// What the methods of the Python type `Store` share; those of recovery are in recovering.cpp.
#pragma once

#include "store.hpp"

namespace engine {

inline Store &store_of(PyObject *self) { return Holder<Store>::of(self); }

inline void parse(PyObject *arguments, const char *format, ...) {
    va_list into;
    va_start(into, format);
    const int done = PyArg_VaParse(arguments, format, into);
    va_end(into);
    if (done == 0) throw PythonError();
}

// A subject's name, as arguments of the format `s#s#`.
struct Name {
    const char *axis = nullptr;
    Py_ssize_t axis_size = 0;
    const char *name = nullptr;
    Py_ssize_t name_size = 0;

    std::string_view of_axis() const { return {axis, static_cast<size_t>(axis_size)}; }
    std::string_view of_name() const { return {name, static_cast<size_t>(name_size)}; }
};

PyObject *recover_records(PyObject *self, PyObject *records);
PyObject *give_back(PyObject *self, PyObject *arguments);
PyObject *settle(PyObject *self, PyObject *arguments);

}  // namespace engine
