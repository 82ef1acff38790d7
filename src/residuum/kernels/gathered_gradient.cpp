// The gradient of a convolution's weights as one matrix product over the pixels, on a processor with matrix units
// (AMX) or products of pairs (tiles.hpp): for 1x1 convolutions, strides and stems, whose taps share little of what is
// fetched (weight_gradient.cpp is for 3x3).
//
// dw[co, tap, i] = sum over the output's pixels of g[pixel, co] x[place(pixel, tap) + i]. What a tap reads of x is a
// run of numbers that lie side by side: the channels of a pixel, or those of a whole row of taps where channels are
// few. A tile product adds up 16 pairs of pixels; g is transposed for it, x's runs lie pair by pair side by side.
// Pixels are packed and multiplied a batch at a time, so that sums are seldom fetched and what is packed stays in the
// cache.
//
// Letters: B pictures, H rows, W columns of x, each of C numbers; OH, OW, Co of g; x and g bfloat16, channels last.

#include "threads.hpp"
#include "tiles.hpp"

#ifdef HAS_PAIRS

#include <algorithm>

namespace {

constexpr int64_t BATCH = 8;   // steps of 32 pixels that are packed at a time
// From the tiles of one 16 channels to the next; a power of two would crowd few sets of the cache.
constexpr int64_t APART = 512 * (BATCH + 1);

struct Shape {
    int64_t B, H, W, C, OH, OW, Co, stride, padding, rows, columns, run;   // rows and columns of taps, numbers of each
    int64_t taps() const { return rows * columns; }
    int64_t pixels() const { return B * OH * OW; }
    int64_t steps() const { return parts(pixels(), DEEP); }
    int64_t wide() const { return up(run, TILE); }
    int64_t down() const { return Co / TILE; }   // tiles of sums
    int64_t across() const { return taps() * wide() / TILE; }
    int64_t place(int64_t pixel) const {
        return ((pixel / (OH * OW) * H + pixel / OW % OH * stride) * W + pixel % OW * stride) * C;
    }
};

// What one thread works in: sums, g's tiles, x's pairs, a pixel of zeros.
struct Room {
    float* sums;
    half *g, *x, *zeros;
    static int64_t bytes(const Shape& s) {
        return 1024 * (s.down() * s.across() + (BATCH + 1) * (s.down() + s.across())) +
               up(2 * std::max(s.wide(), s.Co), 64);
    }
    Room(char* at, const Shape& s) {
        sums = (float*)at;
        g = (half*)(sums + 256 * s.down() * s.across());
        x = g + APART * s.down();
        zeros = x + APART * s.across();
        std::memset(zeros, 0, 2 * std::max(s.wide(), s.Co));
    }
};

// Transpose 32 pixels of g: tiles of 16 channels by 32 pixels.
void pack_g(const Shape& s, const half* g, int64_t first, const half* zeros, half* to) {
    const half* at[DEEP];
    for (int64_t k = 0; k < DEEP; ++k) at[k] = first + k < s.pixels() ? g + (first + k) * s.Co : zeros;
    for (int64_t c = 0; c < s.Co; c += TILE, to += APART) pack_pairs<LEFT_BY_ROWS>(at, c, to);
}

// Where the first tap of 32 pixels reads: row and column in the picture, and the place in x.
struct Places { int64_t y[DEEP], x[DEEP], at[DEEP]; };

Places places(const Shape& s, int64_t first) {
    Places p;
    int64_t picture = first / (s.OH * s.OW), y = first / s.OW % s.OH, x = first % s.OW;
    for (int64_t k = 0; k < DEEP; ++k) {
        p.y[k] = picture < s.B ? y * s.stride - s.padding : s.H;
        p.x[k] = x * s.stride - s.padding;
        p.at[k] = ((picture * s.H + p.y[k]) * s.W + p.x[k]) * s.C;
        if (++x == s.OW) {
            x = 0;
            if (++y == s.OH) {
                y = 0;
                ++picture;
            }
        }
    }
    return p;
}

// Pair the runs of 32 pixels, tap by tap.
void pack_x(const Shape& s, const half* x, int64_t first, const half* zeros, half* to) {
    Places p = places(s, first);
    for (int64_t row = 0; row < s.rows; ++row)
        for (int64_t column = 0; column < s.columns; ++column) {
            const half* at[DEEP];
            for (int64_t k = 0; k < DEEP; ++k) {
                bool is_inside =
                    (uint64_t)(p.y[k] + row) < (uint64_t)s.H && (uint64_t)(p.x[k] + column) < (uint64_t)s.W;
                at[k] = is_inside ? x + p.at[k] + (row * s.W + column) * s.C : zeros;
            }
            for (int64_t c = 0; c < s.wide(); c += TILE, to += APART) pack_pairs<false>(at, c, to);
        }
}

// What a batch of pixels reads, to be fetched in so many times while the one before is multiplied.
Ahead ahead(const Shape& s, const half* x, const half* g, int64_t first, int64_t steps, int64_t times) {
    int64_t from = std::min(first * DEEP, s.pixels()), to = std::min((first + steps) * DEEP, s.pixels());
    return Ahead({g + from * s.Co, g + to * s.Co}, {x + s.place(from), x + s.place(to)}, times);
}

// Add up 32 by 32 products over the packed steps.
#ifdef HAS_MATRIX_UNITS
void add_block(const half* g0, const half* g1, const half* x0, const half* x1, float* const* sums, int64_t steps,
               bool is_first, Ahead& next) {
    begin<4>(sums, is_first);
    for (int64_t step = 0; step < steps * 512; step += 512) {
        add_products<false>(g0 + step, g1 + step, 64, x0 + step, x1 + step);
        next.fetch();
    }
    finish<4>(sums);
}
#else
void add_block(const half* g0, const half* g1, const half* x0, const half* x1, float* const* sums, int64_t steps,
               bool is_first, Ahead& next) {
    const half *left[] = {g0, g1}, *right[] = {x0, x1};
    for (int64_t co = 0; co < (g0 == g1 ? TILE : 2 * TILE); co += 8) {
        float* const* tiles = sums + co / TILE * 2;
        EightRows<2> rows(tiles, co % TILE, is_first);
        for (int64_t step = 0; step < steps * 512; step += 512) {
            rows.add(left[co / TILE] + step + 2 * (co % TILE), right, step);
            if (co == 0) next.fetch();
        }
        rows.put(tiles, co % TILE);
    }
}
#endif

// Add the products of a batch to the sums, [down][across][16][16]. An odd last tile is worked on twice.
void multiply(const Shape& s, const Room& room, int64_t steps, bool is_first, Ahead& next) {
    auto block = [&](int64_t m, int64_t n) {
        int64_t m1 = std::min(m + 1, s.down() - 1), n1 = std::min(n + 1, s.across() - 1);
        float *upper = room.sums + m * s.across() * 256, *lower = room.sums + m1 * s.across() * 256;
        float* sums[4] = {upper + n * 256, upper + n1 * 256, lower + n * 256, lower + n1 * 256};
        add_block(room.g + m * APART, room.g + m1 * APART, room.x + n * APART, room.x + n1 * APART, sums, steps,
                  is_first, next);
    };
    // the shorter side is gone through again and again: it stays in the cache
    if (s.down() < s.across())
        for (int64_t n = 0; n < s.across(); n += 2)
            for (int64_t m = 0; m < s.down(); m += 2) block(m, n);
    else
        for (int64_t m = 0; m < s.down(); m += 2)
            for (int64_t n = 0; n < s.across(); n += 2) block(m, n);
}

// Pack and multiply a thread's share.
void work_through(const Shape& s, const half* x, const half* g, int64_t first, int64_t end, const Room& room) {
    for (int64_t batch = first; batch < end; batch += BATCH) {
        int64_t steps = std::min(BATCH, end - batch);
        for (int64_t step = 0; step < steps; ++step) {
            pack_g(s, g, (batch + step) * DEEP, room.zeros, room.g + step * 512);
            pack_x(s, x, (batch + step) * DEEP, room.zeros, room.x + step * 512);
        }
        int64_t times = parts(s.down(), 2) * parts(s.across(), 2) * steps;
        Ahead next = ahead(s, x, g, batch + steps, std::min(BATCH, end - batch - steps), times);
        multiply(s, room, steps, batch == first, next);
    }
}

// Add up the threads' sums of 16 channels out of one tap.
void join(const Shape& s, const char* work, int threads, int64_t co, int64_t tap, float* dw) {
    for (int64_t i = 0; i < s.run; i += TILE) {
        int64_t at = (co / TILE * s.across() + (tap * s.wide() + i) / TILE) * 256 + co % TILE * TILE;
        __m512 sum = joined(work, Room::bytes(s), threads, at);
        _mm512_mask_storeu_ps(dw + i, s.run - i < TILE ? (1u << (s.run - i)) - 1 : 0xffff, sum);
    }
}

}   // namespace

extern "C" int64_t gathered_gradient_room(int64_t B, int64_t H, int64_t W, int64_t C, int64_t OH, int64_t OW,
                                          int64_t Co, int64_t stride, int64_t padding, int64_t rows, int64_t columns,
                                          int64_t run, int threads) {
    return allowed() ? threads * Room::bytes({B, H, W, C, OH, OW, Co, stride, padding, rows, columns, run}) : 0;
}

// dw is (Co, rows, columns, run) in memory, float32.
extern "C" void gathered_gradient(const uint16_t* x, const uint16_t* g, float* dw, int64_t B, int64_t H, int64_t W,
                                  int64_t C, int64_t OH, int64_t OW, int64_t Co, int64_t stride, int64_t padding,
                                  int64_t rows, int64_t columns, int64_t run, int threads, char* work) {
    Shape s{B, H, W, C, OH, OW, Co, stride, padding, rows, columns, run};
    threads = (int)std::min<int64_t>(threads, s.steps());
    in_threads(threads, [&](int n) {
        auto [first, end] = share(s.steps(), n, threads);
        Room room(work + n * Room::bytes(s), s);
        configure();
        work_through(s, x, g, first, end, room);
        release();
    });
    for_each(Co * s.taps(), threads,
             [=, &s](int64_t n) { join(s, work, threads, n / s.taps(), n % s.taps(), dw + n * run); });
}

#endif
