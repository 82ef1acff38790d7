// Pairs of bfloat16, which processors with AVX-512 BF16 multiply and add up, with matrix units (AMX) or without.

#pragma once
#include <cstdint>

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define HAS_PAIRS 1

#include <cstring>
#include <immintrin.h>
#include <numeric>

namespace {

constexpr int64_t TILE = 16;   // rows of a tile, and its columns in float32
constexpr int64_t DEEP = 32;   // numbers that one tile product adds up
typedef uint16_t half;         // a bfloat16
constexpr int64_t LINE = 32;   // such numbers in a line of the cache

constexpr int64_t parts(int64_t n, int64_t of) { return (n + of - 1) / of; }
constexpr int64_t up(int64_t n, int64_t multiple) { return parts(n, multiple) * multiple; }

// Divide rows evenly into bands of at most `most`; if that can be had without bands of half that size, into equal ones.
inline int64_t band(int64_t rows, int64_t most) {
    most = most < 1 ? 1 : most < rows ? most : rows;
    for (int64_t R = most; 2 * R > most; --R)
        if (rows % R == 0) return R;
    return parts(rows, parts(rows, most));
}

// How many pictures' rows are taken side by side, pixel by pixel, so that they come out in whole tiles.
inline int64_t together(int64_t columns) { return TILE / std::gcd(TILE, columns); }

// Transpose 16 rows of 16 numbers.
inline void transpose(__m512i* r) {
    __m512i t[16];
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

// Two rows of 16 numbers, number by number side by side: what a tile product wants of its right side.
inline __m512i paired(__m256i one, __m256i other) {
    alignas(64) static constexpr half ORDER[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(ORDER),
                                    _mm512_inserti64x4(_mm512_castsi256_si512(one), other, 1));
}
inline __m256i sixteen(const half* from) { return _mm256_loadu_si256((const __m256i*)from); }
inline __m256i sixteen(const float* from) { return (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from)); }

// Two neighbouring numbers, for each of 16 channels.
inline __m512bh twice(const half* pair) {
    int32_t bits;
    std::memcpy(&bits, pair, 4);
    return (__m512bh)_mm512_set1_epi32(bits);
}

// Two stretches of memory that are to be in the cache soon, asked for line by line while the matrix units work: packing
// alone waits for memory.
class Ahead {
    struct Stretch { const half *at, *end; } one, other;
    int64_t lines;   // at a time
public:
    Ahead(Stretch one, Stretch other, int64_t times)
        : one(one), other(other), lines(parts(one.end - one.at + other.end - other.at, LINE * times)) {}
    void fetch() {
        Stretch& s = one.at < one.end ? one : other;
        for (int64_t n = 0; n < lines && s.at < s.end; ++n, s.at += LINE) _mm_prefetch((const char*)s.at, _MM_HINT_T1);
    }
};

inline void put(half* to, __m256i v) { _mm256_storeu_si256((__m256i*)to, v); }

// Pair 32 rows two by two, 16 numbers of each from c on: a tile of the right side or, transposed, of the left one.
template <bool transposed> inline void pack_pairs(const half* const* rows, int64_t c, half* to) {
    __m512i pairs[16];
    for (int64_t k = 0; k < 16; ++k) pairs[k] = paired(sixteen(rows[2 * k] + c), sixteen(rows[2 * k + 1] + c));
    if (transposed) transpose(pairs);
    for (int64_t k = 0; k < 16; ++k) _mm512_store_si512(to + 32 * k, pairs[k]);
}

// Sixteen of the threads' sums, added up in the order of the threads; each works in so many bytes.
inline __m512 joined(const char* work, int64_t each, int threads, int64_t at) {
    __m512 sum = _mm512_setzero_ps();
    for (int t = 0; t < threads; ++t) sum = _mm512_add_ps(sum, _mm512_load_ps((const float*)(work + t * each) + at));
    return sum;
}

}   // namespace

#endif
