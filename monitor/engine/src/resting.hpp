// Subjects at rest in memory: the bytes of their records, squeezed to a fifth where a subject did little.
//
// What a series counts, since when and how much it holds is the same for many subjects, and stands once, as a shape.
// Times are written as differences, numbers in as few bytes as they need. A form is used only after it was seen to
// give back the same bytes.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "windows.hpp"

namespace engine {

constexpr int64_t SUBJECT_FORMAT = 2;
// Rules bring shapes, a few each: what comes beyond rests as it stands in its record.
constexpr size_t MOST_SHAPES = 4096;

class Shapes {
  public:
    // Squeezes a subject's packed form; false where that cannot be done: it is of another version, or odd.
    bool squeeze(std::string_view packed, std::string &out) {
        out.clear();
        try {
            write(packed, out);
            expand(out, again_);
        } catch (const Malformed &) {
            return false;
        }
        return again_.out == packed;
    }

    // Gives back what `squeeze` was given.
    void expand(std::string_view squeezed, Packer &packer) const {
        packer.out.clear();
        Reader from{{squeezed}};
        packer.array(7);
        packer.integer(SUBJECT_FORMAT);
        packer.integer(from.time(0));
        int64_t latest_ms = from.time(0);
        packer.integer(latest_ms);
        const uint64_t count = from.natural();
        packer.array(static_cast<size_t>(count));
        for (uint64_t left = count; left > 0; --left) expand_series(from, packer, latest_ms);
        if (from.natural() == 0) {
            packer.nil();
        } else {
            packer.array(3);
            const Shape &shape = shape_of(from.natural());
            const bool lost = from.natural() != 0;
            expand_window(from, packer, shape, lost, from.time(latest_ms));
            packer.raw(from.some());
        }
        const std::string_view incident = from.some();
        packer.raw(incident.empty() ? std::string_view("\xc0") : incident);
        packer.integer(from.time(latest_ms));
    }

  private:
    // What series have in common, each part as it is packed.
    struct Shape {
        std::string key;    // the array and the key
        std::string since;  // timespan and birth
        std::string window; // the window's array, its version, kind and capacity
        Counts kind;
        // How long after its latest event the first one seen counted.
        int64_t keep_ms;
    };
    // What a series has that most have not.
    static constexpr uint64_t GROUP = 1, KEEP = 2, LOST = 4, LATCHES = 8, FLAGS = 16;

    std::vector<Shape> shapes_;
    std::unordered_map<std::string, size_t> numbers_;
    // Reused from subject to subject.
    std::string name_;
    Packer again_;

    struct Reader : ByteReader {
        int64_t time(int64_t after_ms) {
            const uint64_t folded = natural();
            if (folded == 0) return NEVER;
            return static_cast<int64_t>(static_cast<uint64_t>(after_ms) + static_cast<uint64_t>(unfolded(folded - 1)));
        }
        std::string_view some() { return take(natural()); }
    };

    static void natural(std::string &out, uint64_t value) {
        for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
        out.push_back(static_cast<char>(value));
    }
    // A time as what it is after another one, or NEVER.
    static void time(std::string &out, int64_t value, int64_t after_ms) {
        const uint64_t by = static_cast<uint64_t>(value) - static_cast<uint64_t>(after_ms);
        natural(out, value == NEVER ? 0 : (by << 1 ^ (0 - (by >> 63))) + 1);
    }
    static void some(std::string &out, std::string_view part) {
        natural(out, part.size());
        out.append(part);
    }
    static std::string_view numbers(Unpacker &from) {
        const std::string_view content = from.binary();
        if (content.size() % 8 != 0) throw Malformed("numbers that are cut off");
        return content;
    }

    const Shape &shape_of(uint64_t number) const {
        if (number >= shapes_.size()) throw Malformed("an unknown shape");
        return shapes_[static_cast<size_t>(number)];
    }
    size_t number(std::string_view key, std::string_view since, std::string_view window, Counts kind, int64_t keep_ms) {
        // Each part ends where its values do, so that together they are no other's.
        name_.assign(key).append(since).append(window);
        const auto known = numbers_.find(name_);
        if (known != numbers_.end()) return known->second;
        if (shapes_.size() == MOST_SHAPES) throw Malformed("too many shapes");
        shapes_.push_back({std::string(key), std::string(since), std::string(window), kind, keep_ms});
        return numbers_.emplace(name_, shapes_.size() - 1).first->second;
    }

    // The parts of a packed window.
    struct Parts {
        std::string_view head;
        Counts kind;
        int64_t last_ms, lost_ms;
        std::string_view times, beside, ids;
    };
    static Parts window(Unpacker &from) {
        Parts parts{};
        const size_t begin = from.at();
        const size_t count = from.array();
        const int64_t version = from.integer(), kind = from.integer();
        if (version != WINDOW_FORMAT || kind < 0 || kind > 2 || count != (kind == 2 ? 8U : 7U))
            throw Malformed("an unknown kind of window");
        parts.kind = static_cast<Counts>(kind);
        from.integer();
        parts.head = from.since(begin);
        parts.last_ms = from.integer();
        parts.lost_ms = from.integer();
        parts.times = numbers(from);
        if (parts.kind != Counts::events) parts.beside = numbers(from);
        if (parts.kind != Counts::values) parts.ids = numbers(from);
        if (parts.kind != Counts::events && parts.beside.size() != parts.times.size())
            throw Malformed("values of other entries");
        return parts;
    }

    void write(std::string_view packed, std::string &out) {
        Unpacker from(packed);
        if (from.array() != 7 || from.integer() != SUBJECT_FORMAT) throw Malformed("another version of subjects");
        time(out, from.integer(), 0);
        int64_t latest_ms = from.integer();
        time(out, latest_ms, 0);
        const size_t count = from.array();
        natural(out, count);
        for (size_t left = count; left > 0; --left) write_series(from, out, latest_ms);
        if (Unpacker(from).next().kind == Kind::nil) {
            from.next();
            out.push_back(0);
        } else {
            if (from.array() != 3) throw Malformed("another version of histories");
            const Parts parts = window(from);
            out.push_back(1);
            natural(out, number({}, {}, parts.head, parts.kind, 0));
            out.push_back(parts.lost_ms == NEVER ? 0 : 1);
            write_window(out, parts, latest_ms);
            const size_t begin = from.at();
            from.skip();
            from.skip();
            some(out, from.since(begin));
        }
        const std::string_view incident = from.skip();
        some(out, incident == "\xc0" ? std::string_view() : incident);
        time(out, from.integer(), latest_ms);
        if (!from.at_end()) throw Malformed("more than a subject");
    }

    void write_series(Unpacker &from, std::string &out, int64_t &latest_ms) {
        size_t begin = from.at();
        if (from.array() != 8) throw Malformed("a series of other parts");
        from.text();
        const std::string_view key = from.since(begin);
        const std::string_view group = from.skip();
        begin = from.at();
        from.integer();
        from.integer();
        const std::string_view since = from.since(begin);
        const int64_t expires_ms = from.integer();
        const Parts parts = window(from);
        begin = from.at();
        from.skip();
        from.skip();
        const std::string_view latches = from.since(begin);
        const auto keep_ms = static_cast<int64_t>(static_cast<uint64_t>(expires_ms) - static_cast<uint64_t>(parts.last_ms));
        const size_t shape = number(key, since, parts.head, parts.kind, keep_ms);
        const uint64_t flags = (group == "\x90" ? 0 : GROUP) | (shapes_[shape].keep_ms == keep_ms ? 0 : KEEP) |
                               (parts.lost_ms == NEVER ? 0 : LOST) | (latches == "\x90\x90" ? 0 : LATCHES);
        natural(out, shape * FLAGS | flags);
        if (flags & GROUP) some(out, group);
        if (flags & KEEP) time(out, expires_ms, latest_ms);
        write_window(out, parts, latest_ms);
        latest_ms = parts.last_ms;
        if (flags & LATCHES) some(out, latches);
    }

    void expand_series(Reader &from, Packer &packer, int64_t &latest_ms) const {
        const uint64_t head = from.natural(), flags = head % FLAGS;
        const Shape &shape = shape_of(head / FLAGS);
        packer.raw(shape.key);
        packer.raw(flags & GROUP ? from.some() : std::string_view("\x90"));
        packer.raw(shape.since);
        int64_t expires_ms = flags & KEEP ? from.time(latest_ms) : 0;
        latest_ms = from.time(latest_ms);
        if (!(flags & KEEP))
            expires_ms = static_cast<int64_t>(static_cast<uint64_t>(latest_ms) + static_cast<uint64_t>(shape.keep_ms));
        packer.integer(expires_ms);
        expand_window(from, packer, shape, (flags & LOST) != 0, latest_ms);
        packer.raw(flags & LATCHES ? from.some() : std::string_view("\x90\x90"));
    }

    static void write_window(std::string &out, const Parts &parts, int64_t latest_ms) {
        time(out, parts.last_ms, latest_ms);
        if (parts.lost_ms != NEVER) time(out, parts.lost_ms, parts.last_ms);
        const size_t count = parts.times.size() / 8;
        natural(out, count);
        int64_t before_ms = parts.last_ms;
        for (size_t n = 0; n < count; ++n) {
            const auto time_ms = static_cast<int64_t>(little_endian(parts.times.data() + 8 * n));
            time(out, time_ms, before_ms);
            before_ms = time_ms;
        }
        if (parts.kind == Counts::values) {
            out.append(parts.beside);
            return;
        }
        if (parts.kind == Counts::sums)
            for (size_t n = 0; n < count; ++n) natural(out, little_endian(parts.beside.data() + 8 * n));
        some(out, parts.ids);
    }

    static void expand_window(Reader &from, Packer &packer, const Shape &shape, bool lost, int64_t last_ms) {
        packer.raw(shape.window);
        packer.integer(last_ms);
        packer.integer(lost ? from.time(last_ms) : NEVER);
        const uint64_t count = from.natural();
        if (count > from.content.size()) throw Malformed("cut off");
        packer.binary_head(static_cast<size_t>(count) * 8);
        int64_t before_ms = last_ms;
        for (uint64_t left = count; left > 0; --left) {
            before_ms = from.time(before_ms);
            little_endian(packer, static_cast<uint64_t>(before_ms));
        }
        if (shape.kind == Counts::values) {
            packer.binary(from.take(count * 8));
            return;
        }
        if (shape.kind == Counts::sums) {
            packer.binary_head(static_cast<size_t>(count) * 8);
            for (uint64_t left = count; left > 0; --left) little_endian(packer, from.natural());
        }
        packer.binary(from.some());
    }
};

}  // namespace engine
