// The gradient of a 3x3 convolution's weights on a processor with matrix units (AMX), or that adds up products of pairs
// of bfloat16 at least (tiles.hpp).
//
// dw[co, ci, tap] = sum over pixels of g[pixel, co] x[pixel + shift(tap), ci]: nine matrix products over the pixels. A
// tile product adds up 16 pairs of neighbouring pixels; g is transposed for it, x's pairs lie channel by channel side
// by side: once pairs that begin at even columns (taps in the middle), once pairs that begin at odd ones (left, and a
// pair on, right). There is a pair more in a row than the picture has, so that a tap is a constant shift, and what lies
// outside is zero. A step takes 16 pairs of one row, of several pictures side by side if rows are shorter (`P`); rows
// that do not come out even run on through that last pair, where g is zero.
//
// Letters: B pictures, H rows, W columns, Ci and Co channels (multiples of 16); x and g bfloat16, channels last.

#include "threads.hpp"
#include "tiles.hpp"

#ifdef HAS_PAIRS

#include <algorithm>

namespace {

constexpr int64_t SHORT = 4;               // pairs of a row: longer ones lose less by gaps than by being interleaved
constexpr int64_t PACKED_BYTES = 262144;   // at a time, or as many as there are bytes of sums to be fetched each time

// A batch of `G` groups of `P` pictures, or of a band of `R` rows of one group, is packed and multiplied at a time.
struct Batch {
    int64_t B, H, W, Ci, Co, columns, P, across, R, bands, G, run, steps, pairs;
    // columns, across: pairs of a row, without and with the one more; run: steps without a gap; pairs: those of a group
    Batch(int64_t B, int64_t H, int64_t W, int64_t Ci, int64_t Co) : B(B), H(H), W(W), Ci(Ci), Co(Co) {
        columns = parts(W, 2);
        P = columns > SHORT && TILE % columns ? 1 : together(columns);
        across = (columns + 1) * P;
        int64_t rows = std::max(PACKED_BYTES, 36 * Ci * Co) / (4 * across * (2 * Ci + Co));
        R = band(H, rows - 2);
        bands = parts(H, R);
        G = bands > 1 ? 1 : std::max<int64_t>(1, std::min(parts(B, P), rows / (H + 2)));
        run = columns * P % TILE ? parts(R * across, TILE) : columns * P / TILE;
        steps = columns * P % TILE ? run : R * run;
        pairs = (R + 2) * across + TILE;
    }
    int64_t items() const { return parts(B, P * G) * bands; }
    int64_t each_g() const { return G * steps * 512; }    // numbers of 16 channels of g
    int64_t each_x() const { return G * pairs * DEEP; }   // numbers of 16 channels of x, of even or odd pairs
};

// What one thread works in: sums, g's tiles, x's pairs, a pixel of zeros, the pixels of a group's steps.
struct Room {
    float* sums;
    half *g, *even, *odd, *zeros;
    int32_t* pixels;
    static int64_t bytes(const Batch& b) {
        int64_t packed = b.Co / TILE * b.each_g() + 2 * b.Ci / TILE * b.each_x();
        return 36 * b.Ci * b.Co + up(2 * (packed + std::max(b.Ci, b.Co)) + 4 * DEEP * b.steps, 64);
    }
    Room(char* at, const Batch& b) {
        sums = (float*)at;
        g = (half*)(sums + 9 * b.Ci * b.Co);
        even = g + b.Co / TILE * b.each_g();
        odd = even + b.Ci / TILE * b.each_x();
        zeros = odd + b.Ci / TILE * b.each_x();
        pixels = (int32_t*)(zeros + std::max(b.Ci, b.Co));
        std::memset(even, 0, (char*)pixels - (char*)even);
    }
};

// Say where the pixels of a group's steps lie, from the band's first on; -1: in no picture.
void plan(const Batch& b, int64_t rows, int64_t pictures, int32_t* pixels) {
    for (int64_t step = 0; step < b.steps; ++step)
        for (int64_t k = 0; k < DEEP; ++k) {
            int64_t pair = step / b.run * b.across + step % b.run * TILE + k / 2, y = pair / b.across, p = pair % b.P,
                    x = pair % b.across / b.P * 2 + k % 2;
            pixels[step * DEEP + k] = y < rows && x < b.W && p < pictures ? (int32_t)((p * b.H + y) * b.W + x) : -1;
        }
}

// Transpose the pixels of one step: tiles of 16 channels by 32 pixels.
void pack_g(const Batch& b, const half* g, const int32_t* pixels, const half* zeros, half* to) {
    const half* at[DEEP];
    for (int64_t k = 0; k < DEEP; ++k) at[k] = pixels[k] < 0 ? zeros : g + pixels[k] * b.Co;
    for (int64_t c = 0; c < b.Co; c += TILE, to += b.each_g()) pack_pairs<LEFT_BY_ROWS>(at, c, to);
}

// Pair the W pixels of one row of one picture, from the place of the first pair's first channels on.
void pack_x(const Batch& b, const half* x, int64_t W, const half* zeros, half* even, half* odd) {
    auto pixel = [&](int64_t at) { return at >= 0 && at < W ? x + at * b.Ci : zeros; };
    for (int64_t u = 0; u <= b.columns; ++u, even += b.P * DEEP, odd += b.P * DEEP) {
        const half *left = pixel(2 * u - 1), *middle = pixel(2 * u), *right = pixel(2 * u + 1);
        for (int64_t c = 0; c < b.Ci / TILE; ++c) {
            __m256i shared = sixteen(middle + c * TILE);
            _mm512_store_si512(odd + c * b.each_x(), paired(sixteen(left + c * TILE), shared));
            _mm512_store_si512(even + c * b.each_x(), paired(shared, sixteen(right + c * TILE)));
        }
    }
}

// A band of a group of pictures: rows from y on.
struct Band { int64_t picture, pictures, y, rows; };

void pack(const Batch& b, const half* x, const half* g, const Band& band, int64_t group, const Room& room) {
    for (int64_t step = 0; step < b.steps; ++step)
        pack_g(b, g + (band.picture * b.H + band.y) * b.W * b.Co, room.pixels + step * DEEP, room.zeros,
               room.g + (group * b.steps + step) * 512);
    for (int64_t r = 0; r < band.rows + 2; ++r)
        for (int64_t p = 0; p < band.pictures; ++p) {
            int64_t y = band.y + r - 1, at = (group * b.pairs + r * b.across + p) * DEEP;
            int64_t width = y >= 0 && y < b.H ? b.W : 0;
            pack_x(b, x + ((band.picture + p) * b.H + y) * b.W * b.Ci, width, room.zeros, room.even + at,
                   room.odd + at);
        }
}

// Where in x and g an item's pixels begin; those of the last end where the next would begin.
int64_t place(const Batch& b, int64_t item) {
    return std::min(b.B, item / b.bands * b.P * b.G) * b.H * b.W + item % b.bands * b.R * b.W;
}

// What an item reads, to be fetched in so many times while the one before is multiplied.
Ahead ahead(const Batch& b, const half* x, const half* g, int64_t item, int64_t end, int64_t times) {
    int64_t from = place(b, std::min(item, end)), to = place(b, std::min(item + 1, end));
    return Ahead({g + from * b.Co, g + to * b.Co}, {x + from * b.Ci, x + to * b.Ci}, times);
}

// Add up N taps of 16 by 16 channels, 3 or 6, over all that is packed.
#ifdef HAS_MATRIX_UNITS
template <int N>
void add_taps(const Batch& b, int64_t groups, const half* g, const half* const* x, float* const* sums, bool is_first,
              Ahead& next) {
    begin<N>(sums, is_first);
    for (int64_t group = 0; group < groups; ++group)
        for (int64_t row = 0; row < b.steps / b.run; ++row) {
            int64_t at = (group * b.pairs + row * b.across) * DEEP;
            for (int64_t step = 0; step < b.run; ++step, g += 512, at += 512) {
                _tile_loadd(6, g, 64);
                next.fetch();
                _tile_loadd(7, x[0] + at, 64);
                _tile_dpbf16ps(0, 6, 7);
                _tile_loadd(7, x[1] + at, 64);
                _tile_dpbf16ps(1, 6, 7);
                _tile_loadd(7, x[2] + at, 64);
                _tile_dpbf16ps(2, 6, 7);
                if (N == 3) continue;
                _tile_loadd(7, x[3] + at, 64);
                _tile_dpbf16ps(3, 6, 7);
                _tile_loadd(7, x[4] + at, 64);
                _tile_dpbf16ps(4, 6, 7);
                _tile_loadd(7, x[5] + at, 64);
                _tile_dpbf16ps(5, 6, 7);
            }
        }
    finish<N>(sums);
}
#else
template <int N>
void add_taps(const Batch& b, int64_t groups, const half* g, const half* const* x, float* const* sums, bool is_first,
              Ahead& next) {
    if constexpr (N > 3) add_taps<N - 3>(b, groups, g, x + 3, sums + 3, is_first, next);
    for (int64_t co = 0; co < TILE; co += 8) {
        EightRows<3> rows(sums, co, is_first);
        const half* left = g + 2 * co;
        for (int64_t group = 0; group < groups; ++group)
            for (int64_t row = 0; row < b.steps / b.run; ++row) {
                int64_t at = (group * b.pairs + row * b.across) * DEEP;
                for (int64_t step = 0; step < b.run; ++step, left += 512, at += 512) {
                    rows.add(left, x, at);
                    if (co == 0) next.fetch();
                }
            }
        rows.put(sums, co);
    }
}
#endif

// Add the products to the sums, [tap][Co/16][Ci/16][16][16]: six taps of odd pairs, then three of even ones, so that
// each kind is fetched but once.
void multiply(const Batch& b, int64_t groups, const Room& room, bool is_first, Ahead& next) {
    int64_t across = b.Co / TILE, along = b.Ci / TILE;
    for (int64_t i = 0; i < along; ++i)
        for (int64_t c = 0; c < across; ++c) {
            const half *odd[6], *even[3], *g = room.g + c * b.each_g();
            float *sums[6], *middle[3];
            for (int64_t ky = 0; ky < 3; ++ky) {
                int64_t at = i * b.each_x() + ky * b.across * DEEP;
                float* to = room.sums + ((3 * ky * across + c) * along + i) * 256;
                odd[2 * ky] = room.odd + at;
                even[ky] = room.even + at;
                odd[2 * ky + 1] = room.odd + at + b.P * DEEP;
                sums[2 * ky] = to;
                middle[ky] = to + across * along * 256;
                sums[2 * ky + 1] = to + 2 * across * along * 256;
            }
            add_taps<6>(b, groups, g, odd, sums, is_first, next);
            add_taps<3>(b, groups, g, even, middle, is_first, next);
        }
}

// Pack and multiply a thread's share.
void work_through(const Batch& b, const half* x, const half* g, int64_t first, int64_t end, const Room& room) {
    Band planned{};
    for (int64_t item = first; item < end; ++item) {
        int64_t picture = item / b.bands * b.P * b.G, y = item % b.bands * b.R,
                groups = std::min(b.G, parts(b.B - picture, b.P));
        for (int64_t group = 0; group < groups; ++group, picture += b.P) {
            Band band{picture, std::min(b.P, b.B - picture), y, std::min(b.R, b.H - y)};
            if (band.rows != planned.rows || band.pictures != planned.pictures)
                plan(b, band.rows, band.pictures, room.pixels);
            planned = band;
            pack(b, x, g, band, group, room);
        }
        Ahead next = ahead(b, x, g, item + 1, end, 2 * groups * b.steps * (b.Co / TILE) * (b.Ci / TILE));
        multiply(b, groups, room, item == first, next);
    }
}

}   // namespace

extern "C" int64_t weight_gradient_room(int64_t B, int64_t H, int64_t W, int64_t Ci, int64_t Co, int threads) {
    Batch b(B, H, W, Ci, Co);
    return allowed() ? threads * Room::bytes(b) : 0;
}

// dw is (Co, 3, 3, Ci) in memory, float32: channels-last weights.
extern "C" void weight_gradient(const uint16_t* x, const uint16_t* g, float* dw, int64_t B, int64_t H, int64_t W,
                                int64_t Ci, int64_t Co, int threads, char* work) {
    Batch b(B, H, W, Ci, Co);
    int64_t each = Room::bytes(b);
    threads = (int)std::min<int64_t>(threads, b.items());
    in_threads(threads, [&](int n) {
        auto [first, end] = share(b.items(), n, threads);
        Room room(work + n * each, b);
        configure();
        work_through(b, x, g, first, end, room);
        release();
    });
    for_each(Co, threads, [=](int64_t co) {
        for (int64_t tap = 0; tap < 9; ++tap)
            for (int64_t ci = 0; ci < Ci; ci += TILE) {
                int64_t at = ((tap * (Co / TILE) + co / TILE) * (Ci / TILE) + ci / TILE) * 256 + co % TILE * TILE;
                _mm512_storeu_ps(dw + (co * 9 + tap) * Ci + ci, joined(work, each, threads, at));
            }
    });
}

#endif
