// The subjects of one routed partition, and the judging of its rows (monitor/core/detector.py, counting.py).
#pragma once

#include <string>
#include <vector>

#include "following.hpp"
#include "plan.hpp"
#include "row.hpp"
#include "subjects.hpp"

namespace engine {

// Of the records of `state` (monitor/wire/state.py).
constexpr int64_t STATE_FORMAT = 2;

// What is counted of rows; `Store::take_tally` of Python returns it in this order.
struct Tally {
    int64_t applied = 0, duplicates = 0, too_late = 0, late = 0, lost_late = 0, clamped = 0, replay_skipped = 0;
};

// What comes with the rows of one record.
struct Place {
    int64_t prior;
    int64_t offset;
    int64_t append_ms;
    int64_t max_age_ms;
    // The SourceId of the rows.
    PyObject *source;
};

struct Excess {
    const PlannedRule *rule;
    std::string_view group;
    bool straggler;
    int64_t last_ms;
    int64_t first_ms;
    bool stale;
};

// What an event adds to one group of a counter: numbers from `from` up to `end`.
struct Work {
    const Counter *counter;
    std::string group;
    size_t from;
    size_t end;
};

// A subject as `Store::give_back` returns it: what its newest record says.
struct Given {
    int64_t stamp;
    bool lasting;
    int64_t until_ms;
    Form form;
    std::string content;
};

// (axis, name), as Python calls a subject.
Ref name_of(const Subject &subject);

class Store {
  public:
    Names names;
    Plan plan;
    Tally tally;
    // Of the last whole round of the sweep: windows of subjects in use, and the bytes of all, packed.
    int64_t held_windows = 0, held_bytes = 0;

    // `host` is the detector of Python, which owns this; `invariant` the exception that ends the process.
    Store(PyObject *host, PyObject *invariant) : host_(host), invariant_(Ref::borrowed(invariant)) {}

    void set_plan(PyObject *spec);

    // Judges the rows of the array at `at` in a record.
    void apply(std::string_view record, size_t at, const Place &place);

    // Returns what rows were evidence of since the last call: (case, axis, name, plain evidence as JSON, source).
    Ref take_evidence();

    Subject *find(std::string_view axis, std::string_view name);
    // Returns a new, empty subject in the place of what was held.
    Subject &open(std::string_view axis, std::string_view name);
    // Returns what is in use of a subject, unpacked where it rests.
    Awake &awake(Subject &subject);
    // Takes a subject as it was after the routed offset `stamp`; nothing packed says that it was freed.
    void restore(std::string_view axis, std::string_view name, int64_t stamp, std::string_view packed, bool lasting,
                 int64_t until_ms);
    // Takes a record of `state`, in whatever order of stamps they come; false where Python is to take it too.
    bool recover(std::string_view key, std::string_view value);
    // Takes the deletion of a record.
    void recover_deleted(std::string_view key);
    // Forgets a subject that `recover` took; false where there is none.
    bool give_back(std::string_view axis, std::string_view name, Given &given);
    // Makes ready up to `limit` of the subjects that `recover` took, from the one at `at` on; returns the names of
    // those that always count, and of those that stand in pages.
    Ref settle(size_t at, size_t limit);
    // Takes another state of a subject that is in use, its incident and its expiry apart.
    void change(Subject &subject, std::string_view packed);
    void touch(Subject &subject, int64_t time_ms, int64_t keep_ms);
    void move(Subject &subject, std::string_view to);
    void free(Subject &subject);
    std::string snapshot(Subject &subject);

    // Looks at `limit` subjects at most, round by round, and returns what it freed as (axis, name).
    Ref sweep(int64_t append_ms, int64_t offset, size_t limit);
    size_t size() const { return round_.size(); }
    const std::vector<std::unique_ptr<Subject>> &all() const { return round_; }

    // The subjects that changed since the last call, in the order they first did.
    std::vector<Subject *> take_dirty();
    size_t dirty_count() const { return dirty_.size(); }
    // Lets up to `limit` rest of what was saved and did not change since; returns whether there are more. Nothing is
    // saved or taken before all have come to rest.
    bool rest(size_t limit);
    // Returns the records of up to `limit` changed subjects, and the names of those larger than `longest` bytes.
    Ref save(int64_t stamp, size_t limit, size_t longest);

  private:
    PyObject *host_;
    Ref invariant_;
    IncidentNames incident_names_;
    Ref evidence_ = Ref::checked(PyList_New(0));
    std::string plain_;
    Places places_;
    Places::Round round_;
    Shapes shapes_;
    // The sweep goes on below here.
    size_t cursor_ = 0;
    std::vector<Subject *> dirty_;
    std::vector<std::unique_ptr<Subject>> gone_;
    std::vector<Subject *> saved_;
    int64_t counted_windows_ = 0, counted_bytes_ = 0;
    // Reused from row to row.
    Row row_;
    std::string key_;
    std::vector<Work> work_;
    size_t works_ = 0;
    std::vector<uint64_t> values_;
    std::vector<std::pair<uint64_t, std::string_view>> read_;
    std::vector<Excess> excesses_;
    std::vector<const Span *> spans_;
    std::string squeezed_;

    Subject &held(std::string_view axis, std::string_view name);
    // Keeps of a subject its packed form only.
    void put_to_rest(Subject &subject, std::string_view packed);
    std::string_view key_of(std::string_view axis, std::string_view name);
    bool one(const Place &place);
    bool event(const Place &place);
    bool judge(Subject *subject, AxisPlan &axis, const Place &place);
    void gather(const Counter &counter, const Reading &reading);
    void gather_python(const Counter &counter, PyObject *reader);
    Work &begin_work(const Counter &counter);
    void read_success();
    uint64_t number_of(std::string_view text, bool pseudonym);
    bool number_of(const Value &value, bool pseudonym, uint64_t &number);
    void count(Awake &awake, int64_t time_ms, int64_t append_ms, bool stale);
    int64_t add(Series &series, const Work &work, int64_t time_ms);
    void straggle(Awake &awake, const Span &span, const Work &work, int64_t time_ms, int64_t append_ms, bool stale);
    void evaluate(Series &series, std::string_view group, bool straggler, bool stale);
    void note_evidence(const Subject &subject, const Ref &followed, int64_t time_ms, const Place &place);
    bool tell(Subject &subject, int64_t time_ms, const char *told);
    void look(const Awake &awake);
    bool failed(const char *error);
};

}  // namespace engine
