// The extension module `monitor.engine._router`: its types, as monitor/engine/_router.pyi describes them.
#include "router_batch.hpp"
#include "router_probes.hpp"

namespace engine {
namespace {

PyObject *repeats_type = nullptr;

// A router and where its rows go. It works for one caller at a time.
struct RouterContent {
    Router router;
    Targets targets;
    bool busy = false;
    explicit RouterContent(PyObject *spec) : router(spec), targets(static_cast<size_t>(router.partitions())) {}
};

struct Busy {
    bool &flag;
    explicit Busy(bool &of) : flag(of) {
        if (flag) throw std::runtime_error("the router is at work");
        flag = true;
    }
    ~Busy() { flag = false; }
};

PyObject *new_router(PyTypeObject *type, PyObject *arguments, PyObject *) {
    return Holder<RouterContent>::make(type, [&] {
        if (size_of(arguments) != 1) throw std::invalid_argument("expected one argument");
        return std::make_unique<RouterContent>(item(arguments, 0));
    });
}

PyObject *new_repeats(PyTypeObject *type, PyObject *arguments, PyObject *) {
    return Holder<Repeats>::make(type, [&] {
        const int64_t limit = size_of(arguments) > 0 ? as_int(item(arguments, 0)) : 10'000;
        if (limit < 1 || limit > 1 << 24) throw std::invalid_argument("no such limit");
        return std::make_unique<Repeats>(static_cast<uint32_t>(limit));
    });
}

PyObject *note(PyObject *self, PyObject *value) {
    return guarded([&]() -> PyObject * { return PyBool_FromLong(Holder<Repeats>::of(self).note(as_bytes(value))); });
}

CanonicalSource source_of(PyObject *told) {
    CanonicalSource source;
    if (told == Py_None) return source;
    source.realm = as_text(item(told, 0));
    source.trust_ids = as_bool(item(told, 1));
    source.most_bytes = static_cast<size_t>(as_int(item(told, 2)));
    return source;
}

void check_lists(PyObject *one, PyObject *other) {
    if (!PyList_Check(one) || !PyList_Check(other) || size_of(one) != size_of(other)) throw std::invalid_argument("expected lists of one length");
}

// (values, offsets, careful, read, route, canonical, repeats)
PyObject *take(PyObject *self, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        RouterContent &content = Holder<RouterContent>::of(self);
        const Busy busy(content.busy);
        PyObject *const canonical = item(arguments, 5), *const repeats = item(arguments, 6);
        const CanonicalSource source = source_of(canonical);
        if (repeats != Py_None && PyObject_TypeCheck(repeats, reinterpret_cast<PyTypeObject *>(repeats_type)) == 0) throw std::invalid_argument("expected Repeats");
        const Batch batch{item(arguments, 0), item(arguments, 1), item(arguments, 2), item(arguments, 3), item(arguments, 4),
                          canonical == Py_None ? nullptr : &source, repeats == Py_None ? nullptr : &Holder<Repeats>::of(repeats)};
        check_lists(batch.values, batch.offsets);
        content.targets.take();  // what a call that failed left
        Told told;
        take_batch(content.router, content.targets, batch, told);
        const Ref pieces = content.targets.take();
        return Py_BuildValue("(OLLLLOL)", pieces.get(), static_cast<long long>(told.routed), static_cast<long long>(told.unrouted),
                             static_cast<long long>(told.repeated), static_cast<long long>(told.newest_ms), told.numbers.get(),
                             static_cast<long long>(told.sample));
    });
}

// (values, offsets, taken, read, route, canonical, latest time, never)
PyObject *read_log(PyObject *self, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        RouterContent &content = Holder<RouterContent>::of(self);
        const Busy busy(content.busy);
        PyObject *const canonical = item(arguments, 5);
        const CanonicalSource source = source_of(canonical);
        const Batch batch{item(arguments, 0), item(arguments, 1), Py_None, item(arguments, 3), item(arguments, 4), canonical == Py_None ? nullptr : &source, nullptr};
        check_lists(batch.values, batch.offsets);
        const int64_t never = as_int(item(arguments, 7));
        LogTime log{item(arguments, 2), as_int(item(arguments, 6)), never, never, never};
        if (log.taken != Py_None) check_lists(batch.values, log.taken);
        Targets targets(static_cast<size_t>(content.router.partitions()), true);
        Told told;
        take_batch(content.router, targets, batch, told, &log);
        const Ref rows = targets.take_rows();
        return Py_BuildValue("(OLLLLL)", rows.get(), static_cast<long long>(log.events), static_cast<long long>(log.anonymous),
                             static_cast<long long>(log.ahead), static_cast<long long>(log.first_ms), static_cast<long long>(log.reached_ms));
    });
}

PyObject *type_of(const char *name, int size, newfunc make, destructor dealloc, PyMethodDef *methods) {
    PyType_Slot slots[] = {
        {Py_tp_new, reinterpret_cast<void *>(make)},
        {Py_tp_dealloc, reinterpret_cast<void *>(dealloc)},
        {Py_tp_methods, methods},
        {0, nullptr},
    };
    PyType_Spec spec = {name, size, 0, Py_TPFLAGS_DEFAULT, slots};
    return PyType_FromSpec(&spec);
}

}  // namespace
}  // namespace engine

PyMODINIT_FUNC PyInit__router() {
    using namespace engine;
    static PyMethodDef router_methods[] = {{"take", take, METH_VARARGS, nullptr}, {"read_log", read_log, METH_VARARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
    static PyMethodDef repeats_methods[] = {{"note", note, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};
    static PyMethodDef methods[] = {
        {"probe_conditions", probe_conditions, METH_VARARGS, nullptr},
        {"probe_blake2b", probe_blake2b, METH_VARARGS, nullptr},
        {"probe_time", probe_time, METH_O, nullptr},
        {"probe_canonical", probe_canonical, METH_VARARGS, nullptr},
        {nullptr, nullptr, 0, nullptr},
    };
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "monitor.engine._router", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};
    return guarded([&]() -> PyObject * {
        Ref module = Ref::checked(PyModule_Create(&definition));
        const Ref router = Ref::checked(type_of("monitor.engine._router.Router", sizeof(Holder<RouterContent>), new_router, Holder<RouterContent>::dealloc, router_methods));
        const Ref repeats = Ref::checked(type_of("monitor.engine._router.Repeats", sizeof(Holder<Repeats>), new_repeats, Holder<Repeats>::dealloc, repeats_methods));
        if (PyModule_AddObjectRef(module.get(), "Router", router.get()) < 0) throw PythonError();
        repeats_type = Ref(repeats).release();
        if (PyModule_AddObjectRef(module.get(), "Repeats", repeats.get()) < 0) throw PythonError();
        return module.release();
    });
}
