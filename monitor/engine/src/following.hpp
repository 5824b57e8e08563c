// Follows the incident of a credential, event by event (monitor/core/incident.py, telling.py).
#pragma once

#include "python.hpp"
#include "subject.hpp"

namespace engine {

// The names of an incident's attributes, each made once.
struct IncidentNames {
    Ref status = name("status"), case_ = name("case"), case_until_ms = name("_case_until_ms"), watch = name("watch"),
        told = name("_told"), exposed = name("exposed"), start_ms = name("start_ms"), since_ms = name("since_ms"),
        heard_ms = name("heard_ms"), refused = name("refused"), leaked = name("leaked");

    static Ref name(const char *text) { return Ref::checked(PyUnicode_InternFromString(text)); }
};

// A `monitor.core.incident.Incident`, read and written where it is: there is no other copy of it.
class Following {
  public:
    Following(PyObject *incident, const IncidentNames &names) : incident_(incident), names_(names) {}

    bool active() const {
        const Ref status = get(names_.status);
        return PyUnicode_Check(status.get()) && PyUnicode_CompareWithASCIIString(status.get(), "active") == 0;
    }

    // The case whose evidence a success at a time is; nothing where there is none.
    Ref followed(int64_t time_ms) const {
        const Ref found = get(names_.case_);
        if (found.get() == Py_None) return Ref();
        const Ref until = get(names_.case_until_ms);
        return until.get() == Py_None || time_ms <= saturated(until.get()) ? found : Ref();
    }

    // As `Incident.seen`: takes a request made while the credential is refused, and returns what to tell of it.
    const char *seen(bool is_refusal, bool is_success, int64_t time_ms) {
        if (time_ms <= number(names_.since_ms)) return nullptr;
        if (number(names_.heard_ms) < time_ms) set(names_.heard_ms, integer(time_ms));
        if (is_refusal) {
            if (as_bool(get(names_.refused).get())) return nullptr;
            set(names_.refused, Ref::borrowed(Py_True));
            return "refused";
        }
        if (!is_success) return nullptr;
        return is_power(add_one(names_.leaked)) ? "leaked" : nullptr;
    }

    // As `Incident.exposes`: takes a success that is evidence of an active credential's case.
    const char *exposes(const History *history) {
        const int64_t exposed = add_one(names_.exposed);
        if (get(names_.watch).get() == Py_None) return nullptr;
        const int64_t start_ms = number(names_.start_ms);
        const int64_t patients = history == nullptr ? 0 : history->patients_after(start_ms - (start_ms > INT64_MIN ? 1 : 0));
        if (patients >= 2 * number(names_.told)) {
            set(names_.told, integer(patients));
        } else if (!is_power(exposed)) {
            return nullptr;
        }
        return "exposed";
    }

  private:
    PyObject *const incident_;
    const IncidentNames &names_;

    Ref get(const Ref &name) const { return Ref::checked(PyObject_GetAttr(incident_, name.get())); }
    void set(const Ref &name, const Ref &value) {
        if (PyObject_SetAttr(incident_, name.get(), value.get()) < 0) throw PythonError();
    }
    int64_t add_one(const Ref &name) {
        const int64_t count = number(name) + 1;
        set(name, integer(count));
        return count;
    }
    int64_t number(const Ref &name) const { return saturated(get(name).get()); }
    static bool is_power(int64_t count) { return (count & (count - 1)) == 0; }
};

}  // namespace engine
