// CRC-32C (Castagnoli), which Kafka's record batches bear, by the processor's own instruction where there is one.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define ENGINE_HAS_CRC32C 1
#endif

namespace engine {

// Whether `crc32c` may be called.
inline bool has_crc32c() {
#ifdef ENGINE_HAS_CRC32C
    return __builtin_cpu_supports("sse4.2") != 0;
#else
    return false;
#endif
}

#ifdef ENGINE_HAS_CRC32C
__attribute__((target("sse4.2"))) inline uint32_t crc32c(std::string_view bytes) {
    const char *at = bytes.data();
    const char *const end = at + bytes.size();
    uint64_t sum = UINT32_MAX;
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        std::memcpy(&word, at, sizeof word);
        sum = _mm_crc32_u64(sum, word);
    }
    auto rest = static_cast<uint32_t>(sum);
    for (; at < end; ++at) rest = _mm_crc32_u8(rest, static_cast<uint8_t>(*at));
    return ~rest;
}
#else
inline uint32_t crc32c(std::string_view) { return 0; }
#endif

}  // namespace engine
