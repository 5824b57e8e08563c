#include "router_json.hpp"

#include <unordered_set>

namespace engine {
namespace {

constexpr size_t most_text = 2048, most_patients = 10'000, most_realm = 64;
constexpr int64_t least_time_ms = 946'684'800'000, end_time_ms = 253'402'300'800'000;
constexpr int64_t most_count = int64_t{1} << 53, most_status = 999, unauthorized = 401;

enum class Field : uint8_t { time, status, id, principal, kind, authenticated, realm, object, patient, tenant, patients,
                             client_ip, method, route, path, bytes, records, gateway, number, unknown };

constexpr unsigned by_start(size_t size, char first) { return static_cast<unsigned>(size) << 8 | static_cast<uint8_t>(first); }

Field field_of(std::string_view name) {
    const auto is = [&](std::string_view wanted, Field field) { return name == wanted ? field : Field::unknown; };
    if (name.empty()) return Field::unknown;
    switch (by_start(name.size(), name[0])) {
        case by_start(4, 't'): return is("time", Field::time);
        case by_start(6, 's'): return is("status", Field::status);
        case by_start(2, 'i'): return is("id", Field::id);
        case by_start(9, 'p'): return is("principal", Field::principal);
        case by_start(14, 'p'): return is("principal_kind", Field::kind);
        case by_start(13, 'a'): return is("authenticated", Field::authenticated);
        case by_start(5, 'r'): return name == "realm" ? Field::realm : is("route", Field::route);
        case by_start(6, 'o'): return is("object", Field::object);
        case by_start(7, 'p'): return is("patient", Field::patient);
        case by_start(6, 't'): return is("tenant", Field::tenant);
        case by_start(8, 'p'): return is("patients", Field::patients);
        case by_start(9, 'c'): return is("client_ip", Field::client_ip);
        case by_start(6, 'm'): return is("method", Field::method);
        case by_start(4, 'p'): return is("path", Field::path);
        case by_start(5, 'b'): return is("bytes", Field::bytes);
        case by_start(7, 'r'): return is("records", Field::records);
        case by_start(7, 'g'): return is("gateway", Field::gateway);
        case by_start(6, 'n'): return is("number", Field::number);
        default: return Field::unknown;
    }
}

// How many bytes a well-formed character has that is not ASCII; 0 where it is none.
size_t character(const char *at, size_t left) {
    const auto byte = [&](size_t n) { return static_cast<uint8_t>(at[n]); };
    const auto follows = [&](size_t n) { return n < left && (byte(n) & 0xc0) == 0x80; };
    const uint8_t first = byte(0);
    if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
    if ((first & 0xf0) == 0xe0) {
        if (!follows(1) || !follows(2)) return 0;
        if (first == 0xe0 && byte(1) < 0xa0) return 0;  // written longer than need be
        if (first == 0xed && byte(1) > 0x9f) return 0;  // a surrogate
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (!follows(1) || !follows(2) || !follows(3)) return 0;
        if (first == 0xf0 && byte(1) < 0x90) return 0;
        if (first == 0xf4 && byte(1) > 0x8f) return 0;
        return 4;
    }
    return 0;
}

// Whether Python's `isprintable` says yes, as far as this code knows: ASCII, and the letters U+00A1 to U+024F.
bool printable(std::string_view text) {
    for (size_t at = 0; at < text.size(); ++at) {
        const auto byte = static_cast<uint8_t>(text[at]);
        if (byte >= 0x20 && byte < 0x7f) continue;
        if (byte < 0xc2 || byte > 0xc9 || at + 1 >= text.size()) return false;
        const unsigned code = (byte & 0x1fu) << 6 | (static_cast<uint8_t>(text[++at]) & 0x3fu);
        if (code < 0xa1 || code == 0xad || code > 0x24f) return false;
    }
    return true;
}

bool plain_realm(std::string_view text) {
    if (text.size() > most_realm) return false;
    for (const char one : text) {
        const bool letter = (one >= 'A' && one <= 'Z') || (one >= 'a' && one <= 'z') || (one >= '0' && one <= '9');
        if (!letter && one != '_' && one != '.' && one != '-') return false;
    }
    return true;
}

// Each method returns false where the record is not plain; then the scanner is not used any more.
class Scanner {
  public:
    explicit Scanner(std::string_view content) : at_(content.data()), end_(content.data() + content.size()) {}

    void space() {
        while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
    }
    bool at_end() const { return at_ == end_; }
    bool take(char wanted) {
        if (at_ == end_ || *at_ != wanted) return false;
        ++at_;
        return true;
    }
    bool next(char wanted) {
        space();
        const bool found = take(wanted);
        space();
        return found;
    }
    bool word(std::string_view wanted) {
        if (static_cast<size_t>(end_ - at_) < wanted.size() || std::string_view(at_, wanted.size()) != wanted) return false;
        at_ += wanted.size();
        return true;
    }

    // A text without escapes, in well-formed UTF-8.
    bool text(std::string_view &value) {
        if (!take('"')) return false;
        const char *const from = at_;
        for (;;) {
            skip_plain();
            if (at_ == end_) return false;
            const auto byte = static_cast<uint8_t>(*at_);
            if (byte == '"') break;
            if (byte == '\\' || byte < 0x20) return false;
            const size_t size = byte < 0x80 ? 1 : character(at_, static_cast<size_t>(end_ - at_));
            if (size == 0) return false;
            at_ += size;
        }
        value = {from, static_cast<size_t>(at_ - from)};
        ++at_;
        return true;
    }
    bool text_or_null(std::string_view &value) { return at_ < end_ && *at_ == 'n' ? word("null") : text(value); }

    bool number(int64_t &value, int64_t most) {
        const char *const from = at_;
        uint64_t read = 0;
        while (at_ < end_ && *at_ >= '0' && *at_ <= '9') {
            if (at_ - from == 16) return false;
            read = read * 10 + static_cast<uint64_t>(*at_++ - '0');
        }
        if (at_ == from || (*from == '0' && at_ - from > 1) || read > static_cast<uint64_t>(most)) return false;
        if (at_ < end_ && (*at_ == '.' || *at_ == 'e' || *at_ == 'E')) return false;
        value = static_cast<int64_t>(read);
        return true;
    }
    bool number_or_null(std::optional<int64_t> &value) {
        if (at_ < end_ && *at_ == 'n') return word("null");
        return number(value.emplace(), most_count);
    }
    bool truth_or_null(std::optional<bool> &value) {
        if (word("null")) return true;
        value = word("true");
        return *value || word("false");
    }
    bool time(int64_t &value) {
        if (at_ == end_ || *at_ != '"') return number(value, end_time_ms);
        std::string_view written;
        if (!text(written)) return false;
        const std::optional<int64_t> read = read_time(written);
        if (read) value = *read;
        return read.has_value();
    }

  private:
    const char *at_;
    const char *const end_;

    // Eight bytes at a time, as long as all are ASCII and neither a quote, a backslash nor a control character.
    void skip_plain() {
        constexpr uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
        while (end_ - at_ >= 8) {
            uint64_t word;
            std::memcpy(&word, at_, sizeof word);
            const uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
            const uint64_t special = (word - ones * 0x20) | (quote - ones) | (backslash - ones) | word;
            if ((special & tops) != 0) break;
            at_ += 8;
        }
        while (at_ < end_ && *at_ != '"' && *at_ != '\\' && static_cast<uint8_t>(*at_) >= 0x20 && static_cast<uint8_t>(*at_) < 0x80) ++at_;
    }
};

// What stood in the record, before it is judged.
struct Written {
    std::string_view kind, realm, patient;
    std::optional<bool> authenticated;
    bool has_patients = false;
};

bool read_patients(Scanner &scanner, Event &event) {
    if (!scanner.next('[')) return false;
    if (scanner.next(']')) return true;
    do {
        if (!scanner.next('{')) return false;
        std::string_view patient, tenant;
        bool has_tenant = false;
        do {
            std::string_view name;
            if (!scanner.text(name) || !scanner.next(':')) return false;
            if (name == "patient" && patient.data() == nullptr) {
                if (!scanner.text(patient)) return false;
            } else if (name == "tenant" && !has_tenant) {
                has_tenant = true;
                if (!scanner.text_or_null(tenant)) return false;
            } else {
                return false;
            }
        } while (scanner.next(','));
        if (!scanner.next('}') || patient.data() == nullptr || event.patients.size() >= most_patients) return false;
        event.patients.emplace_back(patient, tenant);
    } while (scanner.next(','));
    return scanner.next(']');
}

bool read_field(Scanner &scanner, Field field, Written &written, Event &event) {
    std::string_view ignored;
    switch (field) {
        case Field::time: return scanner.time(event.time_ms);
        case Field::status: return scanner.number(event.status, most_status);
        case Field::id: return scanner.text_or_null(event.event_id);
        case Field::principal: return scanner.text_or_null(event.principal);
        case Field::kind: return scanner.text_or_null(written.kind);
        case Field::authenticated: return scanner.truth_or_null(written.authenticated);
        case Field::realm: return scanner.text_or_null(written.realm);
        case Field::object: return scanner.text_or_null(event.object);
        case Field::patient: return scanner.text_or_null(written.patient);
        case Field::tenant: return scanner.text_or_null(event.tenant);
        case Field::patients:
            if (scanner.word("null")) return true;
            written.has_patients = true;
            return read_patients(scanner, event);
        case Field::client_ip: return scanner.text_or_null(event.client_ip);
        case Field::method: return scanner.text_or_null(event.method);
        case Field::route: return scanner.text_or_null(event.route);
        case Field::path: return scanner.text_or_null(ignored);
        case Field::bytes: return scanner.number_or_null(event.bytes);
        case Field::records: return scanner.number_or_null(event.records);
        case Field::gateway: return scanner.text_or_null(event.gateway);
        case Field::number: return scanner.number_or_null(event.number);
        case Field::unknown: break;
    }
    return false;
}

// As `clean` in monitor/intake/event.py, of texts that it leaves as they are.
bool clean(std::string_view &text) {
    if (text.empty()) text = {};
    return text.size() <= most_text && printable(text);
}

void drop_empty(std::string_view &text) {
    if (text.empty()) text = {};
}

bool judge_principal(const Written &written, Event &event) {
    static constexpr std::string_view kinds[] = {"api_key", "oauth_client", "session", "account"};
    bool known = written.kind.data() == nullptr;
    for (const std::string_view kind : kinds) known = known || written.kind == kind;
    if (!known) return false;
    if (event.principal.empty()) {
        event.principal = {};
    } else {
        if (!written.authenticated) return false;
        if (!*written.authenticated || event.status == unauthorized) event.principal = {};
        else if (event.principal.size() > most_text || !printable(event.principal)) return false;
    }
    if (event.principal.data() != nullptr) event.kind = written.kind.data() == nullptr ? kinds[0] : written.kind;
    return true;
}

// As `_patients` in monitor/intake/canonical.py; the event's tenant is clean by now.
bool judge_patients(const Written &written, Event &event) {
    if (!written.has_patients) {
        if (!written.patient.empty()) event.patients.emplace_back(written.patient, event.tenant);
        return true;
    }
    if (written.patient.data() != nullptr) return false;
    for (auto &[patient, tenant] : event.patients) {
        if (!clean(tenant)) return false;
        if (tenant.data() == nullptr) tenant = event.tenant;
    }
    // Different pairs, each where it came first.
    struct PairHash {
        size_t operator()(const std::pair<std::string_view, std::string_view> &pair) const {
            return static_cast<size_t>(hashed(pair.first) * 31 + hashed(pair.second));
        }
    };
    std::unordered_set<std::pair<std::string_view, std::string_view>, PairHash> seen;
    size_t kept = 0;
    for (const auto &pair : event.patients)
        if (!pair.first.empty() && (event.patients.size() == 1 || seen.insert(pair).second)) event.patients[kept++] = pair;
    event.patients.resize(kept);
    return true;
}

}  // namespace

std::optional<int64_t> read_time(std::string_view text) {
    // 2026-03-01T09:00:00Z, 2026-03-01T09:00:00.25+01:00: one to six digits of a fraction
    const auto digits = [&](size_t from, size_t count) {
        int64_t value = 0;
        for (size_t at = from; at < from + count; ++at) {
            if (at >= text.size() || text[at] < '0' || text[at] > '9') return int64_t{-1};
            value = value * 10 + (text[at] - '0');
        }
        return value;
    };
    static constexpr std::string_view form = "0000-00-00T00:00:00";
    if (text.size() <= form.size()) return {};
    for (size_t at = 0; at < form.size(); ++at)
        if (form[at] != '0' && text[at] != form[at]) return {};
    const int64_t year = digits(0, 4), month = digits(5, 2), day = digits(8, 2);
    const int64_t hour = digits(11, 2), minute = digits(14, 2), second = digits(17, 2);
    static constexpr int64_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || month < 1 || month > 12 || day < 1 || hour < 0 || minute < 0 || second < 0) return {};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > lengths[month - 1] + (leap && month == 2 ? 1 : 0) || hour > 23 || minute > 59 || second > 59) return {};
    size_t at = form.size();
    int64_t millisecond = 0;
    if (text[at] == '.') {
        int64_t weight = 100;
        const size_t from = ++at;
        for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, weight /= 10) millisecond += weight * (text[at] - '0');
        if (at == from || at - from > 6) return {};
    }
    int64_t offset_minutes = 0;
    if (text.size() - at == 6 && (text[at] == '+' || text[at] == '-') && text[at + 3] == ':') {
        const int64_t hours = digits(at + 1, 2), minutes = digits(at + 4, 2);
        if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return {};
        offset_minutes = (hours * 60 + minutes) * (text[at] == '-' ? -1 : 1);
    } else if (text.size() - at != 1 || text[at] != 'Z') {
        return {};
    }
    // Days since 1970-01-01, of the proleptic Gregorian calendar; years begin in March here.
    const int64_t years = month > 2 ? year : year - 1, days_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const int64_t days = years * 365 + years / 4 - years / 100 + years / 400 + days_of_year - 719'468;
    return ((days * 24 + hour) * 60 + minute - offset_minutes) * 60'000 + second * 1000 + millisecond;
}

bool read_canonical(std::string_view record, const CanonicalSource &source, Event &event) {
    event.clear();
    if (record.empty() || record.size() > source.most_bytes) return false;
    Scanner scanner(record);
    Written written;
    uint32_t seen = 0;
    if (!scanner.next('{')) return false;
    do {
        std::string_view name;
        if (!scanner.text(name) || !scanner.next(':')) return false;
        const Field field = field_of(name);
        const uint32_t bit = uint32_t{1} << static_cast<unsigned>(field);
        if ((seen & bit) != 0 || !read_field(scanner, field, written, event)) return false;
        seen |= bit;
    } while (scanner.next(','));
    if (!scanner.next('}') || !scanner.at_end()) return false;
    constexpr uint32_t required = 1u << static_cast<unsigned>(Field::time) | 1u << static_cast<unsigned>(Field::status);
    if ((seen & required) != required || event.time_ms < least_time_ms || event.time_ms >= end_time_ms) return false;
    if (!plain_realm(written.realm)) return false;
    event.realm = written.realm.empty() ? std::string_view(source.realm) : written.realm;
    if (!source.trust_ids) event.event_id = {};
    drop_empty(event.event_id);
    drop_empty(event.object);
    drop_empty(event.client_ip);
    for (std::string_view *text : {&event.tenant, &event.route, &event.method, &event.gateway})
        if (!clean(*text)) return false;
    return judge_principal(written, event) && judge_patients(written, event);
}

}  // namespace engine
