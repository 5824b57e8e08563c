// What is held of one subject in use (monitor/core/subject.py, incident.py), and its packed form.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan.hpp"
#include "resting.hpp"

namespace engine {

constexpr int64_t NOT_RECOVERED = -1;
// Patients that each credential remembers.
constexpr int64_t REMEMBERED_PATIENTS = 1000;

// One window with the latches of the rules that look at it.
struct Series {
    uint32_t key;
    int64_t timespan_ms;
    // The values of the further group fields, as a packed array; empty for none.
    std::string group;
    int64_t born;
    int64_t expires_ms = NEVER;
    // How much more must be added before any rule can hold that does not hold now; 0 where not known.
    int64_t slack;
    Window window;
    // In the order in which they were first shut, each with `L` of the last evaluation that was true.
    std::vector<std::pair<uint32_t, int64_t>> latches;
    std::vector<uint32_t> stale;

    Series(const Counter &counter, int64_t timespan, std::string_view of_group)
        : key(counter.key), timespan_ms(timespan), group(of_group), born(counter.born), slack(counter.least),
          window(counter.kind, counter.capacity_of(timespan)) {}
    Series(uint32_t of, int64_t timespan, std::string_view of_group, int64_t since, Window &&restored)
        : key(of), timespan_ms(timespan), group(of_group), born(since), slack(0), window(std::move(restored)) {}

    bool is(uint32_t of, int64_t timespan, std::string_view of_group) const {
        return key == of && timespan_ms == timespan && group == of_group;
    }
    std::pair<uint32_t, int64_t> *shut(uint32_t latch) {
        for (auto &entry : latches)
            if (entry.first == latch) return &entry;
        return nullptr;
    }
    bool is_stale(uint32_t latch) const { return std::find(stale.begin(), stale.end(), latch) != stale.end(); }
};

// The patients that a credential read with success, each with its latest time and tenant.
class History {
  public:
    History() : window_(Counts::values, REMEMBERED_PATIENTS) {
        window_.keep_extra();
        tenants_.emplace_back();
    }

    void see(int64_t time) { window_.see(time); }
    // `tenant` is a text's packed form, or that of nil.
    void add(int64_t time, uint64_t patient, std::string_view tenant) {
        window_.add_value(time, patient, number(tenant));
        if (tenants_.size() > 2 * static_cast<size_t>(REMEMBERED_PATIENTS)) forget();
    }

    size_t packed_bytes() const { return window_.packed_bytes(); }

    struct Count {
        int64_t patients;
        bool more;
        int64_t tenants;
    };
    Count count_after(int64_t time) const {
        const auto [from, end] = window_.range_after(time);
        std::vector<bool> seen(tenants_.size());
        int64_t tenants = 0;
        for (size_t at = from; at < end; ++at) {
            const size_t tenant = static_cast<size_t>(window_.extra_at(at));
            if (tenant != 0 && !seen[tenant]) {
                seen[tenant] = true;
                ++tenants;
            }
        }
        return {static_cast<int64_t>(end - from), window_.lost > time, tenants};
    }

    int64_t patients_after(int64_t time) const {
        const auto [from, end] = window_.range_after(time);
        return static_cast<int64_t>(end - from);
    }

    void pack(Packer &packer) {
        packer.array(3);
        window_.pack(packer);
        std::vector<size_t> places(tenants_.size(), SIZE_MAX);
        std::vector<size_t> order;
        for (size_t at = window_.start(); at < window_.end(); ++at) {
            const size_t tenant = static_cast<size_t>(window_.extra_at(at));
            if (places[tenant] == SIZE_MAX) {
                places[tenant] = order.size();
                order.push_back(tenant);
            }
        }
        packer.array(order.size());
        for (const size_t tenant : order) {
            if (tenant == 0) {
                packer.nil();
            } else {
                packer.raw(tenants_[tenant]);
            }
        }
        packer.array(window_.end() - window_.start());
        for (size_t at = window_.start(); at < window_.end(); ++at)
            packer.natural(places[static_cast<size_t>(window_.extra_at(at))]);
    }

    static History unpack(Unpacker &unpacker) {
        if (unpacker.array() != 3) throw Malformed("another version of histories");
        History history;
        history.window_ = Window::unpack(unpacker);
        if (history.window_.kind() != Counts::values) throw Malformed("a history that holds no values");
        history.window_.keep_extra();
        history.window_.fill_extra();
        std::vector<uint64_t> numbers(unpacker.array());
        for (uint64_t &number : numbers) number = history.number(unpacker.skip());
        const size_t entries = unpacker.array();
        if (entries != history.window_.size()) throw Malformed("tenants of other patients");
        for (size_t at = 0; at < entries; ++at) {
            const auto place = static_cast<uint64_t>(unpacker.integer());
            if (place >= numbers.size()) throw Malformed("a tenant that is not there");
            history.window_.set_extra_at(at, numbers[place]);
        }
        return history;
    }

  private:
    Window window_;
    // Packed; the first stands for none.
    std::vector<std::string> tenants_;
    size_t latest_ = 0;

    uint64_t number(std::string_view tenant) {
        if (tenant.size() == 1 && static_cast<uint8_t>(tenant[0]) == 0xc0) return 0;
        if (latest_ < tenants_.size() && tenants_[latest_] == tenant) return latest_;
        for (latest_ = 1; latest_ < tenants_.size(); ++latest_)
            if (tenants_[latest_] == tenant) return latest_;
        tenants_.emplace_back(tenant);
        return latest_;
    }
    // Drops the tenants of patients that the window dropped.
    void forget() {
        std::vector<std::string> before{std::string()};
        before.swap(tenants_);
        std::vector<uint64_t> moved(before.size());
        for (size_t at = window_.start(); at < window_.end(); ++at) {
            const size_t tenant = static_cast<size_t>(window_.extra_at(at));
            if (tenant != 0 && moved[tenant] == 0) {
                moved[tenant] = tenants_.size();
                tenants_.push_back(before[tenant]);
            }
            window_.set_extra_at(at, moved[tenant]);
        }
        latest_ = 0;
    }
};

// A subject in use.
struct Awake {
    // Version of the rule set that the series were last brought in line with.
    int64_t epoch;
    // Events up to this time count no more.
    int64_t floor_ms = NEVER;
    std::vector<std::unique_ptr<Series>> series;
    std::unique_ptr<History> history;
    // monitor.core.incident.Incident, or nothing.
    Ref incident;

    explicit Awake(int64_t version) : epoch(version) {}

    Series *find(uint32_t key, int64_t timespan_ms, std::string_view group) {
        for (const auto &one : series)
            if (one->is(key, timespan_ms, group)) return one.get();
        return nullptr;
    }
    // Returns a new, empty series in the place of what has its key.
    Series *open(const Counter &counter, int64_t timespan_ms, std::string_view group) {
        auto opened = std::make_unique<Series>(counter, timespan_ms, group);
        for (auto &one : series) {
            if (one->is(counter.key, timespan_ms, group)) {
                one = std::move(opened);
                return one.get();
            }
        }
        series.push_back(std::move(opened));
        return series.back().get();
    }

    // Brings the series in line with a rule set: windows of what is still counted stay.
    void adopt(const Plan &plan) {
        if (epoch == plan.version) return;
        epoch = plan.version;
        std::vector<std::unique_ptr<Series>> kept;
        for (auto &one : series) {
            const Counter *counter = plan.counter_of(one->key);
            const int64_t capacity = counter == nullptr ? 0 : counter->capacity_of(one->timespan_ms);
            if (capacity == 0 || counter->born != one->born) continue;
            one->window.resize(capacity);
            one->slack = 0;
            auto &latches = one->latches;
            latches.erase(std::remove_if(latches.begin(), latches.end(),
                                         [&](const auto &entry) { return !plan.uses(entry.first); }),
                          latches.end());
            auto &stale = one->stale;
            stale.erase(std::remove_if(stale.begin(), stale.end(), [&](uint32_t latch) { return !plan.uses(latch); }),
                        stale.end());
            kept.push_back(std::move(one));
        }
        series = std::move(kept);
    }

    void reopen() {
        for (const auto &one : series) {
            one->latches.clear();
            one->stale.clear();
        }
    }

    // Lets nothing up to a time (inclusive) count any more; a time before the last one changes nothing.
    void restart(int64_t floor) {
        if (floor <= floor_ms) return;
        floor_ms = floor;
        for (const auto &one : series) {
            one->window.forget(floor);
            one->slack = 0;
        }
    }

    // Frees series that have expired, and entries that no rule looks back to; it changes no result.
    void prune(const Plan &plan, int64_t append_ms) {
        series.erase(std::remove_if(series.begin(), series.end(),
                                    [&](const auto &one) { return one->expires_ms < append_ms; }),
                     series.end());
        trim(plan);
    }

    // Drops the entries that no rule looks back to. Once more before another rule set comes into force, and before
    // the subject is saved: what a rule with a longer timespan finds then is a matter of the log alone.
    void trim(const Plan &plan) {
        if (epoch != plan.version) return;  // done before that set came into force
        for (const auto &one : series) {
            const Counter *counter = plan.counter_of(one->key);
            const int64_t longest_ms = one->timespan_ms != 0 || counter == nullptr ? one->timespan_ms : counter->longest_ms;
            if (longest_ms != 0) one->window.trim(one->window.last - longest_ms);
        }
    }

    size_t packed_bytes() const {
        size_t bytes = history ? history->packed_bytes() : 0;
        for (const auto &one : series) bytes += one->window.packed_bytes();
        return bytes;
    }

    // `incident` is the packed form of it, or that of nil.
    void pack(Packer &packer, const Names &names, int64_t expires_ms, std::string_view packed_incident) {
        packer.array(7);
        packer.integer(SUBJECT_FORMAT);
        packer.integer(epoch);
        packer.integer(expires_ms);
        packer.array(series.size());
        for (const auto &one : series) {
            packer.array(8);
            packer.text(names.text(one->key));
            if (one->group.empty()) {
                packer.array(0);
            } else {
                packer.raw(one->group);
            }
            packer.integer(one->timespan_ms);
            packer.integer(one->born);
            packer.integer(one->expires_ms);
            one->window.pack(packer);
            packer.array(one->latches.size());
            for (const auto &[latch, at_ms] : one->latches) {
                packer.array(2);
                packer.text(names.text(latch));
                packer.integer(at_ms);
            }
            std::vector<std::string_view> stale;
            for (const uint32_t latch : one->stale) stale.push_back(names.text(latch));
            std::sort(stale.begin(), stale.end());
            packer.array(stale.size());
            for (const std::string_view latch : stale) packer.text(latch);
        }
        if (history) {
            history->pack(packer);
        } else {
            packer.nil();
        }
        packer.raw(packed_incident);
        packer.integer(floor_ms);
    }

    // Takes what `pack` wrote, and says where the incident's packed form is. Throws Malformed for any other
    // form, also one of the version before.
    static std::unique_ptr<Awake> unpack(std::string_view packed, Names &names, int64_t &expires_ms,
                                         std::string_view &packed_incident) {
        Unpacker unpacker(packed);
        if (unpacker.array() != 7 || unpacker.integer() != SUBJECT_FORMAT) throw Malformed("another version of subjects");
        auto awake = std::make_unique<Awake>(unpacker.integer());
        expires_ms = unpacker.integer();
        for (size_t left = unpacker.array(); left > 0; --left) {
            if (unpacker.array() != 8) throw Malformed("a series of other parts");
            const uint32_t key = names.number(unpacker.text());
            std::string_view group = unpacker.skip();
            if (group.size() == 1 && static_cast<uint8_t>(group[0]) == 0x90) group = {};
            const int64_t timespan_ms = unpacker.integer();
            const int64_t born = unpacker.integer();
            const int64_t until_ms = unpacker.integer();
            auto one = std::make_unique<Series>(key, timespan_ms, group, born, Window::unpack(unpacker));
            one->expires_ms = until_ms;
            for (size_t latches = unpacker.array(); latches > 0; --latches) {
                if (unpacker.array() != 2) throw Malformed("a latch of other parts");
                const uint32_t latch = names.number(unpacker.text());
                one->latches.emplace_back(latch, unpacker.integer());
            }
            for (size_t stale = unpacker.array(); stale > 0; --stale) one->stale.push_back(names.number(unpacker.text()));
            awake->series.push_back(std::move(one));
        }
        if (Unpacker(unpacker).next().kind == Kind::nil) {
            unpacker.next();
        } else {
            awake->history = std::make_unique<History>(History::unpack(unpacker));
        }
        packed_incident = unpacker.skip();
        awake->floor_ms = unpacker.integer();
        return awake;
    }
};

}  // namespace engine
