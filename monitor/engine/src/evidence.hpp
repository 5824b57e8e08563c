// What a row is evidence of, in the form that the topic `evidence` carries (monitor/core/evidence.py).
#pragma once

#include <string>
#include <string_view>

#include "row.hpp"

namespace engine {

// Appends a text as JSON writes it, as msgspec does. Throws OddRow where it is not UTF-8.
inline void write_json(std::string_view text, std::string &out) {
    static const char digits[] = "0123456789abcdef";
    out.push_back('"');
    for (size_t at = 0; at < text.size();) {
        const uint8_t byte = static_cast<uint8_t>(text[at]);
        if (byte < 0x80) {
            ++at;
            switch (byte) {
                case '"': out += "\\\""; break;
                case '\\': out += "\\\\"; break;
                case '\b': out += "\\b"; break;
                case '\f': out += "\\f"; break;
                case '\n': out += "\\n"; break;
                case '\r': out += "\\r"; break;
                case '\t': out += "\\t"; break;
                default:
                    if (byte >= 0x20) {
                        out.push_back(static_cast<char>(byte));
                    } else {
                        out += "\\u00";
                        out.push_back(digits[byte >> 4]);
                        out.push_back(digits[byte & 0xf]);
                    }
            }
            continue;
        }
        const size_t size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
        if (byte < 0xc2 || byte > 0xf4 || text.size() - at < size) throw OddRow("DecodeError");
        uint32_t code = byte & (0x7fU >> size);
        for (size_t n = 1; n < size; ++n) {
            const uint8_t next = static_cast<uint8_t>(text[at + n]);
            if ((next & 0xc0) != 0x80) throw OddRow("DecodeError");
            code = code << 6 | (next & 0x3fU);
        }
        // Neither longer than need be, nor half of a pair of UTF-16, nor beyond the last.
        if ((size == 3 && code < 0x800) || (size == 4 && code < 0x10000) || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
            throw OddRow("DecodeError");
        out.append(text.substr(at, size));
        at += size;
    }
    out.push_back('"');
}

// Appends a text or nil; throws OddRow for anything else.
inline void write_json(const Value &value, std::string &out) {
    if (value.kind == Kind::nil) {
        out += "null";
    } else if (value.kind == Kind::text) {
        write_json(value.data, out);
    } else {
        throw OddRow("TypeError");
    }
}

// Whether an event's row tells of patients that were read with success; they must have been read.
inline bool is_evidence(const Row &row) {
    const Value &status = row.columns[STATUS];
    return !row.patients.empty() && status.kind == Kind::integer && status.signed_number() >= 200 && status.signed_number() < 300;
}

// Writes a row as `plain_evidence` gives it: offset, time, route, patients. Throws OddRow where Python must do it.
inline void write_evidence(const Row &row, int64_t time_ms, std::string &out) {
    out.assign(1, '[');
    const Value &offset = row.columns[OFFSET];
    if (!offset.is_int()) throw OddRow("TypeError");
    out += offset.kind == Kind::natural ? std::to_string(offset.number) : std::to_string(offset.signed_number());
    out.push_back(',');
    out += std::to_string(time_ms);
    out.push_back(',');
    write_json(row.columns[ROUTE], out);
    out += ",[";
    for (size_t n = 0; n < row.patients.size(); ++n) {
        const Patient &pair = row.patients[n];
        if (pair.patient.kind != Kind::text) throw OddRow("TypeError");
        out += n == 0 ? "[" : ",[";
        write_json(pair.patient.data, out);
        out.push_back(',');
        // The row's own tenant stands where a patient has none.
        write_json(pair.tenant.kind == Kind::nil ? row.columns[TENANT] : pair.tenant, out);
        out.push_back(',');
        write_json(row.columns[CATEGORY], out);
        out.push_back(']');
    }
    out += "]]";
}

}  // namespace engine
