// From events to packed rows: what EventRouter in monitor/intake/rows.py does, for one set of keys.
#pragma once

#include <memory>

#include "blake2b.hpp"
#include "conditions.hpp"
#include "router_event.hpp"

namespace engine {

// ``k1:`` and 24 hexadecimal digits, packed.
class Pseudonymiser {
  public:
    Pseudonymiser(std::string_view key_id, std::string_view key, std::string_view domain)
        : start_(digest_bytes, key, domain), prefix_(std::string(key_id) + ":") {}

    struct Name {
        char packed[64];
        size_t size;
        operator std::string_view() const { return {packed, size}; }
    };
    Name operator()(std::string_view raw) const;
    // The longest that fits into a Name: ids of keys have at most 16 characters.
    static constexpr size_t longest_id = 32;

  private:
    static constexpr size_t digest_bytes = 12;
    Blake2b start_;
    std::string prefix_;
};

// The partition of a subject before it has a pseudonym.
class Partitioner {
  public:
    Partitioner(std::string_view key, std::string_view axis, int64_t partitions)
        : start_(8, key, axis.substr(0, 16)), partitions_(static_cast<uint64_t>(partitions)) {}
    int64_t operator()(std::string_view raw) const;

  private:
    Blake2b start_;
    uint64_t partitions_;
};

class Router {
  public:
    // `spec` is what monitor/intake/native.py writes. What it can be asked is held without the garbage
    // collector's knowledge.
    explicit Router(PyObject *spec);

    int64_t partitions() const { return partitions_; }
    // Writes the rows of one event. Throws where Python does, and then has written some of them perhaps.
    void route(const Event &event, int64_t offset, Targets &targets);

  private:
    struct Credential {
        int64_t partition;
        std::string subject, principal, name, handle;  // packed; `name` is the class
    };
    struct Address {
        std::string network;          // raw
        std::string column, subject;  // packed
        int64_t partition = 0;
        bool known = false;
    };
    enum class Kind : uint8_t { tenant, object, client_ip, column };
    struct Axis {
        Kind kind;
        size_t column;
        std::string name;  // packed
        bool read_only;
        Conditions wanted;
        Partitioner partition;
    };
    static constexpr size_t cached = 65'536, cached_bytes = size_t{8} << 20;

    int64_t partitions_;
    Pseudonymiser patient_, object_, address_;
    Partitioner principal_partition_, address_partition_;
    bool keep_addresses_;
    Ref credential_of_, network_of_;
    std::vector<std::pair<std::string, std::string>> plain_kinds_;  // kind → packed class
    std::unique_ptr<Axis> patient_axis_;
    std::vector<Axis> others_;
    Table<std::unique_ptr<Credential>> credentials_{cached, cached_bytes};
    Table<std::unique_ptr<Address>> addresses_{cached, cached_bytes};
    // What is too long to be kept longer.
    std::unique_ptr<Credential> long_credential_;
    std::unique_ptr<Address> long_address_;

    // The row at hand.
    Packer body_, own_;
    size_t starts_[22] = {};
    std::string offset_, key_;
    Columns columns_;
    std::vector<Pseudonymiser::Name> names_;

    const Credential &credential(const Event &event);
    std::unique_ptr<Credential> new_credential(const Event &event);
    const Address &address(std::string_view text);
    void pack(const Event &event, const Credential *credential, const Address *address);
    void write(Targets &targets, int64_t partition, std::string_view axis, std::string_view subject, std::string_view pairs, std::string_view handle = {});
    bool wanted(Axis &axis, std::string_view pairs);
    void patients(const Event &event, Targets &targets);
    void tenants(Axis &axis, const Event &event, Targets &targets);
    void other(Axis &axis, const Event &event, const Address *address, Targets &targets);
    // Packs the pairs of some patients, by their numbers.
    std::string_view pairs_of(const Event &event, const std::vector<uint32_t> &numbers);
    std::string_view all_pairs() const { return columns_[10]; }
};

}  // namespace engine
