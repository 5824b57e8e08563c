// The extension module `monitor.engine._batches`: what Kafka's fetched batches hold, as _batches.pyi describes it.
// Their format is version 2 of https://kafka.apache.org/documentation/#recordbatch.
#include <optional>

#include "bytes.hpp"
#include "crc32c.hpp"
#include "python.hpp"

namespace engine {
namespace {

constexpr size_t length_at = 8, counted_from = 12, magic_at = 16, checksum_at = 17, summed_from = 21, time_at = 27, latest_at = 35, count_at = 57, records_at = 61;
constexpr uint16_t codec_bits = 0x07, log_append_time = 0x08, control = 0x20;

// What is not for this code is Malformed to it: aiokafka reads it, and says what is wrong.
template <typename Number> Number number_at(std::string_view content, size_t at) { return static_cast<Number>(big_endian(content.data() + at, sizeof(Number))); }

// The batch that begins at `at`, whole, with its header.
std::string_view batch_at(PyObject *object, int64_t at) {
    const std::string_view content = as_bytes(object);
    if (at < 0 || static_cast<uint64_t>(at) > content.size()) throw std::invalid_argument("no batch can begin there");
    const std::string_view rest = content.substr(static_cast<size_t>(at));
    if (rest.size() < records_at || rest[magic_at] != 2) throw Malformed("not of version 2");
    const auto length = number_at<int32_t>(rest, length_at);
    if (length < static_cast<int32_t>(records_at - counted_from) || static_cast<size_t>(length) > rest.size() - counted_from) throw Malformed("not whole");
    return rest.substr(0, counted_from + static_cast<size_t>(length));
}

struct Reader : ByteReader {
    int64_t number() { return unfolded(natural()); }
    // Of the attributes of a record there are none yet; aiokafka takes them for such a number.
    void skip_attributes() {
        if (number() != 0) throw Malformed("attributes");
    }
    std::string_view part() { return take(static_cast<uint64_t>(number())); }
    std::optional<std::string_view> part_or_null() {
        const int64_t size = number();
        if (size < 0) return {};
        return take(static_cast<uint64_t>(size));
    }
    void end() const {
        if (!content.empty()) throw Malformed("more than was said");
    }
};

int64_t sum(int64_t one, int64_t other) {
    int64_t both = 0;
    if (__builtin_add_overflow(one, other, &both)) throw Malformed("beyond 64 bits");
    return both;
}

Ref bytes_or_none(std::optional<std::string_view> found) { return found ? bytes(*found) : Ref::borrowed(Py_None); }

Ref headers(Reader &reader) {
    const int64_t count = reader.number();
    if (count < 0 || static_cast<uint64_t>(count) > reader.content.size()) throw Malformed("no such number of headers");
    Ref made = Ref::checked(PyTuple_New(static_cast<Py_ssize_t>(count)));
    for (Py_ssize_t number = 0; number < count; ++number) {
        const std::string_view name = reader.part();
        Ref key(PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), nullptr));
        if (!key) {
            PyErr_Clear();
            throw Malformed("not UTF-8");
        }
        const Ref value = bytes_or_none(reader.part_or_null());
        PyTuple_SetItem(made.get(), number, Ref::checked(PyTuple_Pack(2, key.get(), value.get())).release());
    }
    return made;
}

// (content, where the batch begins)
PyObject *intact(PyObject *, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        if (!has_crc32c()) return none();
        try {
            const std::string_view batch = batch_at(item(arguments, 0), as_int(item(arguments, 1)));
            return PyBool_FromLong(crc32c(batch.substr(summed_from)) == number_at<uint32_t>(batch, checksum_at));
        } catch (const Malformed &) {
            return none();
        }
    });
}

// (content, where the batch begins, least offset, most records, topic, partition, what makes a record)
PyObject *unpack(PyObject *, PyObject *arguments) {
    return guarded([&]() -> PyObject * {
        try {
            const std::string_view batch = batch_at(item(arguments, 0), as_int(item(arguments, 1)));
            const int64_t most = as_int(item(arguments, 3));
            int64_t least = as_int(item(arguments, 2));
            PyObject *const make = item(arguments, 6);
            const auto flags = number_at<uint16_t>(batch, summed_from);
            const auto count = number_at<int32_t>(batch, count_at);
            if ((flags & (codec_bits | control)) != 0 || count < 0 || count > most) throw Malformed("not plain");
            const auto base = number_at<int64_t>(batch, 0), begun = number_at<int64_t>(batch, time_at), latest = number_at<int64_t>(batch, latest_at);
            Reader reader{{batch.substr(records_at)}};
            Ref made = Ref::checked(PyList_New(0));
            for (int32_t number = 0; number < count; ++number) {
                Reader record{{reader.part()}};
                record.skip_attributes();
                const int64_t elapsed = record.number();
                const int64_t offset = sum(base, record.number());
                const auto key = record.part_or_null(), value = record.part_or_null();
                const Ref with = headers(record);
                record.end();
                if (offset < least) continue;
                const int64_t time_ms = (flags & log_append_time) != 0 ? latest : sum(begun, elapsed);
                const Ref fields = Ref::checked(PyTuple_Pack(
                    7, item(arguments, 4), item(arguments, 5), integer(offset).get(), integer(time_ms).get(),
                    bytes_or_none(key).get(), bytes_or_none(value).get(), with.get()));
                append(made, Ref::checked(PyObject_CallObject(make, fields.get())));
                least = sum(offset, 1);
            }
            reader.end();
            return made.release();
        } catch (const Malformed &) {
            return none();
        }
    });
}

}  // namespace
}  // namespace engine

PyMODINIT_FUNC PyInit__batches() {
    using namespace engine;
    static PyMethodDef methods[] = {
        {"intact", intact, METH_VARARGS, nullptr},
        {"unpack", unpack, METH_VARARGS, nullptr},
        {nullptr, nullptr, 0, nullptr},
    };
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "monitor.engine._batches", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};
    return PyModule_Create(&definition);
}
