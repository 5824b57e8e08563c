// The rows of a record, one after the other: what each adds to the windows of its subject, and what follows.
#include "evidence.hpp"
#include "store.hpp"

namespace engine {

void Store::apply(std::string_view record, size_t at, const Place &place) {
    Unpacker unpacker(record.substr(at));
    for (size_t left = unpacker.array(); left > 0; --left) {
        row_.read(unpacker);
        if (one(place)) ++tally.applied;
    }
}

// Judges the row at hand; false where it does not count as applied.
bool Store::one(const Place &place) {
    if (row_.length == 0) return failed("IndexError");
    const Value &offset = row_.columns[OFFSET];
    if (!offset.is_int()) return failed("TypeError");
    if (offset.kind == Kind::integer && offset.signed_number() <= place.prior) {
        ++tally.duplicates;
        return false;
    }
    if (!row_.is_event()) {
        const Ref row = bytes(row_.raw);
        return as_bool(Ref::checked(PyObject_CallMethod(host_, "native_status", "O", row.get())).get());
    }
    try {
        return event(place);
    } catch (const OddRow &odd) {
        return failed(odd.what());
    } catch (const PythonError &) {
        if (PyErr_ExceptionMatches(invariant_.get()) || !PyErr_ExceptionMatches(PyExc_Exception)) throw;
        PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
        PyErr_Fetch(&type, &value, &trace);
        const Ref kind(type), what(value), where(trace);
        const Ref name = Ref::checked(PyObject_GetAttrString(type, "__name__"));
        return failed(std::string(as_text(name.get())).c_str());
    }
}

// Reports a row that could not be judged; it changed nothing.
bool Store::failed(const char *error) {
    const bool known = row_.length > 0 && row_.columns[OFFSET].kind == Kind::integer;
    const Ref offset = known ? integer(row_.columns[OFFSET].signed_number()) : Ref::borrowed(Py_None);
    Ref::checked(PyObject_CallMethod(host_, "native_failed", "Os", offset.get(), error));
    return false;
}

bool Store::event(const Place &place) {
    if (row_.length < EVENT_LENGTH) throw OddRow("IndexError");
    const Value &axis = row_.columns[AXIS], &name = row_.columns[SUBJECT];
    Subject *subject = nullptr;
    if (axis.kind == Kind::text && name.kind == Kind::text) {
        subject = find(axis.data, name.data);
        if (subject != nullptr && place.offset <= subject->recovered) {
            ++tally.replay_skipped;
            return true;
        }
    }
    if (row_.columns[TIME].kind != Kind::integer || !row_.columns[STATUS].is_int() || name.kind != Kind::text)
        throw OddRow("TypeError");
    AxisPlan *axis_plan = axis.kind == Kind::text ? plan.axis(axis.data) : nullptr;
    if (axis_plan == nullptr) return true;
    row_.read_patients();
    return judge(subject, *axis_plan, place);
}

bool Store::judge(Subject *subject, AxisPlan &axis, const Place &place) {
    // First everything that may throw, then everything that changes state.
    const int64_t append_ms = place.append_ms;
    int64_t time_ms = row_.columns[TIME].signed_number();
    const int64_t status = row_.columns[STATUS].kind == Kind::natural ? INT64_MAX : row_.columns[STATUS].signed_number();
    if (subject != nullptr) awake(*subject);
    if (time_ms > append_ms) {
        // A clock that runs ahead must not push `L` away and blind a rule.
        ++tally.clamped;
        time_ms = append_ms;
    }
    const int64_t age_ms = append_ms - time_ms;
    if (age_ms > axis.horizon_ms) {
        ++tally.too_late;
        return true;
    }
    const int64_t floor_ms = subject == nullptr ? NEVER : subject->awake->floor_ms;
    works_ = 0;
    values_.clear();
    bool refused = false;
    const size_t met = axis.conditions.id(row_.packed);
    for (const Reading &reading : plan.readings(axis, met, names)) {
        const Counter &counter = plan.counters[reading.counter];
        if (age_ms <= counter.horizon_ms && time_ms >= counter.floor_ms) {
            if (time_ms > floor_ms) gather(counter, reading);
        } else {
            refused = true;
        }
    }
    read_.clear();
    if (axis.is_principal && status >= 200 && status < 300) read_success();
    if (refused) ++tally.too_late;
    if (subject == nullptr || subject->expired(append_ms)) {
        if (works_ == 0 && read_.empty()) return true;
        subject = &open(row_.columns[AXIS].data, row_.columns[SUBJECT].data);
    }

    Awake &state = *subject->awake;
    const Ref incident = state.incident;
    Following following(incident.get(), incident_names_);
    const bool active = !incident || following.active();
    const bool is_refusal = status == 401 || status == 403 || status == 429, is_success = status >= 200 && status < 300;
    const char *told = active ? nullptr : following.seen(is_refusal, is_success, time_ms);
    excesses_.clear();
    // The monitor's own refusals do not enter windows.
    if (active || !is_refusal) count(state, time_ms, append_ms, age_ms > place.max_age_ms);
    touch(*subject, time_ms, axis.keep_ms);
    // Of a finding's credential only successes are evidence, and only they expose anybody.
    if (incident && is_success) {
        if (const Ref followed = following.followed(time_ms)) {
            if (active) told = following.exposes(state.history.get());
            if (!row_.patients.empty()) note_evidence(*subject, followed, time_ms, place);
        }
    }
    return (excesses_.empty() && told == nullptr) || tell(*subject, time_ms, told);
}

void Store::note_evidence(const Subject &subject, const Ref &followed, int64_t time_ms, const Place &place) {
    try {
        write_evidence(row_, time_ms, plain_);
    } catch (const OddRow &) {
        const Ref row = bytes(row_.raw);
        append(evidence_, Ref::checked(PyObject_CallMethod(host_, "native_evidence", "OOL", followed.get(), row.get(),
                                                           static_cast<long long>(time_ms))));
        return;
    }
    const Ref axis = text(subject.axis()), name = text(subject.name()), plain = bytes(plain_);
    append(evidence_, Ref::checked(PyTuple_Pack(5, followed.get(), axis.get(), name.get(), plain.get(), place.source)));
}

Ref Store::take_evidence() {
    Ref taken = Ref::checked(PyList_New(0));
    std::swap(taken, evidence_);
    return taken;
}

// Lets Python tell of an incident, and make findings. False where that failed, which it reported itself.
bool Store::tell(Subject &subject, int64_t time_ms, const char *told) {
    const Ref found = Ref::checked(PyList_New(0));
    for (const Excess &excess : excesses_) {
        const Ref group = bytes(excess.group);
        append(found, Ref::checked(Py_BuildValue(
            "(OOOLLO)", excess.rule->planned.get(), group.get(), excess.straggler ? Py_True : Py_False,
            static_cast<long long>(excess.last_ms), static_cast<long long>(excess.first_ms),
            excess.stale ? Py_True : Py_False)));
    }
    const Ref axis = text(subject.axis()), name = text(subject.name()), row = bytes(row_.raw);
    return as_bool(Ref::checked(PyObject_CallMethod(host_, "native_judged", "OOOLzO", axis.get(), name.get(), row.get(),
                                                    static_cast<long long>(time_ms), told, found.get()))
                       .get());
}

// The patients that the row read with success; its own tenant stands where a pair has none.
void Store::read_success() {
    for (const Patient &pair : row_.patients) {
        if (pair.patient.kind != Kind::text) throw OddRow("TypeError");
        const Value &tenant = pair.tenant.kind == Kind::nil ? row_.columns[TENANT] : pair.tenant;
        read_.emplace_back(number_of(pair.patient.data, true), tenant.raw);
    }
}

uint64_t Store::number_of(std::string_view content, bool pseudonym) {
    if (!pseudonym) return text_number(content);
    if (const auto number = pseudonym_number(content)) return *number;
    const Ref argument = text(content);
    const Ref number = Ref::checked(PyObject_CallMethod(host_, "native_number", "O", argument.get()));
    const unsigned long long value = PyLong_AsUnsignedLongLong(number.get());
    if (PyErr_Occurred() != nullptr) throw PythonError();
    return value;
}

// The number of a field's value; false where there is none to count.
bool Store::number_of(const Value &value, bool pseudonym, uint64_t &number) {
    if (value.kind == Kind::text) {
        number = number_of(value.data, pseudonym);
        return true;
    }
    number = value.number;
    return value.kind == Kind::natural || (value.kind == Kind::integer && value.signed_number() >= 0);
}

Work &Store::begin_work(const Counter &counter) {
    if (works_ == work_.size()) work_.emplace_back();
    Work &work = work_[works_++];
    work.counter = &counter;
    work.group.clear();
    work.from = work.end = values_.size();
    return work;
}

// Notes what the row adds to a counter.
void Store::gather(const Counter &counter, const Reading &reading) {
    if (reading.how == How::python) return gather_python(counter, reading.reader.get());
    Work &work = begin_work(counter);
    uint64_t number = 0;
    switch (reading.how) {
        case How::patients:
            for (const Patient &pair : row_.patients)
                if (pair.patient.kind == Kind::text) values_.push_back(number_of(pair.patient.data, true));
            break;
        case How::tenants:
            for (const Patient &pair : row_.patients)
                if (number_of(pair.tenant, false, number)) values_.push_back(number);
            if (number_of(row_.columns[TENANT], false, number)) values_.push_back(number);
            break;
        case How::column:
            if (number_of(row_.columns[reading.column], reading.pseudonyms, number)) values_.push_back(number);
            break;
        case How::amount: {
            const Value &amount = row_.columns[reading.column];
            if (amount.kind == Kind::integer && amount.signed_number() <= 0) break;
            if (!amount.is_int()) break;
            values_.push_back(amount.number);
            if (row_.columns[EVENT_ID].kind == Kind::text) values_.push_back(text_number(row_.columns[EVENT_ID].data));
            break;
        }
        case How::once:
            if (row_.columns[EVENT_ID].kind == Kind::text) values_.push_back(text_number(row_.columns[EVENT_ID].data));
            break;
        case How::python: break;
    }
    work.end = values_.size();
}

void Store::gather_python(const Counter &counter, PyObject *reader) {
    const Ref packed = bytes(row_.raw);
    const Ref row = Ref::checked(PyObject_CallMethod(host_, "native_row", "O", packed.get()));
    const Ref counted = Ref::checked(PyObject_CallFunctionObjArgs(reader, row.get(), nullptr));
    for (Py_ssize_t n = 0; n < size_of(counted.get()); ++n) {
        PyObject *one = item(counted.get(), n);
        PyObject *group = item(one, 0), *values = item(one, 1);
        Work &work = begin_work(counter);
        if (const Py_ssize_t size = size_of(group); size > 0) {
            Packer packer;
            packer.array(static_cast<size_t>(size));
            for (Py_ssize_t m = 0; m < size; ++m) {
                PyObject *part = item(group, m);
                if (PyUnicode_Check(part)) {
                    packer.text(as_text(part));
                } else {
                    packer.integer(as_int(part));
                }
            }
            work.group = std::move(packer.out);
        }
        for (Py_ssize_t m = 0; m < size_of(values); ++m) {
            const unsigned long long value = PyLong_AsUnsignedLongLong(item(values, m));
            if (PyErr_Occurred() != nullptr) throw PythonError();
            values_.push_back(value);
        }
        work.end = values_.size();
    }
}

// Counts an event; the rules that hold and whose latch was open are in `excesses_` then.
void Store::count(Awake &awake, int64_t time_ms, int64_t append_ms, bool stale) {
    awake.adopt(plan);
    if (!read_.empty()) {
        if (!awake.history) awake.history = std::make_unique<History>();
        awake.history->see(time_ms);
        for (const auto &[patient, tenant] : read_) awake.history->add(time_ms, patient, tenant);
    }
    for (size_t n = 0; n < works_; ++n) {
        const Work &work = work_[n];
        const Counter &counter = *work.counter;
        Series *series = awake.find(counter.key, 0, work.group);
        if (series == nullptr || series->expires_ms < append_ms) series = awake.open(counter, 0, work.group);
        const int64_t before_ms = series->window.last;
        series->slack -= add(*series, work, time_ms);
        series->expires_ms = std::max(series->expires_ms, time_ms + counter.keep_ms);
        if (time_ms <= before_ms - counter.shortest_ms) {
            std::vector<const Span *> timely;
            for (const Span &span : counter.spans) {
                if (time_ms > before_ms - span.timespan_ms) {
                    timely.push_back(&span);
                } else {
                    ++tally.late;
                    straggle(awake, span, work, time_ms, append_ms, stale);
                }
            }
            spans_ = std::move(timely);
            evaluate(*series, work.group, false, stale);
            series->slack = 0;  // the other timespans were not looked at
        } else if (series->slack <= 0) {
            spans_.clear();
            for (const Span &span : counter.spans) spans_.push_back(&span);
            evaluate(*series, work.group, false, stale);
        }
    }
}

// Adds an event to a window; returns by how much a count can have grown.
int64_t Store::add(Series &series, const Work &work, int64_t time_ms) {
    Window &window = series.window;
    const size_t size = work.end - work.from;
    const uint64_t *values = values_.data() + work.from;
    switch (window.kind()) {
        case Counts::events: return window.add_event(time_ms, size > 0 ? values[0] : 0);
        case Counts::values:
            window.see(time_ms);
            for (size_t n = 0; n < size; ++n) window.add_value(time_ms, values[n]);
            return static_cast<int64_t>(size);
        case Counts::sums:
            if (size == 0) {
                window.see(time_ms);
                return 0;
            }
            return window.add_amount(time_ms, static_cast<int64_t>(std::min<uint64_t>(values[0], LARGEST_AMOUNT)),
                                     size > 1 ? values[1] : 0);
    }
    return 0;
}

// Counts an event that is late for a timespan: a log that comes late is still a burst, with an `L` of its own.
void Store::straggle(Awake &awake, const Span &span, const Work &work, int64_t time_ms, int64_t append_ms, bool stale) {
    const Counter &counter = *work.counter;
    Series *series = awake.find(counter.key, span.timespan_ms, work.group);
    if (series == nullptr || series->expires_ms < append_ms) series = awake.open(counter, span.timespan_ms, work.group);
    if (time_ms <= series->window.last - span.timespan_ms) {
        ++tally.lost_late;
        return;
    }
    series->slack -= add(*series, work, time_ms);
    series->expires_ms = std::max(series->expires_ms, time_ms + counter.keep_ms);
    if (series->slack <= 0) {
        spans_.assign(1, &span);
        evaluate(*series, work.group, true, stale);
    }
}

// Evaluates the rules of `spans_`; those that hold and whose latch was open are noted.
void Store::evaluate(Series &series, std::string_view group, bool straggler, bool stale) {
    const Window &window = series.window;
    const int64_t last_ms = window.last;
    int64_t slack = LARGEST_AMOUNT;
    for (const Span *span : spans_) {
        const int64_t held = window.count_after(last_ms - span->timespan_ms);
        for (const PlannedRule &rule : span->rules) {
            slack = std::min(slack, rule.threshold - held);
            if (rule.threshold > held) continue;
            auto *shut = series.shut(rule.latch);
            const bool open = shut == nullptr || last_ms - shut->second > span->timespan_ms ||
                              (!stale && series.is_stale(rule.latch));
            if (shut == nullptr) {
                series.latches.emplace_back(rule.latch, last_ms);
            } else {
                shut->second = last_ms;
            }
            if (!open) continue;
            excesses_.push_back({&rule, group, straggler, last_ms, window.nth_latest(rule.threshold), stale});
            auto &marks = series.stale;
            if (!stale) {
                marks.erase(std::remove(marks.begin(), marks.end(), rule.latch), marks.end());
            } else if (!series.is_stale(rule.latch)) {
                marks.push_back(rule.latch);
            }
        }
    }
    series.slack = slack;
}

}  // namespace engine
