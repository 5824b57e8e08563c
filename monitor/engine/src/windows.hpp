// The windows of monitor/core (windows.py, value_window.py, sum_window.py), entry for entry the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "msgpack.hpp"
#include "numbers.hpp"

namespace engine {

// Earlier than any time.
constexpr int64_t NEVER = -(int64_t{1} << 62);
// An amount above it counts as it: no threshold is as large.
constexpr int64_t LARGEST_AMOUNT = 1 << 20;
constexpr int64_t WINDOW_FORMAT = 2;
// Dropped entries that may wait at the front of a small window before memory is moved.
constexpr size_t SLACK = 32;
// A window of fewer values is searched from its end; above that an index finds them.
constexpr size_t FEW_VALUES = 24;

enum class Counts : uint8_t { events = 0, values = 1, sums = 2 };

// Writes a number of a packed window: eight bytes, the least first.
inline void little_endian(Packer &packer, uint64_t value) {
    char bytes[8];
    for (char &byte : bytes) {
        byte = static_cast<char>(value & 0xff);
        value >>= 8;
    }
    packer.raw({bytes, sizeof bytes});
}

// Sorted times, of which those before `start` are dropped; what stands beside each depends on the kind.
class Window {
  public:
    int64_t capacity;
    // `L`: the latest time of any event added, and the latest that was dropped for want of room.
    int64_t last = NEVER;
    int64_t lost = NEVER;

    Window(Counts kind, int64_t room) : capacity(room), kind_(kind) {}

    Counts kind() const { return kind_; }
    size_t size() const { return times_.size() - start_; }
    size_t packed_bytes() const { return size() * (kind_ == Counts::events ? 8 : 16); }

    // Counts an event; `id` is 0 where its format vouches for none. Returns by how much a count can have grown.
    int64_t add_event(int64_t time, uint64_t id) {
        if (id != 0 || has_extra_) {
            if (!has_extra_) {
                has_extra_ = true;
                extra_.assign(times_.size(), 0);
            }
            const size_t at = after(time);
            if (id != 0 && known_id(id, time, at)) return 0;
            last = std::max(last, time);
            insert_at(times_, at, time);
            insert_at(extra_, at, id);
        } else if (time >= last) {
            last = time;
            times_.push_back(time);
        } else {
            insert_at(times_, after(time), time);
        }
        if (static_cast<int64_t>(size()) > capacity) drop();
        return 1;
    }

    // Moves `L`, as an event does that has no value.
    void see(int64_t time) { last = std::max(last, time); }

    // Counts one value of an event that was seen; `extra` stands beside it where this window keeps such.
    void add_value(int64_t time, uint64_t value, uint64_t extra = 0) {
        int64_t before = 0;
        if (find(value, before)) {
            if (time <= before) {
                if (has_extra_) extra_[place_of(value, before)] = extra;
                return;
            }
            if (beside_.back() == value) {
                times_.back() = time;
                if (has_extra_) extra_.back() = extra;
                if (index_) index_->set(value, time);
                return;
            }
            remove(value, before);
        }
        size_t at = times_.size();
        if (size() > 0 && time < times_.back()) at = after(time);
        insert_at(times_, at, time);
        insert_at(beside_, at, value);
        if (has_extra_) insert_at(extra_, at, extra);
        if (index_) index_->set(value, time);
        if (static_cast<int64_t>(size()) > capacity) {
            drop();
        } else if (start_ > static_cast<size_t>(capacity) + SLACK) {
            compact();
        }
        if (!index_ && size() > FEW_VALUES) make_index();
    }

    // Adds an amount from 1 on, with its event's id or 0. Returns by how much a sum can have grown.
    int64_t add_amount(int64_t time, int64_t amount, uint64_t id) {
        amount = std::min(LARGEST_AMOUNT, amount);
        const size_t at = after(time);
        if (id != 0 || has_extra_) {
            if (!has_extra_) {
                has_extra_ = true;
                extra_.assign(times_.size(), 0);
            }
            if (id != 0 && known_id(id, time, at)) return 0;
            insert_at(extra_, at, id);
        }
        last = std::max(last, time);
        const int64_t total = until(at) + amount;
        insert_at(times_, at, time);
        insert_at(beside_, at, static_cast<uint64_t>(total));
        for (size_t later = at + 1; later < beside_.size(); ++later) beside_[later] += static_cast<uint64_t>(amount);
        fit();
        return amount;
    }

    // How much of what is kept lies after a time (exclusive).
    int64_t count_after(int64_t time) const {
        const size_t at = after(time);
        if (kind_ == Counts::sums) return total() - until(at);
        return static_cast<int64_t>(times_.size() - at);
    }

    // The time of the `rank`-th most recent entry, or of the one that reaches a sum, counted back from the latest.
    int64_t nth_latest(int64_t rank) const {
        if (kind_ != Counts::sums) return times_[times_.size() - static_cast<size_t>(rank)];
        const int64_t rest = total() - rank;
        const auto from = beside_.begin() + static_cast<std::ptrdiff_t>(start_);
        const auto found = std::upper_bound(
            from, beside_.end(), rest, [](int64_t sum, uint64_t held) { return sum < static_cast<int64_t>(held); });
        return times_[static_cast<size_t>(found - beside_.begin())];
    }

    // Forgets entries up to a time (inclusive) that no rule looks back to; at least one is kept.
    void trim(int64_t until_time) {
        const size_t most = times_.empty() ? 0 : std::max(times_.size() - 1, start_);
        discard_to(std::min(after(until_time), most));
        compact();
        // Whether it was dropped or trimmed is a matter of when that was.
        if (lost <= until_time) lost = NEVER;
    }

    // Forgets all entries up to a time (inclusive); `L` stays.
    void forget(int64_t until_time) {
        discard_to(after(until_time));
        compact();
        if (times_.empty() && kind_ != Counts::values) {
            has_extra_ = false;
            extra_.clear();
        }
    }

    void resize(int64_t room) {
        capacity = room;
        if (kind_ == Counts::sums) return fit();
        while (static_cast<int64_t>(size()) > capacity) drop();
    }

    // The values kept whose latest time lies after a time (exclusive): the first one's index, and one past the last.
    std::pair<size_t, size_t> range_after(int64_t time) const { return {after(time), times_.size()}; }
    uint64_t value_at(size_t at) const { return beside_[at]; }
    uint64_t extra_at(size_t at) const { return extra_[at]; }
    void set_extra_at(size_t at, uint64_t extra) { extra_[at] = extra; }
    void keep_extra() { has_extra_ = true; }
    void fill_extra() { extra_.assign(times_.size(), 0); }
    size_t start() const { return start_; }
    size_t end() const { return times_.size(); }

    void pack(Packer &packer) {
        compact();
        packer.array(kind_ == Counts::sums ? 8 : 7);
        packer.integer(WINDOW_FORMAT);
        packer.integer(static_cast<int64_t>(kind_));
        packer.integer(capacity);
        packer.integer(last);
        packer.integer(lost);
        numbers(packer, times_);
        if (kind_ == Counts::values) {
            numbers(packer, beside_);
        } else {
            if (kind_ == Counts::sums) {
                packer.binary_head(beside_.size() * 8);
                uint64_t before = static_cast<uint64_t>(before_);
                for (const uint64_t sum : beside_) {
                    little_endian(packer, sum - before);
                    before = sum;
                }
            }
            if (has_extra_) {
                numbers(packer, extra_);
            } else {
                packer.binary("");
            }
        }
    }

    // Takes what `pack` wrote; throws Malformed for any other form, also one of the version before.
    static Window unpack(Unpacker &unpacker) {
        const size_t parts = unpacker.array();
        if (parts < 7 || unpacker.integer() != WINDOW_FORMAT) throw Malformed("another version of windows");
        const int64_t kind = unpacker.integer();
        if (kind < 0 || kind > 2 || parts != (kind == 2 ? 8U : 7U)) throw Malformed("an unknown kind of window");
        Window window(static_cast<Counts>(kind), unpacker.integer());
        window.last = unpacker.integer();
        window.lost = unpacker.integer();
        read(unpacker.binary(), window.times_);
        if (window.kind_ == Counts::values) {
            read(unpacker.binary(), window.beside_);
            if (window.size() > FEW_VALUES) window.make_index();
        } else {
            if (window.kind_ == Counts::sums) {
                read(unpacker.binary(), window.beside_);
                uint64_t sum = 0;
                for (uint64_t &entry : window.beside_) entry = sum += entry;
            }
            read(unpacker.binary(), window.extra_);
            window.has_extra_ = !window.extra_.empty();
            if (window.has_extra_ && window.extra_.size() != window.times_.size()) throw Malformed("ids of other entries");
        }
        if (window.kind_ != Counts::events && window.beside_.size() != window.times_.size())
            throw Malformed("values of other entries");
        return window;
    }

  private:
    Counts kind_;
    bool has_extra_ = false;
    size_t start_ = 0;
    // What the amounts before the first entry added up to.
    int64_t before_ = 0;
    std::vector<int64_t> times_;
    // Of values: whose time each is. Of sums: what all amounts up to and including this one add up to.
    std::vector<uint64_t> beside_;
    // Of events and sums: ids, once an event had one; 0 for one without.
    std::vector<uint64_t> extra_;
    std::unique_ptr<NumberIndex> index_;

    // The index of the first entry after a time.
    size_t after(int64_t time) const {
        // Most are in order.
        if (size() == 0 || times_.back() <= time) return times_.size();
        const auto from = times_.begin() + static_cast<std::ptrdiff_t>(start_);
        return static_cast<size_t>(std::upper_bound(from, times_.end(), time) - times_.begin());
    }
    size_t from(int64_t time) const {
        const auto first = times_.begin() + static_cast<std::ptrdiff_t>(start_);
        return static_cast<size_t>(std::lower_bound(first, times_.end(), time) - times_.begin());
    }
    bool known_id(uint64_t id, int64_t time, size_t upto) const {
        for (size_t at = from(time); at < upto; ++at)
            if (extra_[at] == id) return true;
        return false;
    }
    template <typename Number> static void insert_at(std::vector<Number> &numbers, size_t at, Number number) {
        if (at == numbers.size()) {
            numbers.push_back(number);
        } else {
            numbers.insert(numbers.begin() + static_cast<std::ptrdiff_t>(at), number);
        }
    }

    bool find(uint64_t value, int64_t &time) const {
        if (index_) return index_->get(value, time);
        for (size_t at = beside_.size(); at-- > start_;) {
            if (beside_[at] == value) {
                time = times_[at];
                return true;
            }
        }
        return false;
    }
    size_t place_of(uint64_t value, int64_t time) const {
        size_t at = from(time);
        while (at < beside_.size() && beside_[at] != value) ++at;
        if (at == beside_.size()) throw std::logic_error("a value is not where its time says");
        return at;
    }
    void remove(uint64_t value, int64_t time) {
        const size_t at = place_of(value, time);
        if (index_) index_->erase(value);
        if (at == start_) {
            ++start_;
            return;
        }
        const auto by = static_cast<std::ptrdiff_t>(at);
        times_.erase(times_.begin() + by);
        beside_.erase(beside_.begin() + by);
        if (has_extra_) extra_.erase(extra_.begin() + by);
    }
    void make_index() {
        index_ = std::make_unique<NumberIndex>(size());
        for (size_t at = start_; at < beside_.size(); ++at) index_->set(beside_[at], times_[at]);
    }

    int64_t total() const { return beside_.empty() ? before_ : static_cast<int64_t>(beside_.back()); }
    int64_t until(size_t at) const { return at == 0 ? before_ : static_cast<int64_t>(beside_[at - 1]); }
    void fit() {
        while (start_ < beside_.size() && total() - static_cast<int64_t>(beside_[start_]) >= capacity) drop();
    }

    void discard() {
        if (index_) index_->erase(beside_[start_]);
        ++start_;
    }
    void discard_to(size_t at) {
        while (start_ < at) discard();
    }
    void drop() {
        lost = std::max(lost, times_[start_]);
        discard();
        if (start_ > SLACK && start_ > times_.size() / 2) compact();
    }
    void compact() {
        if (start_ == 0) return;
        if (kind_ == Counts::sums) before_ = static_cast<int64_t>(beside_[start_ - 1]);
        const auto by = static_cast<std::ptrdiff_t>(start_);
        times_.erase(times_.begin(), times_.begin() + by);
        if (!beside_.empty()) beside_.erase(beside_.begin(), beside_.begin() + by);
        if (!extra_.empty()) extra_.erase(extra_.begin(), extra_.begin() + by);
        start_ = 0;
    }

    template <typename Number> static void numbers(Packer &packer, const std::vector<Number> &all) {
        packer.binary_head(all.size() * 8);
        for (const Number one : all) little_endian(packer, static_cast<uint64_t>(one));
    }
    template <typename Number> static void read(std::string_view content, std::vector<Number> &all) {
        if (content.size() % 8 != 0) throw Malformed("numbers that are cut off");
        all.resize(content.size() / 8);
        for (size_t n = 0; n < all.size(); ++n) all[n] = static_cast<Number>(little_endian(content.data() + 8 * n));
    }
};

}  // namespace engine
