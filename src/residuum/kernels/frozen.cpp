// A convolution of few channels that is not trained and the activation behind it, in one sweep, on a processor with
// matrix units (AMX).
//
// What a row of taps reads of x is a run of numbers that lie side by side, k pixels of C channels. The rows of a tile
// may overlap in memory: sixteen runs are loaded as they lie, each a pixel further than the one before, and nothing is
// packed but the picture with its border of zeros. What a tile holds beyond the runs meets weights of zero.
//
// Letters: B pictures, H rows, W columns of x, each of C numbers; OH, OW, Co of y; k taps down and across.

#include "tiles.hpp"

#ifdef HAS_MATRIX_UNITS

#include "activation.hpp"
#include "threads.hpp"

namespace {

struct Frozen {
    int64_t B, H, W, C, OH, OW, Co, k, stride, padding;
    int64_t width() const { return (W + 2 * padding) * C; }   // numbers in a bordered row
    // a bordered picture, and what a tile reads beyond
    int64_t room() const { return up((H + 2 * padding) * width() + DEEP + TILE * stride * C, LINE); }
    int64_t blocks() const { return Co / TILE; }
    int64_t weights() const { return k * blocks() * TILE * DEEP; }
};

inline void copy_row(const half* from, half* to, int64_t n) { std::memcpy(to, from, 2 * n); }
inline void copy_row(const float* from, half* to, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        __mmask16 there = n - i < LANES ? (1 << (n - i)) - 1 : 0xffff;
        _mm256_mask_storeu_epi16(to + i, there, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(there, from + i)));
    }
}

// Tiles of weights: for each row of taps and 16 channels of y, pairs of the run's numbers by channels.
void lay(const Frozen& f, const float* w, half* to) {
    int64_t run = f.k * f.C;
    for (int64_t row = 0; row < f.k; ++row)
        for (int64_t co = 0; co < f.Co; ++co) {
            half numbers[DEEP] = {};
            copy_row(w + (co * f.k + row) * run, numbers, run);
            for (int64_t i = 0; i < DEEP; ++i)
                to[((row * f.blocks() + co / TILE) * TILE + i / 2) * DEEP + 2 * (co % TILE) + i % 2] = numbers[i];
        }
}

template <class T, bool past_cache>
void picture(const Frozen& f, const T* x, const half* weights, half* bordered, float* sums, bfloat16* y,
             int activation) {
    for (int64_t row = 0; row < f.H; ++row)
        copy_row(x + row * f.W * f.C, bordered + (row + f.padding) * f.width() + f.padding * f.C, f.W * f.C);
    for (int64_t oy = 0; oy < f.OH; ++oy)
        for (int64_t ox = 0; ox < f.OW; ox += TILE) {
            const half* first = bordered + oy * f.stride * f.width() + ox * f.stride * f.C;
            for (int64_t block = 0; block < f.blocks(); ++block) {
                _tile_zero(0);
                for (int64_t row = 0; row < f.k; ++row) {
                    _tile_loadd(1, first + row * f.width(), 2 * f.stride * f.C);
                    _tile_loadd(2, weights + (row * f.blocks() + block) * TILE * DEEP, 64);
                    _tile_dpbf16ps(0, 1, 2);
                }
                _tile_stored(0, sums + block * TILE, 4 * f.Co);
            }
            bfloat16* to = y + (oy * f.OW + ox) * f.Co;
            int64_t numbers = (f.OW - ox < TILE ? f.OW - ox : TILE) * f.Co;
            for (int64_t i = 0; i < numbers; i += LANES)
                write<past_cache>(to + i, activated(load(sums + i), activation));
        }
}

template <class T>
void pictures(const Frozen& f, const T* x, const float* w, bfloat16* y, int activation, int threads, char* work) {
    half* weights = (half*)work;
    lay(f, w, weights);
    bool past_cache = streams(y, f.B * f.OH * f.OW * f.Co);
    in_threads(threads, [&](int n) {
        auto [first, end] = share(f.B, n, threads);
        half* bordered = weights + f.weights() + n * (f.room() + 2 * TILE * f.Co);
        float* sums = (float*)(bordered + f.room());
        std::memset(bordered, 0, 2 * f.room());
        configure();
        for (int64_t b = first; b < end; ++b) {
            const T* in = x + b * f.H * f.W * f.C;
            bfloat16* out = y + b * f.OH * f.OW * f.Co;
            if (past_cache) picture<T, true>(f, in, weights, bordered, sums, out, activation);
            else picture<T, false>(f, in, weights, bordered, sums, out, activation);
        }
        release();
    });
}

}   // namespace

// w is (Co, k, k, C) in memory, float32: channels-last weights.
extern "C" int64_t frozen_room(int64_t B, int64_t H, int64_t W, int64_t C, int64_t OH, int64_t OW, int64_t Co,
                               int64_t k, int64_t stride, int64_t padding, int threads) {
    Frozen f{B, H, W, C, OH, OW, Co, k, stride, padding};
    return allowed() ? 2 * (f.weights() + threads * (f.room() + 2 * TILE * Co)) : 0;
}
extern "C" void frozen(const void* x, const float* w, void* y, int64_t B, int64_t H, int64_t W, int64_t C, int64_t OH,
                       int64_t OW, int64_t Co, int64_t k, int64_t stride, int64_t padding, int is_float, int activation,
                       int threads, char* work) {
    Frozen f{B, H, W, C, OH, OW, Co, k, stride, padding};
    if (is_float) pictures(f, (const float*)x, w, (bfloat16*)y, activation, threads, work);
    else pictures(f, (const half*)x, w, (bfloat16*)y, activation, threads, work);
}

#endif
