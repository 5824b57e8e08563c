// A bounded table by bytes: it forgets all when it is full. Keys come from outside, so that where one stands is
// decided by a seed that nobody can know: nobody can make keys that all stand at one place.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace engine {

// Keyed by chance for each process.
inline uint64_t hashed(std::string_view key) {
    static const struct Seed {
        uint64_t part[3];
        Seed() {
            std::random_device random;
            for (uint64_t &one : part) one = static_cast<uint64_t>(random()) << 32 | random();
        }
    } seed;
    const auto mixed = [](uint64_t one, uint64_t other) {
        const auto product = static_cast<unsigned __int128>(one) * other;
        return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    };
    const auto word = [](const char *at, size_t size) {
        uint64_t value = 0;
        std::memcpy(&value, at, size);
        return value;
    };
    const char *at = key.data();
    size_t left = key.size();
    uint64_t state = seed.part[0] ^ left;
    for (; left > 16; at += 16, left -= 16) state = mixed(word(at, 8) ^ seed.part[1], word(at + 8, 8) ^ state);
    const uint64_t first = left == 0 ? 0 : word(at, left < 8 ? left : 8);
    const uint64_t second = left > 8 ? word(at + 8, left - 8) : 0;
    return mixed(mixed(first ^ seed.part[1], second ^ state) ^ seed.part[2], seed.part[0]);
}

template <typename Value> class Table {
  public:
    // At most so many keys, of so many bytes together: then it begins anew. A key of more bytes is not kept.
    Table(size_t most, size_t most_bytes) : most_(most), most_bytes_(most_bytes) {}

    size_t size() const { return size_; }

    // The value of a key, or nullptr; it stands there until the next `put`.
    Value *find(std::string_view key, uint64_t hash) {
        if (size_ == 0) return nullptr;
        for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
            Slot &slot = slots_[at];
            if (!slot.used) return nullptr;
            if (slot.hash == hash && std::string_view(keys_).substr(slot.from, slot.size) == key) return &slot.value;
        }
    }
    Value *find(std::string_view key) { return find(key, hashed(key)); }

    // Adds a key that is not there.
    void put(std::string_view key, uint64_t hash, Value value) {
        if (key.size() > most_bytes_) return;
        if (size_ >= most_ || keys_.size() + key.size() > most_bytes_) clear();
        if (4 * (size_ + 1) > 3 * slots_.size()) grow();
        insert(Slot{hash, keys_.size(), key.size(), std::move(value), true});
        keys_.append(key);
        ++size_;
    }
    void put(std::string_view key, Value value) { put(key, hashed(key), std::move(value)); }

    void clear() {
        std::vector<Slot>(slots_.size()).swap(slots_);
        keys_.clear();
        size_ = 0;
    }

  private:
    struct Slot {
        uint64_t hash = 0;
        size_t from = 0, size = 0;
        Value value{};
        bool used = false;
    };
    std::vector<Slot> slots_;
    std::string keys_;
    size_t size_ = 0;
    const size_t most_, most_bytes_;

    void insert(Slot slot) {
        size_t at = slot.hash & (slots_.size() - 1);
        while (slots_[at].used) at = (at + 1) & (slots_.size() - 1);
        slots_[at] = std::move(slot);
    }
    void grow() {
        std::vector<Slot> before(slots_.empty() ? 16 : 2 * slots_.size());
        before.swap(slots_);
        for (Slot &slot : before)
            if (slot.used) insert(std::move(slot));
    }
};

}  // namespace engine
