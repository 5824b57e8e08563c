// BLAKE2b in one piece, keyed or not (RFC 7693; `personal` as in the BLAKE2 paper, section 2.8).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>

#include "bytes.hpp"

namespace engine {

// The state after the parameters and the key: messages go on from it.
class Blake2b {
  public:
    // `size` is that of the digest, 1 to 64 bytes; `key` has at most 64 bytes, `personal` at most 16.
    Blake2b(size_t size, std::string_view key = {}, std::string_view personal = {}) : keyed_(!key.empty()), size_(size) {
        std::memcpy(h_, start, sizeof h_);
        h_[0] ^= 0x01010000 ^ (key.size() << 8) ^ size;
        uint8_t person[16] = {};
        std::copy_n(personal.begin(), std::min(personal.size(), sizeof person), person);
        h_[6] ^= little_endian(person);
        h_[7] ^= little_endian(person + 8);
        std::copy(key.begin(), key.end(), key_);
        std::memcpy(after_key_, h_, sizeof h_);
        if (keyed_) compress(after_key_, key_, sizeof key_, false);
    }

    // Writes the digest of `message` to `digest`, which has room for `size` bytes.
    void digest(std::string_view message, uint8_t *digest) const {
        const auto *at = reinterpret_cast<const uint8_t *>(message.data());
        size_t left = message.size();
        uint64_t h[8], total = 0;
        std::memcpy(h, h_, sizeof h);
        if (keyed_ && left == 0) {
            at = key_, left = sizeof key_;
        } else if (keyed_) {
            std::memcpy(h, after_key_, sizeof h);
            total = sizeof key_;
        }
        for (; left > block_bytes; at += block_bytes, left -= block_bytes) compress(h, at, total += block_bytes, false);
        uint8_t last[block_bytes] = {};
        if (left > 0) std::memcpy(last, at, left);
        compress(h, last, total + left, true);
        for (size_t n = 0; n < size_; ++n) digest[n] = static_cast<uint8_t>(h[n / 8] >> (8 * (n % 8)));
    }

  private:
    static constexpr size_t block_bytes = 128;
    static constexpr uint64_t start[8] = {
        0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
        0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
    uint64_t h_[8], after_key_[8];
    uint8_t key_[block_bytes] = {};
    bool keyed_;
    size_t size_;

    static uint64_t turned(uint64_t value, int by) { return value >> by | value << (64 - by); }

    static constexpr uint8_t sigma[12][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
        {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
        {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
        {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
        {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

    static void compress(uint64_t *h, const uint8_t *block, uint64_t total, bool last) {
        uint64_t v[16], m[16];
        for (int n = 0; n < 8; ++n) v[n] = h[n], v[n + 8] = start[n];
        v[12] ^= total;
        if (last) v[14] = ~v[14];
        for (int n = 0; n < 16; ++n) m[n] = little_endian(block + 8 * n);
        rounds<0>(v, m);
        for (int n = 0; n < 8; ++n) h[n] ^= v[n] ^ v[n + 8];
    }
    // One after the other without a loop: with numbers known to the compiler, `v` stays in registers (a quarter faster).
    template <size_t at>
    [[gnu::always_inline]] static void rounds(uint64_t *v, const uint64_t *m) {
        if constexpr (at < std::size(sigma)) {
            constexpr const auto &s = sigma[at];
            mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
            mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
            mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
            mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
            mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
            mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
            mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
            mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
            rounds<at + 1>(v, m);
        }
    }
    [[gnu::always_inline]] static void mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y) {
        v[a] += v[b] + x;
        v[d] = turned(v[d] ^ v[a], 32);
        v[c] += v[d];
        v[b] = turned(v[b] ^ v[c], 24);
        v[a] += v[b] + y;
        v[d] = turned(v[d] ^ v[a], 16);
        v[c] += v[d];
        v[b] = turned(v[b] ^ v[c], 63);
    }
};

}  // namespace engine
