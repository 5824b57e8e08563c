// MessagePack, as far as our formats use it (https://github.com/msgpack/msgpack/blob/master/spec.md).
// The writer gives the same bytes as msgspec: each number in its shortest form.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "bytes.hpp"

namespace engine {

class Packer {
  public:
    std::string out;

    void nil() { out.push_back(static_cast<char>(0xc0)); }
    void boolean(bool value) { out.push_back(static_cast<char>(value ? 0xc3 : 0xc2)); }
    void raw(std::string_view packed) { out.append(packed); }

    void integer(int64_t value) {
        if (value >= 0) {
            natural(static_cast<uint64_t>(value));
        } else if (value >= -32) {
            out.push_back(static_cast<char>(value));
        } else if (value >= INT8_MIN) {
            head(0xd0, static_cast<uint64_t>(value), 1);
        } else if (value >= INT16_MIN) {
            head(0xd1, static_cast<uint64_t>(value), 2);
        } else if (value >= INT32_MIN) {
            head(0xd2, static_cast<uint64_t>(value), 4);
        } else {
            head(0xd3, static_cast<uint64_t>(value), 8);
        }
    }
    void natural(uint64_t value) {
        if (value < 0x80) {
            out.push_back(static_cast<char>(value));
        } else if (value <= UINT8_MAX) {
            head(0xcc, value, 1);
        } else if (value <= UINT16_MAX) {
            head(0xcd, value, 2);
        } else if (value <= UINT32_MAX) {
            head(0xce, value, 4);
        } else {
            head(0xcf, value, 8);
        }
    }
    void text(std::string_view value) {
        const size_t size = value.size();
        if (size < 32) {
            out.push_back(static_cast<char>(0xa0 | size));
        } else if (size <= UINT8_MAX) {
            head(0xd9, size, 1);
        } else if (size <= UINT16_MAX) {
            head(0xda, size, 2);
        } else {
            head(0xdb, size, 4);
        }
        out.append(value);
    }
    void binary(std::string_view value) {
        binary_head(value.size());
        out.append(value);
    }
    void binary_head(size_t size) {
        if (size <= UINT8_MAX) {
            head(0xc4, size, 1);
        } else if (size <= UINT16_MAX) {
            head(0xc5, size, 2);
        } else {
            head(0xc6, size, 4);
        }
    }
    void array(size_t size) {
        if (size < 16) {
            out.push_back(static_cast<char>(0x90 | size));
        } else if (size <= UINT16_MAX) {
            head(0xdc, size, 2);
        } else {
            head(0xdd, size, 4);
        }
    }
    void map(size_t size) {
        if (size < 16) {
            out.push_back(static_cast<char>(0x80 | size));
        } else if (size <= UINT16_MAX) {
            head(0xde, size, 2);
        } else {
            head(0xdf, size, 4);
        }
    }

  private:
    void head(uint8_t code, uint64_t value, int width) {
        char buffer[9];
        buffer[0] = static_cast<char>(code);
        for (int at = width; at > 0; --at) {
            buffer[at] = static_cast<char>(value & 0xff);
            value >>= 8;
        }
        out.append(buffer, static_cast<size_t>(width) + 1);
    }
};

enum class Kind : uint8_t { nil, boolean, integer, natural, real, text, binary, array, map, extension };

// One value: numbers in `number` (a `natural` is above what int64 holds), texts and bytes in `data`, of an
// array or a map how many parts follow. `raw` is all of its bytes, without the parts of an array or a map.
struct Value {
    Kind kind = Kind::nil;
    uint64_t number = 0;
    std::string_view data;
    std::string_view raw;

    bool is_int() const { return kind == Kind::integer || kind == Kind::natural; }
    int64_t signed_number() const { return static_cast<int64_t>(number); }
};

// Reads values one after the other; never beyond its bytes. Throws Malformed.
class Unpacker {
  public:
    explicit Unpacker(std::string_view content) : content_(content) {}

    size_t at() const { return at_; }
    bool at_end() const { return at_ == content_.size(); }
    std::string_view since(size_t from) const { return content_.substr(from, at_ - from); }

    Value next() {
        const size_t from = at_;
        Value value;
        read(value);
        value.raw = since(from);
        return value;
    }

    // Reads one value with all its parts, which `raw` holds, too.
    Value whole() {
        const size_t from = at_;
        Value value;
        read(value);
        for (uint64_t left = parts(value); left > 0; --left) {
            Value part;
            read(part);
            left += parts(part);
        }
        value.raw = since(from);
        return value;
    }
    // Passes over one value with all its parts, and returns its bytes.
    std::string_view skip() { return whole().raw; }
    // Passes over so many values with all their parts.
    void skip(uint64_t values) {
        for (; values > 0; --values) {
            Value value;
            read(value);
            values += parts(value);
        }
    }

    size_t array() {
        const Value value = next();
        if (value.kind != Kind::array) throw Malformed("not an array");
        return static_cast<size_t>(value.number);
    }
    int64_t integer() {
        const Value value = next();
        if (value.kind != Kind::integer) throw Malformed("not an integer");
        return value.signed_number();
    }
    std::string_view text() {
        const Value value = next();
        if (value.kind != Kind::text) throw Malformed("not a text");
        return value.data;
    }
    std::string_view binary() {
        const Value value = next();
        if (value.kind != Kind::binary) throw Malformed("not bytes");
        return value.data;
    }

  private:
    std::string_view content_;
    size_t at_ = 0;

    uint64_t big_endian(size_t width) {
        if (content_.size() - at_ < width) throw Malformed("cut off");
        const uint64_t value = engine::big_endian(content_.data() + at_, width);
        at_ += width;
        return value;
    }
    std::string_view take(uint64_t size) {
        if (content_.size() - at_ < size) throw Malformed("cut off");
        const std::string_view part = content_.substr(at_, static_cast<size_t>(size));
        at_ += static_cast<size_t>(size);
        return part;
    }
    static uint64_t parts(const Value &value) {
        if (value.kind == Kind::array) return value.number;
        return value.kind == Kind::map ? 2 * value.number : 0;
    }
    static void set_signed(Value &value, int64_t number) {
        value.kind = Kind::integer;
        value.number = static_cast<uint64_t>(number);
    }
    static void set_natural(Value &value, uint64_t number) {
        value.kind = number > INT64_MAX ? Kind::natural : Kind::integer;
        value.number = number;
    }
    void many(Value &value, Kind kind, uint64_t size) {
        // Each part takes at least one byte: a made-up size fails here and not later.
        if (size > content_.size() - at_) throw Malformed("cut off");
        value.kind = kind;
        value.number = size;
    }
    void data(Value &value, Kind kind, uint64_t size) {
        value.kind = kind;
        value.data = take(size);
    }

    void read(Value &value) {
        const uint8_t code = static_cast<uint8_t>(big_endian(1));
        if (code < 0x80) return set_natural(value, code);
        if (code >= 0xe0) return set_signed(value, static_cast<int8_t>(code));
        if (code < 0x90) return many(value, Kind::map, code & 0x0f);
        if (code < 0xa0) return many(value, Kind::array, code & 0x0f);
        if (code < 0xc0) return data(value, Kind::text, code & 0x1f);
        switch (code) {
            case 0xc0: value.kind = Kind::nil; return;
            case 0xc2:
            case 0xc3: value.kind = Kind::boolean; value.number = code & 1; return;
            case 0xc4: return data(value, Kind::binary, big_endian(1));
            case 0xc5: return data(value, Kind::binary, big_endian(2));
            case 0xc6: return data(value, Kind::binary, big_endian(4));
            case 0xc7: return extension(value, big_endian(1));
            case 0xc8: return extension(value, big_endian(2));
            case 0xc9: return extension(value, big_endian(4));
            case 0xca: value.kind = Kind::real; value.number = big_endian(4); return;
            case 0xcb: value.kind = Kind::real; value.number = big_endian(8); return;
            case 0xcc: return set_natural(value, big_endian(1));
            case 0xcd: return set_natural(value, big_endian(2));
            case 0xce: return set_natural(value, big_endian(4));
            case 0xcf: return set_natural(value, big_endian(8));
            case 0xd0: return set_signed(value, static_cast<int8_t>(big_endian(1)));
            case 0xd1: return set_signed(value, static_cast<int16_t>(big_endian(2)));
            case 0xd2: return set_signed(value, static_cast<int32_t>(big_endian(4)));
            case 0xd3: return set_signed(value, static_cast<int64_t>(big_endian(8)));
            case 0xd4:
            case 0xd5:
            case 0xd6:
            case 0xd7:
            case 0xd8: return extension(value, uint64_t{1} << (code - 0xd4));
            case 0xd9: return data(value, Kind::text, big_endian(1));
            case 0xda: return data(value, Kind::text, big_endian(2));
            case 0xdb: return data(value, Kind::text, big_endian(4));
            case 0xdc: return many(value, Kind::array, big_endian(2));
            case 0xdd: return many(value, Kind::array, big_endian(4));
            case 0xde: return many(value, Kind::map, big_endian(2));
            case 0xdf: return many(value, Kind::map, big_endian(4));
            default: throw Malformed("an unknown code");
        }
    }
    void extension(Value &value, uint64_t size) { data(value, Kind::extension, size + 1); }
};

}  // namespace engine
