// State as it is recovered (monitor/wire/state.py): records go to their subjects at once, and no object of Python is
// made of one. What stands in several records (pages, the version before) or is odd stays with Python.
#include "store_module.hpp"

namespace engine {
namespace {

bool is_text(std::string_view part) {
    const bool plain = std::all_of(part.begin(), part.end(), [](char letter) { return static_cast<uint8_t>(letter) < 0x80; });
    if (plain) return true;
    const Ref text(PyUnicode_DecodeUTF8(part.data(), static_cast<Py_ssize_t>(part.size()), "strict"));
    if (!text) PyErr_Clear();
    return static_cast<bool>(text);
}

// Splits the key of a subject's own record; false for any other.
bool split(std::string_view key, std::string_view &axis, std::string_view &name) {
    if (key.empty() || key[0] != 's' || !is_text(key)) return false;
    const size_t first = key.find('\0');
    if (first == key.npos) return false;
    const size_t second = key.find('\0', first + 1);
    if (second == key.npos || key.substr(second + 1) != "0") return false;
    axis = key.substr(1, first - 1);
    name = key.substr(first + 1, second - first - 1);
    return true;
}

}  // namespace

bool Store::recover(std::string_view key, std::string_view value) {
    std::string_view axis, name;
    if (!split(key, axis, name)) return false;
    int64_t stamp = 0;
    Value until, content;
    try {
        Unpacker from(value);
        if (from.array() != 4 || from.integer() != STATE_FORMAT) return false;
        stamp = from.integer();
        until = from.next();
        content = from.next();
        if (!from.at_end()) return false;
    } catch (const Malformed &) {
        return false;
    }
    const bool lasting = until.kind == Kind::nil;
    if (!lasting && until.kind != Kind::integer) return false;
    const bool freed = content.kind == Kind::nil, whole = content.kind == Kind::binary && !content.data.empty();
    if (!freed && !whole && content.kind != Kind::extension) return false;

    Subject *known = find(axis, name);
    if (known != nullptr && stamp < known->recovered) return true;
    Subject &subject = known == nullptr ? held(axis, name) : *known;
    subject.recovered = stamp;
    subject.lasting = lasting && !freed;
    subject.expires_ms = lasting || freed ? NEVER : until.signed_number();
    if (whole) {
        put_to_rest(subject, content.data);
    } else if (freed) {
        subject.drop();
    } else {
        subject.keep(Form::paged, content.raw);
    }
    return true;
}

void Store::recover_deleted(std::string_view key) {
    std::string_view axis, name;
    if (!split(key, axis, name)) return;
    if (Subject *subject = find(axis, name)) free(*subject);
}

bool Store::give_back(std::string_view axis, std::string_view name, Given &given) {
    Subject *subject = find(axis, name);
    if (subject == nullptr) return false;
    given = {subject->recovered, subject->lasting, subject->expires_ms, subject->form(), std::string(subject->kept())};
    if (subject->form() == Form::squeezed) {
        Packer expanded;
        shapes_.expand(subject->kept(), expanded);
        given.content = std::move(expanded.out);
    }
    free(*subject);
    return true;
}

Ref Store::settle(size_t at, size_t limit) {
    const Ref lasting = Ref::checked(PyList_New(0)), paged = Ref::checked(PyList_New(0));
    const size_t end = at + std::min(limit, round_.size() - std::min(at, round_.size()));
    for (; at < end; ++at) {
        Subject &subject = *round_[at];
        if (subject.form() == Form::paged) {
            append(paged, name_of(subject));
        } else if (subject.lasting) {
            append(lasting, name_of(subject));
        }
        // Freed: it holds nothing but its stamp, under the rules that were recovered.
        if (subject.form() == Form::nothing) awake(subject);
    }
    return Ref::checked(PyTuple_Pack(2, lasting.get(), paged.get()));
}

PyObject *recover_records(PyObject *self, PyObject *records) {
    return guarded([&] {
        static const Ref key_name = text("key"), value_name = text("value");
        Store &store = store_of(self);
        const Ref left = Ref::checked(PyList_New(0));
        for (Py_ssize_t n = 0; n < size_of(records); ++n) {
            const Ref record = Ref::checked(PySequence_GetItem(records, n));
            const Ref key = Ref::checked(PyObject_GetAttr(record.get(), key_name.get()));
            const Ref value = Ref::checked(PyObject_GetAttr(record.get(), value_name.get()));
            const bool named = PyBytes_Check(key.get());
            if (named && PyBytes_Check(value.get()) && store.recover(as_bytes(key.get()), as_bytes(value.get()))) continue;
            // Python is told of each deletion, too: it may hold parts of a subject.
            if (named && value.get() == Py_None) store.recover_deleted(as_bytes(key.get()));
            append(left, integer(n));
        }
        return Ref(left).release();
    });
}

PyObject *give_back(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Name name;
        parse(arguments, "s#s#", &name.axis, &name.axis_size, &name.name, &name.name_size);
        Given given;
        if (!store_of(self).give_back(name.of_axis(), name.of_name(), given)) return none();
        const Ref until = given.lasting || given.form == Form::nothing ? Ref::borrowed(Py_None) : integer(given.until_ms);
        const Ref content = given.form == Form::nothing ? Ref::borrowed(Py_None) : bytes(given.content);
        return Py_BuildValue("(LOOO)", static_cast<long long>(given.stamp), until.get(), content.get(),
                             given.form == Form::paged ? Py_False : Py_True);
    });
}

PyObject *settle(PyObject *self, PyObject *arguments) {
    return guarded([&] {
        Py_ssize_t at = 0, limit = 0;
        parse(arguments, "nn", &at, &limit);
        if (at < 0 || limit < 0) throw Malformed("no place of a subject");
        return store_of(self).settle(static_cast<size_t>(at), static_cast<size_t>(limit)).release();
    });
}

}  // namespace engine
