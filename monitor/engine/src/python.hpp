// What both extension modules need of Python's C API; only its stable part, so that one build serves 3.11 on.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace engine {

// An exception of Python is set: whoever catches it returns NULL to the interpreter.
struct PythonError {};

// One owned reference.
class Ref {
  public:
    Ref() = default;
    explicit Ref(PyObject *owned) : object_(owned) {}
    Ref(const Ref &other) : object_(other.object_) { Py_XINCREF(object_); }
    Ref(Ref &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref &operator=(Ref other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref() { Py_XDECREF(object_); }

    // Takes a new reference, or throws where a call failed.
    static Ref checked(PyObject *owned) {
        if (owned == nullptr) throw PythonError();
        return Ref(owned);
    }
    static Ref borrowed(PyObject *object) {
        Py_XINCREF(object);
        return Ref(object);
    }

    PyObject *get() const { return object_; }
    PyObject *release() { return std::exchange(object_, nullptr); }
    explicit operator bool() const { return object_ != nullptr; }

  private:
    PyObject *object_ = nullptr;
};

inline Ref text(std::string_view value) {
    return Ref::checked(PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "surrogatepass"));
}

inline Ref bytes(std::string_view value) {
    return Ref::checked(PyBytes_FromStringAndSize(value.data(), static_cast<Py_ssize_t>(value.size())));
}

inline PyObject *none() { return Ref::borrowed(Py_None).release(); }

inline Ref integer(int64_t value) { return Ref::checked(PyLong_FromLongLong(value)); }

inline int64_t as_int(PyObject *object) {
    const long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred() != nullptr) throw PythonError();
    return value;
}

// What is beyond 64 bits is the last number of these: no time of an event comes near.
inline int64_t saturated(PyObject *object) {
    int beyond = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &beyond);
    if (beyond != 0) return beyond > 0 ? INT64_MAX : INT64_MIN;
    if (value == -1 && PyErr_Occurred() != nullptr) throw PythonError();
    return value;
}

inline bool as_bool(PyObject *object) {
    const int truth = PyObject_IsTrue(object);
    if (truth < 0) throw PythonError();
    return truth != 0;
}

// The bytes of a `str`; they live as long as it does. Throws for a text that UTF-8 cannot hold.
inline std::string_view as_text(PyObject *object) {
    Py_ssize_t size = 0;
    const char *data = PyUnicode_AsUTF8AndSize(object, &size);
    if (data == nullptr) throw PythonError();
    return {data, static_cast<size_t>(size)};
}

inline std::string_view as_bytes(PyObject *object) {
    char *data = nullptr;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(object, &data, &size) < 0) throw PythonError();
    return {data, static_cast<size_t>(size)};
}

// Item of a tuple or list, borrowed.
inline PyObject *item(PyObject *sequence, Py_ssize_t at) {
    PyObject *found = PyTuple_Check(sequence) ? PyTuple_GetItem(sequence, at) : PyList_GetItem(sequence, at);
    if (found == nullptr) throw PythonError();
    return found;
}

inline Py_ssize_t size_of(PyObject *sequence) {
    const Py_ssize_t size = PySequence_Size(sequence);
    if (size < 0) throw PythonError();
    return size;
}

inline void append(const Ref &list, const Ref &value) {
    if (PyList_Append(list.get(), value.get()) < 0) throw PythonError();
}

// Runs `body`; what it throws becomes an exception of Python.
template <typename Body> PyObject *guarded(Body body) {
    try {
        return body();
    } catch (const PythonError &) {
        return nullptr;
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
}

// An object of Python that holds one of ours. None of them is found by the garbage collector: what they can call
// must not hold them.
template <typename Content> struct Holder {
    PyObject_HEAD
    Content *content;

    static void dealloc(PyObject *self) {
        PyTypeObject *const type = Py_TYPE(self);
        delete reinterpret_cast<Holder *>(self)->content;
        reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
        Py_DECREF(reinterpret_cast<PyObject *>(type));
    }
    template <typename Make> static PyObject *make(PyTypeObject *type, Make make_content) {
        return guarded([&]() -> PyObject * {
            std::unique_ptr<Content> content = make_content();
            const auto allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
            PyObject *const self = Ref::checked(allocate(type, 0)).release();
            reinterpret_cast<Holder *>(self)->content = content.release();
            return self;
        });
    }
    static Content &of(PyObject *self) { return *reinterpret_cast<Holder *>(self)->content; }
};

}  // namespace engine
