// The last different records of a partition, as monitor/intake/repeats.py has them: in 40 bytes each.
#pragma once

#include <cstdint>
#include <vector>

#include "table.hpp"

namespace engine {

class Repeats {
  public:
    explicit Repeats(uint32_t limit) : limit_(limit), heads_(1024, none) {}

    // Remembers a record; returns whether it is one of the last different ones.
    bool note(std::string_view record) {
        const uint64_t mark = hashed(record);
        for (uint32_t at = heads_[bucket(mark)]; at != none; at = nodes_[at].chain) {
            if (nodes_[at].mark != mark) continue;
            unlink(at);
            link(at);
            return true;
        }
        uint32_t at;
        if (nodes_.size() < limit_) {
            if (nodes_.size() >= heads_.size()) widen();
            at = static_cast<uint32_t>(nodes_.size());
            nodes_.emplace_back();
        } else {
            at = oldest_;
            unlink(at);
            uint32_t *place = &heads_[bucket(nodes_[at].mark)];
            while (*place != at) place = &nodes_[*place].chain;
            *place = nodes_[at].chain;
        }
        nodes_[at].mark = mark;
        chain(at);
        link(at);
        return false;
    }

  private:
    static constexpr uint32_t none = UINT32_MAX;
    struct Node {
        uint64_t mark = 0;
        uint32_t chain = none, older = none, newer = none;
    };
    uint32_t limit_, oldest_ = none, newest_ = none;
    std::vector<Node> nodes_;
    std::vector<uint32_t> heads_;

    size_t bucket(uint64_t mark) const { return mark & (heads_.size() - 1); }
    void chain(uint32_t at) {
        uint32_t &head = heads_[bucket(nodes_[at].mark)];
        nodes_[at].chain = head;
        head = at;
    }
    void widen() {
        heads_.assign(2 * heads_.size(), none);
        for (uint32_t at = 0; at < nodes_.size(); ++at) chain(at);
    }
    void unlink(uint32_t at) {
        const Node &node = nodes_[at];
        (node.older == none ? oldest_ : nodes_[node.older].newer) = node.newer;
        (node.newer == none ? newest_ : nodes_[node.newer].older) = node.older;
    }
    void link(uint32_t at) {
        nodes_[at].older = newest_;
        nodes_[at].newer = none;
        (newest_ == none ? oldest_ : nodes_[newest_].newer) = at;
        newest_ = at;
    }
};

}  // namespace engine
