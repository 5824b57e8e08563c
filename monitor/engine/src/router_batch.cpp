#include "router_batch.hpp"

namespace engine {
namespace {

// A failure of one record: Python decodes it, and finds what it is. False for what must end the process.
bool is_of_the_record() {
    if (PyErr_Occurred() == nullptr || PyErr_ExceptionMatches(PyExc_Exception) == 0) return false;
    PyErr_Clear();
    return true;
}

class Worker {
  public:
    Worker(Router &router, Targets &targets, const Batch &batch, Told &told, LogTime *log)
        : router_(router), targets_(targets), batch_(batch), told_(told), log_(log) {}

    void record(Py_ssize_t number) {
        PyObject *const value = item(batch_.values, number);
        const int64_t offset = as_int(item(batch_.offsets, number));
        forget();
        const bool quick = batch_.canonical != nullptr && PyBytes_Check(value) && !careful(number);
        if (quick && plain(value, offset)) return done(number, value, offset);
        targets_.drop();
        forget();
        const Ref at = integer(number);
        const Ref events = Ref::checked(PyObject_CallFunctionObjArgs(batch_.read, at.get(), nullptr));
        if (events.get() == Py_None) return;
        if (of_python(events.get(), offset) || routed_by_python(at.get(), events.get())) done(number, value, offset);
    }

  private:
    Router &router_;
    Targets &targets_;
    const Batch &batch_;
    Told &told_;
    LogTime *const log_;
    Event event_;
    std::vector<Ref> held_;
    // Of the record at hand.
    std::vector<Ref> numbers_;
    std::vector<int64_t> times_;
    int64_t anonymous_ = 0;
    bool events_ = false, with_id_ = false;
    int64_t first_ms_ = 0;

    void forget() {
        numbers_.clear();
        times_.clear();
        events_ = with_id_ = false;
        first_ms_ = anonymous_ = 0;
    }

    bool careful(Py_ssize_t number) const {
        if (batch_.careful == Py_None) return false;
        const int found = PySequence_Contains(batch_.careful, integer(number).get());
        if (found < 0) throw PythonError();
        return found > 0;
    }

    // Routes a canonical record that is plain.
    bool plain(PyObject *value, int64_t offset) {
        if (!read_canonical(as_bytes(value), *batch_.canonical, event_)) return false;
        return event(offset);
    }

    // Routes the event at hand.
    bool event(int64_t offset) {
        try {
            const bool none = targets_.none();
            router_.route(event_, offset, targets_);
            if (none && !targets_.none()) first_ms_ = event_.time_ms;
            note(event_.event_id.data() != nullptr, event_.principal.data() == nullptr, event_.time_ms);
            if (event_.number) {
                const Ref gateway = event_.gateway.data() == nullptr ? Ref::borrowed(Py_None) : text(event_.gateway);
                numbers_.push_back(Ref::checked(PyTuple_Pack(2, gateway.get(), integer(*event_.number).get())));
            }
            return true;
        } catch (const PythonError &) {
            if (!is_of_the_record()) throw;
            return false;
        } catch (const Malformed &) {
            return false;
        }
    }
    void note(bool with_id, bool anonymous, int64_t time_ms) {
        if (!events_) with_id_ = with_id;
        if (anonymous) ++anonymous_;
        times_.push_back(time_ms);
        events_ = true;
    }

    // Routes the events that Python decoded; false where one is not for this code.
    bool of_python(PyObject *events, int64_t offset) {
        for (Py_ssize_t at = 0; at < size_of(events); ++at) {
            if (!read_event(item(events, at), event_, held_) || !event(offset)) {
                targets_.drop();
                return false;
            }
        }
        return true;
    }

    // Lets Python route, too; false where it refused.
    bool routed_by_python(PyObject *at, PyObject *events) {
        forget();
        const Ref told = Ref::checked(PyObject_CallFunctionObjArgs(batch_.route, at, events, nullptr));
        if (told.get() == Py_None) return false;
        PyObject *const rows = item(told.get(), 0);
        for (Py_ssize_t row = 0; row < size_of(rows); ++row) {
            PyObject *const one = item(rows, row);
            targets_.row(as_int(item(one, 0))).append(as_bytes(item(one, 1)));
        }
        first_ms_ = as_int(item(told.get(), 1));
        for (Py_ssize_t event = 0; event < size_of(events); ++event) {
            PyObject *const object = item(events, event);
            const Ref id = Ref::checked(PyObject_GetAttrString(object, "event_id"));
            const Ref principal = Ref::checked(PyObject_GetAttrString(object, "principal"));
            const Ref time_ms = Ref::checked(PyObject_GetAttrString(object, "time_ms"));
            note(id.get() != Py_None, principal.get() == Py_None, as_int(time_ms.get()));
            const Ref number = Ref::checked(PyObject_GetAttrString(object, "number"));
            const Ref gateway = Ref::checked(PyObject_GetAttrString(object, "gateway"));
            if (number.get() != Py_None) numbers_.push_back(Ref::checked(PyTuple_Pack(2, gateway.get(), number.get())));
        }
        return true;
    }

    void pass(Py_ssize_t number) {
        log_->events += static_cast<int64_t>(times_.size());
        log_->anonymous += anonymous_;
        const bool taken = log_->taken != Py_None;
        const int64_t taken_ms = taken ? as_int(item(log_->taken, number)) : 0;
        for (const int64_t time_ms : times_) log_->pass(taken ? taken_ms : time_ms);
    }

    void done(Py_ssize_t number, PyObject *value, int64_t offset) {
        if (targets_.none()) {
            ++told_.unrouted;
        } else {
            ++told_.routed;
            if (first_ms_ > told_.newest_ms) told_.newest_ms = first_ms_;
        }
        if (log_ != nullptr) pass(number);
        targets_.keep(offset, log_ == nullptr ? 0 : log_->reached_ms);
        for (const Ref &pair : numbers_)
            append(told_.numbers, pair);
        if (!events_) return;
        told_.sample = number;
        if (!with_id_ && batch_.repeats != nullptr && PyBytes_Check(value) && batch_.repeats->note(as_bytes(value))) ++told_.repeated;
    }
};

}  // namespace

void take_batch(Router &router, Targets &targets, const Batch &batch, Told &told, LogTime *log) {
    Worker worker(router, targets, batch, told, log);
    const Py_ssize_t count = size_of(batch.values);
    for (Py_ssize_t number = 0; number < count; ++number) worker.record(number);
}

bool read_event(PyObject *object, Event &event, std::vector<Ref> &held) {
    event.clear();
    held.clear();
    bool plain = true;
    const auto attribute = [&](const char *name) {
        held.push_back(Ref::checked(PyObject_GetAttrString(object, name)));
        return held.back().get();
    };
    const auto text_of = [&](PyObject *value) -> std::string_view {
        if (value == Py_None) return {};
        if (PyUnicode_CheckExact(value)) {
            Py_ssize_t size = 0;
            const char *data = PyUnicode_AsUTF8AndSize(value, &size);
            if (data != nullptr) return {data, static_cast<size_t>(size)};
            PyErr_Clear();  // a lone surrogate
        }
        plain = false;
        return {};
    };
    const auto number_of = [&](PyObject *value) -> std::optional<int64_t> {
        if (value == Py_None) return {};
        int overflow = 0;
        if (PyLong_CheckExact(value)) {
            const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
            if (overflow == 0) return number;
        }
        plain = false;
        return {};
    };
    const auto required = [&](PyObject *value) {
        const std::optional<int64_t> number = number_of(value);
        if (!number) plain = false;
        return number.value_or(0);
    };
    event.time_ms = required(attribute("time_ms"));
    event.status = required(attribute("status"));
    event.realm = text_of(attribute("realm"));
    event.event_id = text_of(attribute("event_id"));
    event.principal = text_of(attribute("principal"));
    event.kind = text_of(attribute("principal_kind"));
    event.object = text_of(attribute("object"));
    event.tenant = text_of(attribute("tenant"));
    event.client_ip = text_of(attribute("client_ip"));
    event.method = text_of(attribute("method"));
    event.route = text_of(attribute("route"));
    event.gateway = text_of(attribute("gateway"));
    event.category = text_of(attribute("category"));
    event.bytes = number_of(attribute("bytes"));
    event.records = number_of(attribute("records"));
    event.number = number_of(attribute("number"));
    PyObject *const patients = attribute("patients");
    if (!PyTuple_Check(patients)) return false;
    for (Py_ssize_t at = 0; plain && at < size_of(patients); ++at) {
        PyObject *const pair = item(patients, at);
        if (!PyTuple_Check(pair) || size_of(pair) != 2) return false;
        event.patients.emplace_back(text_of(item(pair, 0)), text_of(item(pair, 1)));
        if (event.patients.back().first.data() == nullptr) return false;
    }
    return plain && event.realm.data() != nullptr;
}

}  // namespace engine
