#include "router_rows.hpp"

#include <unordered_map>
#include <unordered_set>

namespace engine {
namespace {

// As in monitor/core/events.py.
enum Column : size_t { time_at = 4, event_id_at, realm_at, principal_at, kind_at, object_at, patients_at, tenant_at, address_at,
                       method_at, route_at, status_at, bytes_at, records_at, gateway_at, class_at, category_at, columns_end };

void text_or_nil(Packer &packer, std::string_view text) {
    if (text.data() == nullptr) packer.nil();
    else packer.text(text);
}

void number_or_nil(Packer &packer, const std::optional<int64_t> &number) {
    if (number) packer.integer(*number);
    else packer.nil();
}

std::string packed_text(std::string_view text) {
    Packer packer;
    text_or_nil(packer, text);
    return packer.out;
}

std::string packed_object(PyObject *object) { return packed_text(object == Py_None ? std::string_view() : as_text(object)); }

// Four numbers up to 255 without leading zeros: what Python's `ipaddress` gives back as it is.
bool plain_ipv4(std::string_view text) {
    size_t at = 0;
    for (int part = 0; part < 4; ++part) {
        if (part > 0 && (at >= text.size() || text[at++] != '.')) return false;
        const size_t from = at;
        unsigned value = 0;
        while (at < text.size() && at - from < 3 && text[at] >= '0' && text[at] <= '9') value = value * 10 + static_cast<unsigned>(text[at++] - '0');
        if (at == from || value > 255 || (at - from > 1 && text[from] == '0')) return false;
    }
    return at == text.size();
}

std::string_view checked_id(PyObject *object) {
    const std::string_view id = as_text(object);
    if (id.size() > Pseudonymiser::longest_id) throw std::invalid_argument("too long an id of a key");
    return id;
}

std::string_view checked_key(PyObject *object) {
    const std::string_view key = as_bytes(object);
    if (key.size() > 64) throw std::invalid_argument("too long a key");
    return key;
}

int64_t checked_partitions(PyObject *object) {
    const int64_t partitions = as_int(object);
    if (partitions < 1 || partitions > 1'000'000) throw std::invalid_argument("no number of partitions");
    return partitions;
}

}  // namespace

Pseudonymiser::Name Pseudonymiser::operator()(std::string_view raw) const {
    static constexpr char digits[] = "0123456789abcdef";
    uint8_t digest[digest_bytes];
    start_.digest(raw, digest);
    Name name;
    const size_t size = prefix_.size() + 2 * digest_bytes;
    char *at = name.packed;
    if (size >= 32) *at++ = static_cast<char>(0xd9), *at++ = static_cast<char>(size);
    else *at++ = static_cast<char>(0xa0 | size);
    std::memcpy(at, prefix_.data(), prefix_.size());
    at += prefix_.size();
    for (const uint8_t byte : digest) *at++ = digits[byte >> 4], *at++ = digits[byte & 15];
    name.size = static_cast<size_t>(at - name.packed);
    return name;
}

int64_t Partitioner::operator()(std::string_view raw) const {
    uint8_t digest[8];
    start_.digest(raw, digest);
    return static_cast<int64_t>(big_endian(digest, sizeof digest) % partitions_);
}

// (key id, key, routing key, partitions, keep addresses, credential, network of an address, classes by kind,
//  axes as (name, column, read only, spec of the conditions))
Router::Router(PyObject *spec)
    : partitions_(checked_partitions(item(spec, 3))),
      patient_(checked_id(item(spec, 0)), checked_key(item(spec, 1)), "patient"),
      object_(checked_id(item(spec, 0)), checked_key(item(spec, 1)), "object"),
      address_(checked_id(item(spec, 0)), checked_key(item(spec, 1)), "client_ip"),
      principal_partition_(checked_key(item(spec, 2)), "principal", partitions_),
      address_partition_(checked_key(item(spec, 2)), "client_ip", partitions_),
      keep_addresses_(as_bool(item(spec, 4))),
      credential_of_(Ref::borrowed(item(spec, 5))),
      network_of_(Ref::borrowed(item(spec, 6))) {
    PyObject *const kinds = item(spec, 7);
    for (Py_ssize_t at = 0; at < size_of(kinds); ++at)
        plain_kinds_.emplace_back(as_text(item(item(kinds, at), 0)), packed_object(item(item(kinds, at), 1)));
    PyObject *const axes = item(spec, 8);
    for (Py_ssize_t at = 0; at < size_of(axes); ++at) {
        PyObject *const axis = item(axes, at);
        const std::string_view name = as_text(item(axis, 0));
        const auto column = static_cast<size_t>(as_int(item(axis, 1)));
        if (column < time_at || column >= columns_end) throw std::invalid_argument("an axis of no column");
        const Kind kind = name == "tenant" ? Kind::tenant : name == "object" ? Kind::object : name == "client_ip" ? Kind::client_ip : Kind::column;
        Axis made{kind, column, packed_text(name), as_bool(item(axis, 2)), Conditions(item(axis, 3)), Partitioner(checked_key(item(spec, 2)), name, partitions_)};
        if (name == "patient") patient_axis_ = std::make_unique<Axis>(std::move(made));
        else others_.push_back(std::move(made));
    }
}

void Router::route(const Event &event, int64_t offset, Targets &targets) {
    const bool anonymous = event.principal.data() == nullptr;
    if (anonymous && others_.empty()) return;
    const Credential *const known = anonymous ? nullptr : &credential(event);
    const Address *const from = event.client_ip.data() == nullptr ? nullptr : &address(event.client_ip);
    names_.clear();
    for (const auto &[patient, tenant] : event.patients) names_.push_back(patient_(patient));
    pack(event, known, from);
    Packer packer;
    packer.out.swap(offset_);
    packer.out.clear();
    packer.integer(offset);
    packer.out.swap(offset_);
    const bool read = 200 <= event.status && event.status < 300;
    if (known != nullptr) {
        static const std::string principal = packed_text("principal");
        write(targets, known->partition, principal, known->subject, all_pairs(), known->handle);
        if (read && !event.patients.empty() && patient_axis_) patients(event, targets);
    }
    for (Axis &axis : others_)
        if (read || !axis.read_only) other(axis, event, from, targets);
}

const Router::Credential &Router::credential(const Event &event) {
    Packer key;
    key.out.swap(key_);
    key.out.clear();
    key.text(event.realm);
    text_or_nil(key, event.kind);
    key.raw(event.principal);
    key.out.swap(key_);
    const uint64_t hash = hashed(key_);
    if (const auto *found = credentials_.find(key_, hash)) return **found;
    std::unique_ptr<Credential> made = new_credential(event);
    if (key_.size() > cached_bytes) {
        long_credential_ = std::move(made);
        return *long_credential_;
    }
    const Credential &credential = *made;
    credentials_.put(key_, hash, std::move(made));
    return credential;
}

std::unique_ptr<Router::Credential> Router::new_credential(const Event &event) {
    auto made = std::make_unique<Credential>();
    for (const auto &[kind, name] : plain_kinds_) {
        if (event.kind != kind) continue;
        std::string subject(event.realm);
        subject.append("/").append(event.principal);
        made->partition = principal_partition_(subject);
        made->subject = packed_text(subject);
        made->principal = packed_text(event.principal);
        made->name = name;
        return made;
    }
    const Ref kind = event.kind.data() == nullptr ? Ref::borrowed(Py_None) : text(event.kind);
    const Ref told = Ref::checked(PyObject_CallFunctionObjArgs(credential_of_.get(), text(event.realm).get(), text(event.principal).get(), kind.get(), nullptr));
    made->subject = packed_object(item(told.get(), 0));
    made->partition = as_int(item(told.get(), 1));
    if (made->partition < 0 || made->partition >= partitions_) throw std::invalid_argument("no such partition");
    made->name = packed_object(item(told.get(), 2));
    made->principal = packed_object(item(told.get(), 3));
    PyObject *const handle = item(told.get(), 4);
    if (handle != Py_None) made->handle = packed_object(handle);
    return made;
}

const Router::Address &Router::address(std::string_view raw) {
    const uint64_t hash = hashed(raw);
    if (const auto *found = addresses_.find(raw, hash)) return **found;
    auto made = std::make_unique<Address>();
    if (plain_ipv4(raw)) {
        made->known = true;
        made->network = raw;
    } else {
        const Ref network = Ref::checked(PyObject_CallFunctionObjArgs(network_of_.get(), text(raw).get(), nullptr));
        made->known = network.get() != Py_None;
        if (made->known) made->network = as_text(network.get());
    }
    made->column = packed_text({});
    if (made->known) {
        made->subject = std::string_view(address_(made->network));
        made->column = keep_addresses_ ? packed_text(made->network) : made->subject;
        made->partition = address_partition_(made->network);
    }
    if (raw.size() > cached_bytes) {
        long_address_ = std::move(made);
        return *long_address_;
    }
    const Address &address = *made;
    addresses_.put(raw, hash, std::move(made));
    return address;
}

void Router::pack(const Event &event, const Credential *credential, const Address *address) {
    Packer &body = body_;
    body.out.clear();
    const auto at = [&](size_t column) { starts_[column] = body.out.size(); };
    at(time_at), body.integer(event.time_ms);
    at(event_id_at), text_or_nil(body, event.event_id);
    at(realm_at), text_or_nil(body, event.realm);
    at(principal_at), credential == nullptr ? body.nil() : body.raw(credential->principal);
    at(kind_at), text_or_nil(body, event.kind);
    at(object_at);
    if (event.object.data() == nullptr) body.nil();
    else body.raw(object_(event.object));
    at(patients_at), body.array(event.patients.size());
    for (size_t number = 0; number < event.patients.size(); ++number) {
        body.array(2);
        body.raw(names_[number]);
        text_or_nil(body, event.patients[number].second);
    }
    at(tenant_at), text_or_nil(body, event.tenant);
    at(address_at), address == nullptr ? body.nil() : body.raw(address->column);
    at(method_at), text_or_nil(body, event.method);
    at(route_at), text_or_nil(body, event.route);
    at(status_at), body.integer(event.status);
    at(bytes_at), number_or_nil(body, event.bytes);
    at(records_at), number_or_nil(body, event.records);
    at(gateway_at), text_or_nil(body, event.gateway);
    at(class_at), credential == nullptr ? body.nil() : body.raw(credential->name);
    at(category_at), text_or_nil(body, event.category);
    at(columns_end);
    const std::string_view whole(body.out);
    for (size_t column = time_at; column < columns_end; ++column)
        columns_[column] = whole.substr(starts_[column], starts_[column + 1] - starts_[column]);
}

void Router::write(Targets &targets, int64_t partition, std::string_view axis, std::string_view subject, std::string_view pairs, std::string_view handle) {
    std::string &out = targets.row(partition);
    const std::string_view body(body_.out);
    // An array of more than 15 parts; the kind of an event is 0.
    const char head[] = {static_cast<char>(0xdc), 0, static_cast<char>(columns_end + (handle.empty() ? 0 : 1))};
    out.append(head, sizeof head).append(offset_).push_back('\0');
    out.append(axis).append(subject);
    out.append(body.substr(0, starts_[patients_at])).append(pairs).append(body.substr(starts_[tenant_at]));
    out.append(handle);
}

bool Router::wanted(Axis &axis, std::string_view pairs) {
    const std::string_view all = all_pairs();
    columns_[patients_at] = pairs;
    const size_t id = axis.wanted.id(columns_);
    columns_[patients_at] = all;
    return axis.wanted.any(id);
}

std::string_view Router::pairs_of(const Event &event, const std::vector<uint32_t> &numbers) {
    own_.out.clear();
    own_.array(numbers.size());
    for (const uint32_t number : numbers) {
        own_.array(2);
        own_.raw(names_[number]);
        text_or_nil(own_, event.patients[number].second);
    }
    return own_.out;
}

void Router::patients(const Event &event, Targets &targets) {
    Axis &axis = *patient_axis_;
    if (event.patients.size() == 1) {
        if (wanted(axis, all_pairs())) write(targets, axis.partition(event.patients[0].first), axis.name, names_[0], all_pairs());
        return;
    }
    std::unordered_map<std::string_view, size_t, SeededHash> places;
    std::vector<std::vector<uint32_t>> groups;
    for (uint32_t number = 0; number < event.patients.size(); ++number) {
        const auto [place, is_new] = places.try_emplace(event.patients[number].first, groups.size());
        if (is_new) groups.emplace_back();
        groups[place->second].push_back(number);
    }
    for (const std::vector<uint32_t> &group : groups) {
        const std::string_view pairs = pairs_of(event, group);
        if (wanted(axis, pairs)) write(targets, axis.partition(event.patients[group[0]].first), axis.name, names_[group[0]], pairs);
    }
}

void Router::tenants(Axis &axis, const Event &event, Targets &targets) {
    std::unordered_map<std::string_view, size_t, SeededHash> places;
    std::vector<std::pair<std::string_view, std::vector<uint32_t>>> groups;
    const auto group_of = [&](std::string_view tenant) -> std::vector<uint32_t> & {
        const auto [place, is_new] = places.try_emplace(tenant, groups.size());
        if (is_new) groups.emplace_back(tenant, std::vector<uint32_t>());
        return groups[place->second].second;
    };
    if (event.tenant.data() != nullptr) group_of(event.tenant);
    for (uint32_t number = 0; number < event.patients.size(); ++number) {
        const std::string_view tenant = event.patients[number].second;
        if (tenant.data() != nullptr) group_of(tenant).push_back(number);
    }
    for (const auto &[tenant, numbers] : groups) {
        const std::string_view pairs = pairs_of(event, numbers);
        if (wanted(axis, pairs)) write(targets, axis.partition(tenant), axis.name, packed_text(tenant), pairs);
    }
}

void Router::other(Axis &axis, const Event &event, const Address *address, Targets &targets) {
    const std::string_view column = columns_[axis.column];
    switch (axis.kind) {
        case Kind::tenant: return tenants(axis, event, targets);
        case Kind::object:
            if (event.object.data() != nullptr && wanted(axis, all_pairs()))
                write(targets, axis.partition(event.object), axis.name, column, all_pairs());
            return;
        case Kind::client_ip:
            if (address != nullptr && address->known && wanted(axis, all_pairs()))
                write(targets, address->partition, axis.name, address->subject, all_pairs());
            return;
        case Kind::column: {
            const Value value = Unpacker(column).next();
            if (value.kind == engine::Kind::nil || !wanted(axis, all_pairs())) return;
            const std::string raw = value.kind == engine::Kind::text ? std::string(value.data) : std::to_string(value.signed_number());
            write(targets, axis.partition(raw), axis.name, packed_text(raw), all_pairs());
        }
    }
}

}  // namespace engine
