// One subject of many, and how it is found: a million of them are at rest, so that each byte counts here.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

#include "subject.hpp"
#include "table.hpp"

namespace engine {

// What is kept of a subject beside what is in use.
enum class Form : uint8_t {
    // Nothing: where it is not in use either, it was recovered as freed.
    nothing,
    // Its packed form.
    packed,
    // That, squeezed by `Shapes`.
    squeezed,
    // While state is recovered, what stands for the pages that hold it.
    paged,
};

// One subject: in use, or packed as it was saved. Its key, axis and name with a zero byte between them, follows it in
// memory: one piece for both.
class Subject {
  public:
    // The routed offset up to which a restored state already holds the log.
    int64_t recovered = NOT_RECOVERED;
    // Append time (inclusive) up to which it counts; it always does where it is `lasting`.
    int64_t expires_ms = NEVER;
    std::unique_ptr<Awake> awake;

  private:
    std::unique_ptr<char[]> kept_;
    uint32_t kept_size_ = 0;
    uint32_t key_size_;

  public:
    // Where it stands in the round of the sweep.
    uint32_t place = 0;
    bool lasting : 1;
    bool dirty : 1;
    // Whether it was saved by the flush before.
    bool saved : 1;
    // It was freed while it stood among those that changed or were saved.
    bool gone : 1;

  private:
    Form form_ = Form::nothing;

    struct Room {
        size_t bytes;
    };
    static void *operator new(size_t size, Room more) { return ::operator new(size + more.bytes); }
    static void operator delete(void *at, Room) { ::operator delete(at); }

    Subject(std::string_view axis, std::string_view name)
        : key_size_(static_cast<uint32_t>(axis.size() + 1 + name.size())), lasting(false), dirty(false), saved(false),
          gone(false) {
        char *key = reinterpret_cast<char *>(this + 1);
        std::memcpy(key, axis.data(), axis.size());
        key[axis.size()] = '\0';
        std::memcpy(key + axis.size() + 1, name.data(), name.size());
    }

  public:
    static std::unique_ptr<Subject> make(std::string_view axis, std::string_view name) {
        const Room key{axis.size() + 1 + name.size()};
        if (key.bytes > UINT32_MAX) throw std::bad_alloc();
        return std::unique_ptr<Subject>(new (key) Subject(axis, name));
    }
    static void operator delete(void *at) { ::operator delete(at); }
    Subject(const Subject &) = delete;
    Subject &operator=(const Subject &) = delete;

    std::string_view key() const { return {reinterpret_cast<const char *>(this + 1), key_size_}; }
    std::string_view axis() const { return key().substr(0, key().find('\0')); }
    std::string_view name() const { return key().substr(axis().size() + 1); }
    bool expired(int64_t append_ms) const { return !lasting && expires_ms < append_ms; }

    Form form() const { return form_; }
    std::string_view kept() const { return {kept_.get(), kept_size_}; }
    void keep(Form form, std::string_view content) {
        if (content.size() > UINT32_MAX) throw std::bad_alloc();
        kept_.reset(new char[content.size()]);
        if (!content.empty()) std::memcpy(kept_.get(), content.data(), content.size());
        kept_size_ = static_cast<uint32_t>(content.size());
        form_ = form;
    }
    void drop() {
        kept_.reset();
        kept_size_ = 0;
        form_ = Form::nothing;
    }
};

// Finds subjects in the round by their keys, with eight bytes for each place of a half-empty table.
class Places {
  public:
    using Round = std::vector<std::unique_ptr<Subject>>;

    // Returns the subject of a key, or nullptr.
    Subject *find(std::string_view key, const Round &round) const {
        if (slots_.empty()) return nullptr;
        const uint32_t mark = mark_of(key);
        for (size_t at = home(mark); slots_[at].next != 0; at = after(at)) {
            if (slots_[at].mark != mark) continue;
            Subject *subject = round[slots_[at].next - 1].get();
            if (subject->key() == key) return subject;
        }
        return nullptr;
    }

    // Adds a subject that is not there.
    void add(const Subject &subject) {
        if (4 * (size_ + 1) > 3 * slots_.size()) grow();
        put({mark_of(subject.key()), subject.place + 1});
        ++size_;
    }

    void remove(const Subject &subject) {
        size_t gap = slot_of(subject);
        // What follows moves up, so that each is still reached from its home.
        for (size_t from = after(gap); slots_[from].next != 0; from = after(from)) {
            const size_t wanted = home(slots_[from].mark);
            const bool stays = gap <= from ? gap < wanted && wanted <= from : gap < wanted || wanted <= from;
            if (stays) continue;
            slots_[gap] = slots_[from];
            gap = from;
        }
        slots_[gap] = {};
        --size_;
    }

    // Gives a subject another place in the round.
    void move(Subject &subject, uint32_t place) {
        slots_[slot_of(subject)].next = place + 1;
        subject.place = place;
    }

  private:
    struct Slot {
        // A part of the key's hash, and one more than the place; 0 where nothing stands.
        uint32_t mark = 0, next = 0;
    };
    std::vector<Slot> slots_;
    size_t size_ = 0;

    static uint32_t mark_of(std::string_view key) { return static_cast<uint32_t>(hashed(key)); }
    size_t home(uint32_t mark) const { return mark & (slots_.size() - 1); }
    size_t after(size_t at) const { return (at + 1) & (slots_.size() - 1); }
    size_t slot_of(const Subject &subject) const {
        size_t at = home(mark_of(subject.key()));
        while (slots_[at].next != subject.place + 1) at = after(at);
        return at;
    }
    void put(Slot slot) {
        size_t at = home(slot.mark);
        while (slots_[at].next != 0) at = after(at);
        slots_[at] = slot;
    }
    void grow() {
        std::vector<Slot> before(slots_.empty() ? 16 : 2 * slots_.size());
        before.swap(slots_);
        for (const Slot &slot : before)
            if (slot.next != 0) put(slot);
    }
};

}  // namespace engine
