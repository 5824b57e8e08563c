// The Python type `Store`: what is said of it is in _store.pyi.
#include "records.hpp"
#include "store_module.hpp"
#include "wanted.hpp"

namespace engine {
namespace {

// Returns the subject that is held under a name; raises KeyError.
Subject &held(PyObject *self, const Name &name) {
    Subject *subject = store_of(self).find(name.of_axis(), name.of_name());
    if (subject == nullptr) {
        PyErr_SetString(PyExc_KeyError, "no such subject is held");
        throw PythonError();
    }
    return *subject;
}

// The methods that begin with a subject's name have this form: their own arguments follow.
template <typename Body> PyObject *of_subject(PyObject *self, PyObject *arguments, Body body) {
    return guarded([&] {
        Name name;
        parse(arguments, "s#s#", &name.axis, &name.axis_size, &name.name, &name.name_size);
        return body(held(self, name));
    });
}

PyObject *set_plan(PyObject *self, PyObject *spec) {
    return guarded([&] {
        store_of(self).set_plan(spec);
        return none();
    });
}

PyObject *apply(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        PyObject *record = nullptr, *source = nullptr;
        Py_ssize_t at = 0;
        long long prior = 0, offset = 0, append_ms = 0, max_age_ms = 0;
        parse(arguments, "SnLLLLO", &record, &at, &prior, &offset, &append_ms, &max_age_ms, &source);
        const std::string_view content = as_bytes(record);
        if (at < 0 || static_cast<size_t>(at) > content.size()) throw Malformed("rows beyond the record");
        store_of(self).apply(content, static_cast<size_t>(at), {prior, offset, append_ms, max_age_ms, source});
        return none();
    });
}

PyObject *take_tally(PyObject *self, PyObject *) {
    return guarded([&] {
        Tally &tally = store_of(self).tally;
        PyObject *taken = Py_BuildValue(
            "(LLLLLLL)", static_cast<long long>(tally.applied), static_cast<long long>(tally.duplicates),
            static_cast<long long>(tally.too_late), static_cast<long long>(tally.late),
            static_cast<long long>(tally.lost_late), static_cast<long long>(tally.clamped),
            static_cast<long long>(tally.replay_skipped));
        tally = Tally();
        return taken;
    });
}

PyObject *take_evidence(PyObject *self, PyObject *) {
    return guarded([&] { return store_of(self).take_evidence().release(); });
}

PyObject *about(PyObject *self, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        Name name;
        parse(arguments, "s#s#", &name.axis, &name.axis_size, &name.name, &name.name_size);
        const Subject *subject = store_of(self).find(name.of_axis(), name.of_name());
        if (subject == nullptr) return none();
        return Py_BuildValue("(LLOO)", static_cast<long long>(subject->recovered),
                             static_cast<long long>(subject->expires_ms), subject->lasting ? Py_True : Py_False,
                             subject->dirty ? Py_True : Py_False);
    });
}

PyObject *open(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        parse(arguments, "s#s#", &name.axis, &name.axis_size, &name.name, &name.name_size);
        store_of(self).open(name.of_axis(), name.of_name());
        return none();
    });
}

PyObject *incident(PyObject *self, PyObject *arguments) {
    return of_subject(self, arguments, [&](Subject &subject) {
        const Ref &found = store_of(self).awake(subject).incident;
        return found ? Ref(found).release() : none();
    });
}

PyObject *set_incident(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        PyObject *incident = nullptr;
        int lasting = 0;
        parse(arguments, "s#s#Op", &name.axis, &name.axis_size, &name.name, &name.name_size, &incident, &lasting);
        Subject &subject = held(self, name);
        store_of(self).awake(subject).incident = incident == Py_None ? Ref() : Ref::borrowed(incident);
        subject.lasting = lasting != 0;
        return none();
    });
}

PyObject *floor_ms(PyObject *self, PyObject *arguments) {
    return of_subject(self, arguments,
                      [&](Subject &subject) { return integer(store_of(self).awake(subject).floor_ms).release(); });
}

PyObject *count_after(PyObject *self, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        Name name;
        long long after_ms = 0;
        parse(arguments, "s#s#L", &name.axis, &name.axis_size, &name.name, &name.name_size, &after_ms);
        const Awake &state = store_of(self).awake(held(self, name));
        if (!state.history) return none();
        const History::Count count = state.history->count_after(after_ms);
        return Py_BuildValue("(LOL)", static_cast<long long>(count.patients), count.more ? Py_True : Py_False,
                             static_cast<long long>(count.tenants));
    });
}

PyObject *reopen(PyObject *self, PyObject *arguments) {
    return of_subject(self, arguments, [&](Subject &subject) {
        store_of(self).awake(subject).reopen();
        return none();
    });
}

PyObject *restart(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        long long floor = 0;
        parse(arguments, "s#s#L", &name.axis, &name.axis_size, &name.name, &name.name_size, &floor);
        store_of(self).awake(held(self, name)).restart(floor);
        return none();
    });
}

PyObject *touch(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        long long time_ms = 0, keep_ms = 0;
        parse(arguments, "s#s#LL", &name.axis, &name.axis_size, &name.name, &name.name_size, &time_ms, &keep_ms);
        Subject &subject = held(self, name);
        store_of(self).awake(subject);
        store_of(self).touch(subject, time_ms, keep_ms);
        return none();
    });
}

PyObject *move(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        const char *to = nullptr;
        Py_ssize_t size = 0;
        parse(arguments, "s#s#s#", &name.axis, &name.axis_size, &name.name, &name.name_size, &to, &size);
        store_of(self).move(held(self, name), {to, static_cast<size_t>(size)});
        return none();
    });
}

PyObject *snapshot(PyObject *self, PyObject *arguments) {
    return of_subject(self, arguments,
                      [&](Subject &subject) { return bytes(store_of(self).snapshot(subject)).release(); });
}

PyObject *restore(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        long long stamp = 0, until_ms = 0;
        const char *packed = nullptr;
        Py_ssize_t size = 0;
        int lasting = 0;
        parse(arguments, "s#s#Ly#pL", &name.axis, &name.axis_size, &name.name, &name.name_size, &stamp, &packed, &size,
              &lasting, &until_ms);
        store_of(self).restore(name.of_axis(), name.of_name(), stamp, {packed, static_cast<size_t>(size)},
                               lasting != 0, until_ms);
        return none();
    });
}

PyObject *change(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        const char *packed = nullptr;
        Py_ssize_t size = 0;
        parse(arguments, "s#s#y#", &name.axis, &name.axis_size, &name.name, &name.name_size, &packed, &size);
        store_of(self).change(held(self, name), {packed, static_cast<size_t>(size)});
        return none();
    });
}

PyObject *wake(PyObject *self, PyObject *arguments) {
    return of_subject(self, arguments, [&](Subject &subject) {
        store_of(self).awake(subject);
        return none();
    });
}

PyObject *sweep(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        long long append_ms = 0, offset = 0;
        Py_ssize_t limit = 0;
        parse(arguments, "LLn", &append_ms, &offset, &limit);
        return store_of(self).sweep(append_ms, offset, limit < 0 ? 0 : static_cast<size_t>(limit)).release();
    });
}

PyObject *keys(PyObject *self, PyObject *) {
    return guarded([&] {
        const Ref all = Ref::checked(PyList_New(0));
        for (const auto &subject : store_of(self).all())
            append(all, name_of(*subject));
        return Ref(all).release();
    });
}

PyObject *take_dirty(PyObject *self, PyObject *) {
    return guarded([&] {
        const Ref all = Ref::checked(PyList_New(0));
        for (const Subject *subject : store_of(self).take_dirty())
            append(all, name_of(*subject));
        return Ref(all).release();
    });
}

PyObject *dirty(PyObject *self, PyObject *) {
    return guarded([&] { return integer(static_cast<int64_t>(store_of(self).dirty_count())).release(); });
}

PyObject *rest(PyObject *self, PyObject *limit) {
    return guarded([&] {
        const int64_t most = as_int(limit);
        return Ref::checked(PyBool_FromLong(store_of(self).rest(static_cast<size_t>(std::max<int64_t>(most, 0))))).release();
    });
}

PyObject *save(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        long long stamp = 0;
        Py_ssize_t limit = 0, longest = 0;
        parse(arguments, "Lnn", &stamp, &limit, &longest);
        return store_of(self).save(stamp, static_cast<size_t>(limit), static_cast<size_t>(longest)).release();
    });
}

PyObject *take_nearest(PyObject *self, PyObject *) {
    return guarded([&] {
        Store &store = store_of(self);
        const Ref all = Ref::checked(PyList_New(0));
        for (const Counter &counter : store.plan.counters) {
            for (const Span &span : counter.spans) {
                if (span.nearest == 0) continue;
                const Ref key = text(store.names.text(counter.key));
                append(all, Ref::checked(Py_BuildValue("(OLL)", key.get(), static_cast<long long>(span.timespan_ms),
                                                       static_cast<long long>(span.nearest))));
                span.nearest = 0;
            }
        }
        return Ref(all).release();
    });
}

PyObject *resting(PyObject *self, PyObject *) {
    return guarded([&] {
        int64_t count = 0;
        for (const auto &subject : store_of(self).all()) count += subject->awake ? 0 : 1;
        return integer(count).release();
    });
}

PyObject *census(PyObject *self, PyObject *) {
    return guarded([&] {
        const Store &store = store_of(self);
        return Py_BuildValue("(LL)", static_cast<long long>(store.held_windows), static_cast<long long>(store.held_bytes));
    });
}

Py_ssize_t length(PyObject *self) { return static_cast<Py_ssize_t>(store_of(self).size()); }

PyObject *make(PyTypeObject *type, PyObject *arguments, PyObject *) {
    return Holder<Store>::make(type, [&] {
        PyObject *host = nullptr, *invariant = nullptr;
        parse(arguments, "OO", &host, &invariant);
        return std::make_unique<Store>(host, invariant);
    });
}

PyMethodDef methods[] = {{"set_plan", set_plan, METH_O, nullptr},
                         {"apply", apply, METH_VARARGS, nullptr},
                         {"take_tally", take_tally, METH_NOARGS, nullptr},
                         {"take_evidence", take_evidence, METH_NOARGS, nullptr},
                         {"about", about, METH_VARARGS, nullptr},
                         {"open", open, METH_VARARGS, nullptr},
                         {"incident", incident, METH_VARARGS, nullptr},
                         {"set_incident", set_incident, METH_VARARGS, nullptr},
                         {"floor_ms", floor_ms, METH_VARARGS, nullptr},
                         {"count_after", count_after, METH_VARARGS, nullptr},
                         {"reopen", reopen, METH_VARARGS, nullptr},
                         {"restart", restart, METH_VARARGS, nullptr},
                         {"touch", touch, METH_VARARGS, nullptr},
                         {"move", move, METH_VARARGS, nullptr},
                         {"snapshot", snapshot, METH_VARARGS, nullptr},
                         {"restore", restore, METH_VARARGS, nullptr},
                         {"recover", recover_records, METH_O, nullptr},
                         {"give_back", give_back, METH_VARARGS, nullptr},
                         {"settle", settle, METH_VARARGS, nullptr},
                         {"change", change, METH_VARARGS, nullptr},
                         {"dirty", dirty, METH_NOARGS, nullptr},
                         {"wake", wake, METH_VARARGS, nullptr},
                         {"sweep", sweep, METH_VARARGS, nullptr},
                         {"keys", keys, METH_NOARGS, nullptr},
                         {"take_dirty", take_dirty, METH_NOARGS, nullptr},
                         {"rest", rest, METH_O, nullptr},
                         {"save", save, METH_VARARGS, nullptr},
                         {"take_nearest", take_nearest, METH_NOARGS, nullptr},
                         {"resting", resting, METH_NOARGS, nullptr},
                         {"census", census, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void *>(make)},
                       {Py_tp_dealloc, reinterpret_cast<void *>(Holder<Store>::dealloc)},
                       {Py_tp_methods, methods},
                       {Py_mp_length, reinterpret_cast<void *>(length)},
                       {Py_sq_length, reinterpret_cast<void *>(length)},
                       {0, nullptr}};

PyType_Spec spec = {"monitor.engine._store.Store", sizeof(Holder<Store>), 0, Py_TPFLAGS_DEFAULT, slots};

}  // namespace
}  // namespace engine

PyMODINIT_FUNC PyInit__store() {
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "monitor.engine._store", nullptr, -1, engine::record_functions,
                                     nullptr, nullptr, nullptr, nullptr};
    return engine::guarded([]() -> PyObject * {
        const engine::Ref module = engine::Ref::checked(PyModule_Create(&definition));
        const engine::Ref type = engine::Ref::checked(PyType_FromSpec(&engine::spec));
        if (PyModule_AddObjectRef(module.get(), "Store", type.get()) < 0) throw engine::PythonError();
        if (PyModule_AddObjectRef(module.get(), "Wanted", engine::wanted_type().get()) < 0) throw engine::PythonError();
        return engine::Ref(module).release();
    });
}
