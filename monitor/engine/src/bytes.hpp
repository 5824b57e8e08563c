// Numbers as formats write them in bytes, and how bytes are taken one part after the other.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace engine {

class Malformed : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// A number of `width` bytes, at most eight, the most significant first.
template <typename Byte> uint64_t big_endian(const Byte *at, size_t width) {
    uint64_t value = 0;
    for (size_t n = 0; n < width; ++n) value = value << 8 | static_cast<uint8_t>(at[n]);
    return value;
}

// A number of eight bytes, the least significant first; written so that it becomes one load.
template <typename Byte> uint64_t little_endian(const Byte *at) {
    const auto byte = [at](int n) { return uint64_t{static_cast<uint8_t>(at[n])} << (8 * n); };
    return byte(0) | byte(1) | byte(2) | byte(3) | byte(4) | byte(5) | byte(6) | byte(7);
}

// What a folded number stands for: its sign is in the last bit (zig-zag).
inline int64_t unfolded(uint64_t folded) { return static_cast<int64_t>(folded >> 1 ^ (0 - (folded & 1))); }

// Takes parts from the front; throws Malformed where there is less.
struct ByteReader {
    std::string_view content;

    std::string_view take(uint64_t size) {
        if (size > content.size()) throw Malformed("cut off");
        const std::string_view part = content.substr(0, static_cast<size_t>(size));
        content.remove_prefix(part.size());
        return part;
    }
    // A number in groups of seven bits, the least first.
    uint64_t natural() {
        uint64_t value = 0;
        for (int by = 0; by < 70; by += 7) {
            const auto byte = static_cast<uint8_t>(take(1)[0]);
            value |= static_cast<uint64_t>(byte & 0x7f) << by;
            if (byte < 0x80) return value;
        }
        throw Malformed("a number that does not end");
    }
};

}  // namespace engine
