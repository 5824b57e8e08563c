// What is held of subjects: in use or at rest, which of them changed, and which no longer matter.
#include "store.hpp"

namespace engine {

Ref name_of(const Subject &subject) {
    const Ref axis = text(subject.axis()), name = text(subject.name());
    return Ref::checked(PyTuple_Pack(2, axis.get(), name.get()));
}

void Store::set_plan(PyObject *spec) {
    Plan next(spec, names);
    // What was seen under the rules before is still to be told.
    for (Counter &counter : next.counters) {
        const Counter *before = plan.counter_of(counter.key);
        if (before == nullptr) continue;
        for (const Span &span : counter.spans)
            for (const Span &other : before->spans)
                if (other.timespan_ms == span.timespan_ms) span.nearest = other.nearest;
    }
    for (const auto &subject : round_)
        if (subject->awake) subject->awake->trim(plan);
    plan = std::move(next);
}

std::string_view Store::key_of(std::string_view axis, std::string_view name) {
    key_.assign(axis);
    key_.push_back('\0');
    key_.append(name);
    return key_;
}

Subject *Store::find(std::string_view axis, std::string_view name) {
    return places_.find(key_of(axis, name), round_);
}

// Returns what is held under a name, or a new subject that holds nothing yet.
Subject &Store::held(std::string_view axis, std::string_view name) {
    if (Subject *subject = find(axis, name)) return *subject;
    if (round_.size() >= UINT32_MAX) throw std::bad_alloc();
    round_.push_back(Subject::make(axis, name));
    Subject &subject = *round_.back();
    subject.place = static_cast<uint32_t>(round_.size() - 1);
    places_.add(subject);
    return subject;
}

Subject &Store::open(std::string_view axis, std::string_view name) {
    Subject &subject = held(axis, name);
    subject.recovered = NOT_RECOVERED;
    subject.expires_ms = NEVER;
    subject.lasting = false;
    subject.drop();
    subject.awake = std::make_unique<Awake>(plan.version);
    return subject;
}

void Store::put_to_rest(Subject &subject, std::string_view packed) {
    if (shapes_.squeeze(packed, squeezed_)) {
        subject.keep(Form::squeezed, squeezed_);
    } else {
        subject.keep(Form::packed, packed);
    }
    subject.awake.reset();
}

Awake &Store::awake(Subject &subject) {
    if (subject.awake) return *subject.awake;
    if (subject.form() == Form::nothing) {
        subject.awake = std::make_unique<Awake>(plan.version);
        return *subject.awake;
    }
    Packer expanded;
    std::string_view at_rest = subject.kept();
    if (subject.form() == Form::squeezed) {
        shapes_.expand(at_rest, expanded);
        at_rest = expanded.out;
    }
    int64_t expires_ms = NEVER;
    std::string_view packed_incident;
    std::unique_ptr<Awake> state;
    std::string modern;
    try {
        state = Awake::unpack(at_rest, names, expires_ms, packed_incident);
    } catch (const Malformed &) {
        // Perhaps of a version before: Python reads it, or says why not.
        const Ref axis = text(subject.axis()), name = text(subject.name()), packed = bytes(at_rest);
        const Ref again =
            Ref::checked(PyObject_CallMethod(host_, "native_modern", "OOO", axis.get(), name.get(), packed.get()));
        modern.assign(as_bytes(again.get()));
        state = Awake::unpack(modern, names, expires_ms, packed_incident);
    }
    subject.lasting = false;
    if (packed_incident.size() != 1) {
        const Ref packed = bytes(packed_incident);
        const Ref found = Ref::checked(PyObject_CallMethod(host_, "native_incident", "O", packed.get()));
        state->incident = Ref::borrowed(item(found.get(), 0));
        subject.lasting = as_bool(item(found.get(), 1));
    }
    subject.expires_ms = expires_ms;
    subject.awake = std::move(state);
    subject.drop();
    return *subject.awake;
}

void Store::restore(std::string_view axis, std::string_view name, int64_t stamp, std::string_view packed, bool lasting,
                    int64_t until_ms) {
    Subject &subject = open(axis, name);
    subject.recovered = stamp;
    if (packed.empty()) return;
    put_to_rest(subject, packed);
    subject.lasting = lasting;
    subject.expires_ms = until_ms;
}

void Store::change(Subject &subject, std::string_view packed) {
    const Ref incident = awake(subject).incident;
    int64_t expires_ms = NEVER;
    std::string_view packed_incident;
    subject.awake = Awake::unpack(packed, names, expires_ms, packed_incident);
    subject.awake->incident = incident;
}

void Store::touch(Subject &subject, int64_t time_ms, int64_t keep_ms) {
    subject.expires_ms = std::max(subject.expires_ms, time_ms + keep_ms);
    if (subject.dirty) return;
    subject.dirty = true;
    dirty_.push_back(&subject);
}

void Store::move(Subject &subject, std::string_view to) {
    awake(subject);
    const std::string axis(subject.axis());
    if (Subject *replaced = find(axis, to)) free(*replaced);
    Subject &moved = open(axis, to);
    moved.recovered = subject.recovered;
    moved.expires_ms = subject.expires_ms;
    moved.lasting = subject.lasting;
    moved.awake = std::move(subject.awake);
    touch(moved, NEVER, 0);
    free(subject);
}

void Store::free(Subject &subject) {
    places_.remove(subject);
    // The last one takes its place: the sweep goes down, so it was there already.
    std::unique_ptr<Subject> own = std::move(round_[subject.place]);
    if (subject.place + 1 < round_.size()) {
        places_.move(*round_.back(), subject.place);
        round_[subject.place] = std::move(round_.back());
    }
    round_.pop_back();
    cursor_ = std::min(cursor_, round_.size());
    if (subject.dirty || subject.saved) {
        // Lists still name it.
        subject.gone = true;
        subject.awake.reset();
        gone_.push_back(std::move(own));
    }
}

std::string Store::snapshot(Subject &subject) {
    Awake &state = awake(subject);
    state.trim(plan);
    look(state);
    Packer packer;
    if (state.incident) {
        const Ref packed = Ref::checked(PyObject_CallMethod(host_, "native_packed", "O", state.incident.get()));
        state.pack(packer, names, subject.expires_ms, as_bytes(packed.get()));
    } else {
        state.pack(packer, names, subject.expires_ms, "\xc0");
    }
    return std::move(packer.out);
}

// Notes how near its threshold each rule came (monitor/core/nearness.py).
void Store::look(const Awake &state) {
    if (state.epoch != plan.version) return;  // its windows are those of an older rule set until the next event
    for (const auto &series : state.series) {
        const Counter *counter = plan.counter_of(series->key);
        if (counter == nullptr) continue;
        const Window &window = series->window;
        // More than all that is in the window does not lie in a part of it: most need no search.
        const int64_t most = window.kind() == Counts::sums ? window.capacity : static_cast<int64_t>(window.size());
        for (const Span &span : counter->spans) {
            if (most <= span.nearest || (series->timespan_ms != 0 && series->timespan_ms != span.timespan_ms)) continue;
            span.nearest = std::max(span.nearest, window.count_after(window.last - span.timespan_ms));
        }
    }
}

Ref Store::sweep(int64_t append_ms, int64_t offset, size_t limit) {
    const Ref freed = Ref::checked(PyList_New(0));
    for (; limit > 0; --limit) {
        if (cursor_ == 0) {
            // The next round begins with the next call.
            held_windows = counted_windows_;
            held_bytes = counted_bytes_;
            counted_windows_ = counted_bytes_ = 0;
            cursor_ = round_.size();
            break;
        }
        Subject &subject = *round_[--cursor_];
        if (subject.awake) {
            counted_windows_ += static_cast<int64_t>(subject.awake->series.size());
            counted_bytes_ += static_cast<int64_t>(subject.awake->packed_bytes());
        } else {
            counted_bytes_ += static_cast<int64_t>(subject.kept().size());
        }
        // Rows that it holds are still to come again: without it they would count twice.
        if (subject.recovered >= offset) continue;
        if (subject.expired(append_ms)) {
            append(freed, name_of(subject));
            free(subject);
        } else if (subject.awake) {
            subject.awake->prune(plan, append_ms);
        }
    }
    return freed;
}

std::vector<Subject *> Store::take_dirty() {
    std::vector<Subject *> dirty;
    dirty.swap(dirty_);
    dirty.erase(std::remove_if(dirty.begin(), dirty.end(), [](const Subject *subject) { return subject->gone; }),
                dirty.end());
    if (saved_.empty()) gone_.clear();
    for (Subject *subject : dirty) subject->dirty = false;
    return dirty;
}

bool Store::rest(size_t limit) {
    for (; limit > 0 && !saved_.empty(); --limit) {
        Subject *subject = saved_.back();
        saved_.pop_back();
        subject->saved = false;
        if (subject->gone || !subject->awake) continue;
        if (subject->dirty) {
            subject->drop();
        } else if (subject->form() == Form::packed) {
            if (shapes_.squeeze(subject->kept(), squeezed_)) subject->keep(Form::squeezed, squeezed_);
            subject->awake.reset();
        }
    }
    if (!saved_.empty()) return true;
    dirty_.erase(std::remove_if(dirty_.begin(), dirty_.end(), [](const Subject *subject) { return subject->gone; }),
                 dirty_.end());
    gone_.clear();
    return false;
}

Ref Store::save(int64_t stamp, size_t limit, size_t longest) {
    const Ref records = Ref::checked(PyList_New(0)), large = Ref::checked(PyList_New(0));
    const size_t upto = std::min(limit, dirty_.size());
    for (size_t n = 0; n < upto; ++n) {
        Subject &subject = *dirty_[n];
        if (subject.gone) continue;
        subject.dirty = false;
        std::string packed = snapshot(subject);
        if (packed.size() > longest) {
            append(large, name_of(subject));
            continue;
        }
        Packer value;
        value.out.reserve(packed.size() + 32);
        value.array(4);
        value.integer(STATE_FORMAT);
        value.integer(stamp);
        if (subject.lasting) {
            value.nil();
        } else {
            value.integer(subject.expires_ms);
        }
        value.binary(packed);
        std::string key("s");
        key.append(subject.key()).append("\0" "0", 2);
        const Ref key_bytes = engine::bytes(key), value_bytes = engine::bytes(value.out);
        append(records, Ref::checked(PyTuple_Pack(2, key_bytes.get(), value_bytes.get())));
        subject.keep(Form::packed, packed);
        if (subject.saved) continue;
        subject.saved = true;
        saved_.push_back(&subject);
    }
    dirty_.erase(dirty_.begin(), dirty_.begin() + static_cast<std::ptrdiff_t>(upto));
    return Ref::checked(PyTuple_Pack(2, records.get(), large.get()));
}

}  // namespace engine
