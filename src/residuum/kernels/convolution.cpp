// A 3x3 convolution and the gradient of its input, which is one too, on a processor with matrix units (AMX).
//
// A band of rows is copied with zeros around it, so that 16 neighbouring pixels of one tap are a tile's rows as they
// lie: no matrix of patches is ever written. What a tile product wants is arranged by the shape:
// - 32 channels fill a row of a tile. Of 16, 48, ... channels, two neighbouring pixels are taken as one of twice as
//   many, in and out (`fold`); a row of taps then has 2 pixels instead of 3, and a quarter of the weights is zero. (A
//   NaN then reaches a pixel further than the taps do.)
// - 16 pixels fill a tile. Pictures with rows of 8, 4, ... pixels are taken 16 / W at a time, pixel by pixel side by
//   side (`P`); other widths run through the zeros from row to row, and what comes out there is dropped.
// Between the products, one band's sums are rounded and stored and the next band is copied: neither alone keeps the
// matrix units busy, and the copy waits for memory.
//
// Letters: B pictures, H rows, W columns, Ci and Co channels (multiples of 16); x and y bfloat16, channels last.

#include "floats.hpp"
#include "threads.hpp"
#include "tiles.hpp"

#ifdef HAS_MATRIX_UNITS

#include <algorithm>

namespace {

constexpr int64_t BAND_BYTES = 24576, BAND_ROWS = 8;   // a band has one of them at least: it stays in the cache
constexpr int64_t WIDEST_BAND = 262144;                // numbers
constexpr int64_t WEIGHTS_BYTES = 1572864;             // so many stay in the cache beside a band
constexpr int64_t BLOCK = 2 * TILE;                    // pixels, and channels out, that are summed at a time

struct Layer {
    int64_t B, H, W, Ci, Co, fold, D, E, taps, columns, P, across, R, bands, steps;
    // D, E: channels in and out of a folded pixel, E with what fills the last block; across: pixels of a bordered row
    Layer(int64_t B, int64_t H, int64_t W, int64_t Ci, int64_t Co) : B(B), H(H), W(W), Ci(Ci), Co(Co) {
        fold = Ci % DEEP ? 2 : 1;
        D = fold * Ci;
        E = up(fold * Co, BLOCK);
        taps = fold == 2 ? 2 : 3;
        columns = parts(W, fold);
        P = together(columns);
        if ((std::min(H, BAND_ROWS) + 2) * (columns + taps - 1) * P * D > WIDEST_BAND) P = 1;
        across = (columns + taps - 1) * P;
        R = band(H, std::max(BAND_ROWS, BAND_BYTES / (2 * across * D) - 2));
        bands = parts(H, R);
        steps = 3 * taps * D / DEEP;
    }
    int64_t items() const { return parts(B, P) * bands; }
    int64_t bordered() const { return ((R + 2) * across + 2 * TILE) * D; }
    int64_t numbers() const { return R * across + TILE; }
    int64_t packed() const { return E * steps * DEEP; }
};

// Where a pixel's sums go, from the band's first pixel on, and how many of them exist: 0 beside the picture.
struct Place { int32_t at, count; };

// What one thread works in: sums of two blocks, two bands, the steps' places in a band, tiles' first pixels.
struct Room {
    float* sums;
    half* bands[2];
    int64_t* shifts;
    Place* places;
    int32_t* starts;
    static int64_t bytes(const Layer& l) {
        return 8 * BLOCK * BLOCK + up(4 * l.bordered() + 8 * l.steps + 12 * l.numbers(), 64);
    }
    Room(char* at, const Layer& l) {
        sums = (float*)at;
        at += 8 * BLOCK * BLOCK;
        bands[0] = (half*)at;
        bands[1] = bands[0] + l.bordered();
        at += 4 * l.bordered();
        shifts = (int64_t*)at;
        places = (Place*)(shifts + l.steps);
        starts = (int32_t*)(places + l.numbers());
        std::memset(bands[0], 0, 4 * l.bordered());
        for (int64_t s = 0; s < l.steps; ++s) {
            int64_t tap = s / (l.D / DEEP);
            shifts[s] = (tap / l.taps * l.across + tap % l.taps * l.P) * l.D + s % (l.D / DEEP) * DEEP;
        }
    }
};

// Round 16 x 16 weights of one tap to half a tile: pairs of channels in, by channels out. w is (Co, 3, 3, Ci).
void pack(const float* w, int64_t Ci, half* to) {
    __m512i rows[16];
    for (int64_t co = 0; co < TILE; ++co) rows[co] = _mm512_zextsi256_si512(sixteen(w + co * 9 * Ci));
    transpose(rows);
    for (int64_t i = 0; i < TILE / 2; ++i) _mm512_store_si512(to + 32 * i, rows[i]);
}
// The same with in and out exchanged: w is (Ci, 3, 3, Co).
void pack_turned(const float* w, int64_t Co, half* to) {
    for (int64_t i = 0; i < TILE / 2; ++i, w += 18 * Co)
        _mm512_store_si512(to + 32 * i, paired(sixteen(w), sixteen(w + 9 * Co)));
}

// Pack the weights as [E/32][steps][2 tiles]. For the gradient of the input the taps are turned by half a circle.
void pack(const float* w, bool turned, const Layer& l, half* packed, int threads) {
    for_each(l.E / BLOCK * l.steps * 4, threads, [=, &l](int64_t n) {
        int64_t step = n / 4 % l.steps, e = n / 4 / l.steps * BLOCK + n / 2 % 2 * TILE,
                d = (step * DEEP + n % 2 * TILE) % l.D;
        int64_t tap = step * DEEP / l.D, ky = tap / l.taps, kx = tap % l.taps * l.fold + d / l.Ci - e / l.Co;
        int64_t ci = d % l.Ci, co = e % l.Co;
        half* to = packed + n * 256;
        if (kx < 0 || kx > 2 || e >= l.fold * l.Co) std::memset(to, 0, 512);
        else if (turned) pack_turned(w + (ci * 9 + 8 - 3 * ky - kx) * l.Co + co, l.Co, to);
        else pack(w + (co * 9 + 3 * ky + kx) * l.Ci + ci, l.Ci, to);
    });
}

// Copy n numbers, or as many zeros: the one place where a picture comes in.
inline void copy_row(const half* from, half* to, int64_t n) {
    if (from)
        for (int64_t i = 0; i < n; i += TILE) put(to + i, sixteen(from + i));
    else
        for (int64_t i = 0; i < n; i += TILE) put(to + i, _mm256_setzero_si256());
}

// A band of P pictures from row y on, copied a row of one picture at a time.
struct Band {
    const Layer& l;
    const half* x;
    half* to;
    int64_t picture, y, pictures, rows, done, all;
    Band(const Layer& l, const half* x, half* to, int64_t item, int64_t items) : l(l), x(x), to(to), done(0) {
        picture = item / l.bands * l.P;
        y = item % l.bands * l.R;
        pictures = std::min(l.P, l.B - picture);
        rows = std::min(l.R, l.H - y);
        all = item < items ? (rows + 2) * l.P : 0;
    }
    // Ask for the same row of the band after this one: copying waits for memory.
    void fetch(const half* row) const {
        for (int64_t i = 0; i < l.W * l.Ci; i += 32) _mm_prefetch((const char*)(row + i), _MM_HINT_T1);
    }
    int64_t pixel() const { return (picture * l.H + y) * l.W; }
    void copy() {
        int64_t r = done / l.P, p = done % l.P, at = y + r - 1;
        bool is_inside = at >= 0 && at < l.H && p < pictures;
        const half* from = is_inside ? x + (((picture + p) * l.H + at) * l.W) * l.Ci : nullptr;
        half* row = to + r * l.across * l.D;
        ++done;
        if (from) fetch(from + l.R * l.W * l.Ci);
        if (l.P == 1) return copy_row(from, row + l.Ci, l.W * l.Ci);
        for (int64_t i = 1; i <= l.W; ++i, from += from ? l.Ci : 0)
            copy_row(from, row + (i / l.fold * l.P + p) * l.D + i % l.fold * l.Ci, l.Ci);
    }
};

// Say where sums go and where tiles begin; return the number of tiles.
int64_t plan(const Layer& l, int64_t rows, int64_t pictures, Room& room) {
    int64_t n = 0, tiles = 0, run = l.columns * l.P, end = rows * l.across - (l.taps - 1) * l.P;
    for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < l.across / l.P; ++x)
            for (int64_t p = 0; p < l.P; ++p, ++n) {
                int64_t pixels = p < pictures ? std::min(l.fold, l.W - x * l.fold) : 0;
                room.places[n] = {(int32_t)(((p * l.H + y) * l.W + x * l.fold) * l.Co),
                                  (int32_t)(std::max<int64_t>(pixels, 0) * l.Co)};
            }
    std::fill_n(room.places + n, TILE, Place{0, 0});
    if (run % TILE)
        for (n = 0; n < end; n += TILE) room.starts[tiles++] = (int32_t)n;
    else
        for (n = 0; n < end; n += n % l.across + TILE < run ? TILE : l.across - run + TILE)
            room.starts[tiles++] = (int32_t)n;
    return tiles;
}

// A block's sums on their way to y: [pixels' tile][channels' tile][16][16].
struct Block {
    const float* sums;
    const Place* places[2];
    half* y;
    int32_t channel;
    bool past_cache;
};

// Round and store the sums of some of a block's pixels: the one place where they go out.
inline void store(const Block& b, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
        Place place = b.places[i / TILE][i % TILE];
        const float* sums = b.sums + i / TILE * 512 + i % TILE * TILE;
        int32_t count = place.count - b.channel;
        if (count <= 0) continue;
        __m512i v = (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(sums + 256), _mm512_load_ps(sums));
        if (b.past_cache && count >= 32) _mm512_stream_si512((__m512i*)(b.y + place.at + b.channel), v);
        else _mm512_mask_storeu_epi16(b.y + place.at + b.channel, count < 32 ? (1u << count) - 1 : ~0u, v);
    }
}

// All products of a band, 32 pixels by 32 channels at a time; meanwhile the block before is stored and the next band
// copied. Pixels are read once for all channels out, unless there are too many weights to go through for each.
void multiply(const Layer& l, const half* packed, int64_t tiles, const Room& room, const Band& band, half* y,
              Band& next) {
    int64_t blocks = l.E / BLOCK, pairs = parts(tiles, 2);
    int64_t share = parts(BLOCK, l.steps), turn = 0;
    int64_t every = std::max<int64_t>(1, blocks * pairs * l.steps / std::max<int64_t>(1, next.all)), wait = every;
    Block last{nullptr, {}, y, 0, false};
    bool past_cache = l.Co % DEEP == 0 && 2 * l.B * l.H * l.W * l.Co >= LARGE_BYTES && (uintptr_t)y % 64 == 0;
    bool pixels_first = 2 * l.packed() <= WEIGHTS_BYTES;
    for (int64_t n = 0; n < blocks * pairs; ++n) {
        int64_t e = (pixels_first ? n % blocks : n / pairs) * BLOCK, t = (pixels_first ? n / blocks : n % pairs) * 2;
        int64_t n0 = room.starts[t], n1 = room.starts[std::min(t + 1, tiles - 1)], stored = last.sums ? 0 : BLOCK;
        const half *a0 = band.to + n0 * l.D, *a1 = band.to + n1 * l.D, *b = packed + e * l.steps * DEEP;
        float* at = room.sums + turn * BLOCK * BLOCK;
        float* sums[4] = {at, at + 256, at + 512, at + 768};
        begin<4>(sums, true);
        for (int64_t s = 0; s < l.steps; ++s, b += 1024) {
            add_products<true>(a0 + room.shifts[s], a1 + room.shifts[s], 2 * l.D, b, b + 512);
            int64_t until = std::min(BLOCK, stored + share);
            store(last, stored, until);
            stored = until;
            if (--wait == 0) {
                wait = every;
                if (next.done < next.all) next.copy();
            }
        }
        finish<4>(sums);
        last = {at, {room.places + n0, room.places + n1}, y, (int32_t)e, past_cache};
        turn ^= 1;
    }
    store(last, 0, BLOCK);
    while (next.done < next.all) next.copy();
}

}   // namespace

extern "C" int64_t convolution_room(int64_t B, int64_t H, int64_t W, int64_t Ci, int64_t Co, int threads) {
    Layer l(B, H, W, Ci, Co);
    return allowed() ? 2 * l.packed() + threads * Room::bytes(l) : 0;
}

// w is (Co, 3, 3, Ci) in memory, float32: channels-last weights. Turned: those of the convolution whose input's
// gradient is wanted, (Ci, 3, 3, Co).
extern "C" void convolution(const uint16_t* x, const float* w, uint16_t* y, int64_t B, int64_t H, int64_t W, int64_t Ci,
                            int64_t Co, int turned, int threads, char* work) {
    Layer l(B, H, W, Ci, Co);
    half* packed = (half*)work;
    pack(w, turned, l, packed, threads);
    in_threads(threads, [&](int n) {
        auto [first, end] = share(l.items(), n, threads);
        Room room(work + 2 * l.packed() + n * Room::bytes(l), l);
        configure();
        int64_t rows = 0, pictures = 0, tiles = 0;
        for (int64_t item = first; item < end; ++item) {
            Band band(l, x, room.bands[item % 2], item, end), next(l, x, room.bands[1 - item % 2], item + 1, end);
            if (item == first)
                while (band.done < band.all) band.copy();
            if (rows != band.rows || pictures != band.pictures) {
                rows = band.rows;
                pictures = band.pictures;
                tiles = plan(l, rows, pictures, room);
            }
            multiply(l, packed, tiles, room, band, y + band.pixel() * Co, next);
        }
        release();
    });
}

#endif
