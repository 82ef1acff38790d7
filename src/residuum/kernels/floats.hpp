// A register of numbers at a time, computed with in float32 whatever memory holds: float32 or bfloat16.

#pragma once
#include <cstdint>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

// As many as a register holds of the processor compiled for: compilers take wider ones apart in memory.
#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

struct bfloat16 { uint16_t bits; };
inline float number(float x) { return x; }
inline float number(bfloat16 x) {
    uint32_t bits = (uint32_t)x.bits << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline Floats load(const float* from) {
    Floats v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }

inline Floats load(const bfloat16* from) {
#ifdef __AVX512F__   // in one step; left to itself, the compiler widens each half and joins the two
    return (Floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16);
#else
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return (Floats)(__builtin_convertvector(halves, Words) << 16);
#endif
}
inline void store(bfloat16* to, Floats v) {
#ifdef __AVX512BF16__
    __m256bh halves = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(to, &halves, sizeof halves);
#else
    Words bits = (Words)v;
    Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;   // to the nearest, ties to even
    Words is_nan = (Words)(v != v);
    Halves halves = __builtin_convertvector((rounded & ~is_nan) | (is_nan & 0x7fc0), Halves);
    std::memcpy(to, &halves, sizeof halves);
#endif
}

// Large tensors are out of the cache before anyone reads them: they are written past it, which spares fetching what is
// overwritten and leaves the cache to what is read.
constexpr int64_t LARGE_BYTES = int64_t(24) << 20;
#ifdef __AVX512BF16__
template <class T> inline bool streams(const T* to, int64_t numbers) {
    return numbers * (int64_t)sizeof(T) >= LARGE_BYTES && (uintptr_t)to % (LANES * sizeof(T)) == 0;
}
inline void stream(float* to, Floats v) { _mm512_stream_ps(to, (__m512)v); }
inline void stream(bfloat16* to, Floats v) {
    _mm256_stream_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)v));
}
#else
template <class T> inline bool streams(const T*, int64_t) { return false; }
template <class T> inline void stream(T* to, Floats v) { store(to, v); }
#endif
template <bool past_cache, class T> inline void write(T* to, Floats v) {
    if constexpr (past_cache) stream(to, v);
    else store(to, v);
}

inline Floats where(Ints mask, Floats v) { return (Floats)((Ints)v & mask); }

}   // namespace
