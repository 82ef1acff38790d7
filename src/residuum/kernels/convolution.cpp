// The gradient of a 3x3 convolution's weights on a processor with matrix units (AMX), where torch's library is slow.
//
// dw[co, ci, tap] = sum over pixels q of g[q, co] x[q + shift(tap), ci]: nine matrix products over the pixels, one a tap.
// Pixels are numbered with a column of zeros to the right of each row and a row of zeros below each picture, so that a
// tap is a constant shift of the number and what lies outside the picture is zero.
//
// Letters: B pictures, H rows, W columns, Ci and Co channels (multiples of 32); x and g bfloat16, channels last.

#include <cstdint>

#if defined(__AMX_BF16__) && defined(__AVX512F__) && defined(__linux__)

#include <algorithm>
#include <cstring>
#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int64_t CHUNK = 512;    // pixels packed at a time: they stay in the cache for all taps and channels
constexpr int64_t TILE = 16;      // rows of a tile, and its columns in float32
constexpr int64_t DEEP = 32;      // pixels that one tile product adds up
typedef uint16_t half;

bool allowed() {                  // Linux lets a process use the tiles once it has asked
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    static const bool granted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return granted;
}

void configure() {
    struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape;
    std::memset(&shape, 0, sizeof shape);
    shape.palette = 1;
    for (int tile = 0; tile < 8; ++tile) { shape.bytes[tile] = 64; shape.rows[tile] = TILE; }
    _tile_loadconfig(&shape);
}

struct Map {
    const half* pixels; int64_t B, H, W, C;
    int64_t count() const { return B * (H + 1) * (W + 1); }
};

// Where the channels of consecutively numbered pixels lie, zeros included.
void addresses(const Map& map, int64_t first, int64_t count, const half* zeros, const half** out) {
    int64_t tall = map.H + 1, wide = map.W + 1, total = map.count();
    for (int64_t k = 0; k < count; ++k) {
        int64_t q = first + k;
        out[k] = zeros;
        if (q < 0 || q >= total) continue;
        int64_t picture = q / (tall * wide), place = q % (tall * wide), y = place / wide, x = place % wide;
        if (y < map.H && x < map.W) out[k] = map.pixels + ((picture * map.H + y) * map.W + x) * map.C;
    }
}

// 16 channels of two pixels, side by side: what a tile product wants of its right side.
inline __m512i paired(const half* one, const half* other) {
    __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)one));
    __m512i b = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)other));
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

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

inline int64_t margin(int64_t W) { return (W + 4) & ~int64_t(1); }   // pixels before and after a chunk that taps reach

// What one thread works in, in halves: g's tiles, x's pairs from an even and from an odd pixel on.
struct Room {
    half *g, *even, *odd; const half **at_g, **at_x; float* sums; int64_t pairs;
    static int64_t bytes(int64_t W, int64_t Ci, int64_t Co) {
        int64_t span = CHUNK + 2 * margin(W);
        return 2 * (Co * CHUNK + 2 * Ci * span) + 8 * (CHUNK + span + 1) + 4 * 9 * Ci * Co + 64;
    }
    Room(char* at, int64_t W, int64_t Ci, int64_t Co) {
        int64_t span = CHUNK + 2 * margin(W);
        pairs = span / 2;
        sums = (float*)at; at += 4 * 9 * Ci * Co;
        g = (half*)at; at += 2 * Co * CHUNK;
        even = (half*)at; at += 2 * Ci * span;
        odd = (half*)at; at += 2 * Ci * span;
        at_g = (const half**)at; at_x = at_g + CHUNK;
    }
};

void pack(const Map& x, const Map& g, int64_t first, int64_t deep, const half* zeros, Room& room) {
    int64_t before = margin(x.W), span = deep + 2 * before;
    addresses(g, first, deep, zeros, room.at_g);
    addresses(x, first - before, span + 1, zeros, room.at_x);
    for (int64_t k = 0; k < deep; k += DEEP)
        for (int64_t c = 0; c < g.C / TILE; ++c) {
            __m512i rows[16];
            for (int i = 0; i < 16; ++i)
                rows[i] = paired(room.at_g[k + 2 * i] + c * TILE, room.at_g[k + 2 * i + 1] + c * TILE);
            transpose(rows);
            half* to = room.g + (c * (CHUNK / DEEP) + k / DEEP) * 512;
            for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + 32 * i, rows[i]);
        }
    for (int64_t j = 0; j < span / 2; ++j)
        for (int64_t c = 0; c < x.C / TILE; ++c) {
            const half *a = room.at_x[2 * j] + c * TILE, *b = room.at_x[2 * j + 1] + c * TILE;
            _mm512_storeu_si512(room.even + (c * room.pairs + j) * 32, paired(a, b));
            _mm512_storeu_si512(room.odd + (c * room.pairs + j) * 32, paired(b, room.at_x[2 * j + 2] + c * TILE));
        }
}

// Add the chunk's products to the sums, 32 by 32 channels at a time: [tap][Co/16][Ci/16][16][16].
void multiply(const Map& x, const Map& g, int64_t deep, bool is_first, Room& room) {
    int64_t across = g.C / TILE, along = x.C / TILE, steps = deep / DEEP;
    for (int64_t c = 0; c < across; c += 2) for (int64_t i = 0; i < along; i += 2) for (int64_t tap = 0; tap < 9; ++tap) {
        int64_t shift = margin(x.W) + (tap / 3 - 1) * (x.W + 1) + (tap % 3 - 1);
        const half* pairs = shift & 1 ? room.odd : room.even;
        float* s00 = room.sums + ((tap * across + c) * along + i) * 256;
        float *s01 = s00 + 256, *s10 = s00 + along * 256, *s11 = s10 + 256;
        if (is_first) { _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3); }
        else { _tile_loadd(0, s00, 64); _tile_loadd(1, s01, 64); _tile_loadd(2, s10, 64); _tile_loadd(3, s11, 64); }
        const half *g0 = room.g + c * CHUNK * TILE, *g1 = g0 + CHUNK * TILE;
        const half *x0 = pairs + (i * room.pairs + (shift >> 1)) * 32, *x1 = x0 + room.pairs * 32;
        for (int64_t k = 0; k < steps; ++k) {
            _tile_loadd(4, g0 + k * 512, 64); _tile_loadd(6, x0 + k * 512, 64);
            _tile_loadd(5, g1 + k * 512, 64); _tile_loadd(7, x1 + k * 512, 64);
            _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, s00, 64); _tile_stored(1, s01, 64); _tile_stored(2, s10, 64); _tile_stored(3, s11, 64);
    }
}

}  // namespace

extern "C" int64_t weight_gradient_room(int64_t W, int64_t Ci, int64_t Co, int threads) {
    return allowed() ? threads * ((Room::bytes(W, Ci, Co) + 63) / 64 * 64) + 2 * std::max(Ci, Co) : 0;
}

// dw is (Co, 3, 3, Ci) in memory, float32: channels-last weights.
extern "C" void weight_gradient(const half* x, const half* g, float* dw, int64_t B, int64_t H, int64_t W, int64_t Ci, int64_t Co,
                                int threads, char* work) {
    Map from{x, B, H, W, Ci}, to{g, B, H, W, Co};
    int64_t each = (Room::bytes(W, Ci, Co) + 63) / 64 * 64, chunks = (to.count() + CHUNK - 1) / CHUNK;
    if (threads > chunks) threads = (int)chunks;
    half* zeros = (half*)(work + threads * each);
    std::memset(zeros, 0, 2 * std::max(Ci, Co));
    #pragma omp parallel num_threads(threads)
    {
        int me = omp_get_thread_num();
        Room room(work + me * each, W, Ci, Co);
        configure();
        int64_t first = chunks * me / threads, last = chunks * (me + 1) / threads;
        for (int64_t chunk = first; chunk < last; ++chunk) {
            int64_t start = chunk * CHUNK, deep = std::min(CHUNK, (to.count() - start + DEEP - 1) / DEEP * DEEP);
            pack(from, to, start, deep, zeros, room);
            multiply(from, to, deep, chunk == first, room);
        }
        _tile_release();
        #pragma omp barrier
        int64_t across = Co / TILE, along = Ci / TILE;
        #pragma omp for schedule(static)
        for (int64_t co = 0; co < Co; ++co) for (int64_t tap = 0; tap < 9; ++tap) for (int64_t ci = 0; ci < Ci; ++ci) {
            int64_t at = (((tap * across + co / TILE) * along + ci / TILE) * TILE + co % TILE) * TILE + ci % TILE;
            float sum = 0;
            for (int t = 0; t < threads; ++t) sum += ((float*)(work + t * each))[at];
            dw[(co * 9 + tap) * Ci + ci] = sum;
        }
    }
}

#else   // no matrix units: there is no room to ask for

extern "C" int64_t weight_gradient_room(int64_t, int64_t, int64_t, int) { return 0; }
extern "C" void weight_gradient(const uint16_t*, const uint16_t*, float*, int64_t, int64_t, int64_t, int64_t, int64_t, int, char*) {}

#endif
