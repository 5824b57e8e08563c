// Values as 64-bit numbers (monitor/core/values.py), and a table that finds numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "blake2b.hpp"

namespace engine {

// The number of a text: 64 bits of its BLAKE2b hash.
inline uint64_t text_number(std::string_view text) {
    static const Blake2b hash(8);
    uint8_t digest[8];
    hash.digest(text, digest);
    return big_endian(digest, sizeof digest);
}

// The number of a pseudonym: its last 16 digits; any other text has that of `text_number`. Nothing where only
// Python knows: `int` also reads signs, white space, underscores and the digits of other scripts.
inline std::optional<uint64_t> pseudonym_number(std::string_view text) {
    bool plain = true;
    for (const char letter : text) plain = plain && static_cast<unsigned char>(letter) < 0x80;
    if (!plain) return std::nullopt;
    if (text.size() < 25 || text[text.size() - 25] != ':') return text_number(text);
    uint64_t number = 0;
    bool odd = false;
    for (const char digit : text.substr(text.size() - 16)) {
        if (digit >= '0' && digit <= '9') {
            number = number << 4 | static_cast<uint64_t>(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            number = number << 4 | static_cast<uint64_t>(digit - 'a' + 10);
        } else {
            odd = true;
        }
    }
    if (odd) return std::nullopt;
    return number;
}

// A table from numbers to numbers: open addressing, linear probing, no tombstones.
class NumberIndex {
  public:
    explicit NumberIndex(size_t expected) {
        size_t room = 64;
        while (room < 2 * expected) room *= 2;
        slots_.resize(room);
    }

    bool get(uint64_t key, int64_t &value) const {
        for (size_t at = home(key);; at = next(at)) {
            if (!slots_[at].used) return false;
            if (slots_[at].key == key) {
                value = slots_[at].value;
                return true;
            }
        }
    }

    void set(uint64_t key, int64_t value) {
        if (2 * (used_ + 1) > slots_.size()) grow();
        size_t at = home(key);
        while (slots_[at].used && slots_[at].key != key) at = next(at);
        if (!slots_[at].used) ++used_;
        slots_[at] = {key, value, true};
    }

    void erase(uint64_t key) {
        size_t at = home(key);
        while (slots_[at].used && slots_[at].key != key) at = next(at);
        if (!slots_[at].used) return;
        --used_;
        // What follows moves up, so that each is still reached from its home.
        for (size_t gap = at, from = next(at);; from = next(from)) {
            if (!slots_[from].used) {
                slots_[gap].used = false;
                return;
            }
            const size_t wanted = home(slots_[from].key);
            const bool stays = gap <= from ? gap < wanted && wanted <= from : gap < wanted || wanted <= from;
            if (!stays) {
                slots_[gap] = slots_[from];
                gap = from;
            }
        }
    }

  private:
    struct Slot {
        uint64_t key = 0;
        int64_t value = 0;
        bool used = false;
    };
    std::vector<Slot> slots_;
    size_t used_ = 0;

    // Numbers may be small and regular (a status, bytes): they are spread first.
    size_t home(uint64_t key) const { return (key * 0x9e3779b97f4a7c15ULL >> 20) & (slots_.size() - 1); }
    size_t next(size_t at) const { return (at + 1) & (slots_.size() - 1); }
    void grow() {
        std::vector<Slot> before(2 * slots_.size());
        before.swap(slots_);
        used_ = 0;
        for (const Slot &slot : before)
            if (slot.used) set(slot.key, slot.value);
    }
};

}  // namespace engine
