// Products of tiles, 16 rows of 64 bytes each, of pairs of bfloat16 by channels: by matrix units (AMX), which have
// eight registers of them; or, where there are none, by products of pairs, of tiles in memory.

#pragma once
#include "pairs.hpp"

#ifdef HAS_PAIRS

#if (defined(__AMX_BF16__) || defined(__AMXBF16__)) && defined(__linux__)   // Clang's too
#define HAS_MATRIX_UNITS 1

#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr bool LEFT_BY_ROWS = true;   // a tile of a product's left side: 16 rows of 16 pairs

inline bool allowed() {   // Linux lets a process use the tiles once it has asked
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    static const bool granted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return granted;
}

inline void configure() {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape;
    std::memset(&shape, 0, sizeof shape);
    shape.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
        shape.bytes[tile] = 64;
        shape.rows[tile] = TILE;
    }
    asm volatile("" : : "r"(&shape) : "memory");   // the intrinsic says that it reads the first bytes alone
    _tile_loadconfig(&shape);
}

inline void release() { _tile_release(); }

// The first N tiles, 3, 4 or 6, hold sums: cleared or, where some were stored before, fetched; and stored.
template <int N> inline void begin(float* const* sums, bool is_first) {
    if (is_first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        if (N > 3) _tile_zero(3);
        if (N > 4) _tile_zero(4);
        if (N > 4) _tile_zero(5);
    } else {
        _tile_loadd(0, sums[0], 64);
        _tile_loadd(1, sums[1], 64);
        _tile_loadd(2, sums[2], 64);
        if (N > 3) _tile_loadd(3, sums[3], 64);
        if (N > 4) _tile_loadd(4, sums[4], 64);
        if (N > 4) _tile_loadd(5, sums[5], 64);
    }
}
template <int N> inline void finish(float* const* sums) {
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    if (N > 3) _tile_stored(3, sums[3], 64);
    if (N > 4) _tile_stored(4, sums[4], 64);
    if (N > 4) _tile_stored(5, sums[5], 64);
}

// Add the products of two tiles by two to the first four. `passing`: the right ones are read past the nearest cache,
// where they would push out the left ones, which are read again sooner.
template <bool passing>
inline void add_products(const half* a0, const half* a1, int64_t a_bytes, const half* b0, const half* b1) {
    _tile_loadd(4, a0, a_bytes);
    if constexpr (passing) _tile_stream_loadd(6, b0, 64);
    else _tile_loadd(6, b0, 64);
    _tile_loadd(5, a1, a_bytes);
    if constexpr (passing) _tile_stream_loadd(7, b1, 64);
    else _tile_loadd(7, b1, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

}   // namespace

#else

namespace {

constexpr bool LEFT_BY_ROWS = false;   // 16 pairs, each of 16 rows: as on the right side

inline bool allowed() { return true; }
inline void configure() {}
inline void release() {}

// Eight rows of N tiles of sums, held in registers.
template <int N> struct EightRows {
    __m512 sums[8][N];
    EightRows(float* const* tiles, int64_t row, bool is_first) {
        for (int r = 0; r < 8; ++r)
            for (int n = 0; n < N; ++n)
                sums[r][n] = is_first ? _mm512_setzero_ps() : _mm512_load_ps(tiles[n] + (row + r) * TILE);
    }
    // Add the products of these rows of a left tile and of N right ones.
    void add(const half* left, const half* const* right, int64_t at) {
        for (int64_t k = 0; k < TILE; ++k) {
            __m512bh columns[N];
            for (int n = 0; n < N; ++n) columns[n] = (__m512bh)_mm512_load_si512(right[n] + at + k * DEEP);
            for (int r = 0; r < 8; ++r) {
                __m512bh pair = twice(left + k * DEEP + 2 * r);
                for (int n = 0; n < N; ++n) sums[r][n] = _mm512_dpbf16_ps(sums[r][n], columns[n], pair);
            }
        }
    }
    void put(float* const* tiles, int64_t row) const {
        for (int r = 0; r < 8; ++r)
            for (int n = 0; n < N; ++n) _mm512_store_ps(tiles[n] + (row + r) * TILE, sums[r][n]);
    }
};

}   // namespace

#endif
#endif
