// Convolutions, and the gradients of their inputs, on a processor that adds up products of pairs of bfloat16 (AVX-512
// BF16) and has no matrix units.
//
// Sums of some neighbouring pixels of a row of y, by some blocks of 16 channels, are held in registers: a pair of
// numbers of x serves all channels, a pair's weights all pixels. What a row of taps reads lies side by side in x, the
// channels of a pixel behind those of the one before, in a band of rows that is copied with zeros around it.
//
// The gradient of a strided convolution's input is a convolution of stride 1 for each residue of its rows and columns
// by the stride, with the taps that meet it.
//
// Letters: B pictures, H rows, W columns, C channels of what is read (x, or y's gradient); OH, OW, Co of what is
// written; both bfloat16, channels last. k taps down and across.

#include "floats.hpp"
#include "pairs.hpp"

#ifdef HAS_PAIRS

#include "threads.hpp"

#include <algorithm>

namespace {

constexpr int64_t BAND_BYTES = 24576, BAND_ROWS = 8;   // a band stays in the nearest cache, or has so many rows
constexpr int64_t BLOCK = 16;                          // channels of y
constexpr int SUMS = 24;                               // registers of sums, beside weights and a pair

// Down or across: output i, of those that leave this residue by the stride, reads so many inputs from i * step + first
// on, the first with this tap, each next with the tap `apart` from it.
struct Line {
    int64_t outputs, residue, step, first, taps, tap, apart;
    int64_t end(int64_t i) const { return (i - 1) * step + first + taps; }   // of what the first i outputs read
};

struct Pass {
    int64_t B, H, W, C, OH, OW, Co, k, stride, padding;
    bool turned;   // the gradient of the input

    int64_t residues() const { return turned ? stride : 1; }
    Line line(int64_t outputs, int64_t residue) const {
        if (!turned) return {outputs, 0, stride, -padding, k, 0, 1};
        int64_t tap = (residue + padding) % stride, taps = tap < k ? parts(k - tap, stride) : 0;
        return {parts(outputs - residue, stride), residue, 1, (residue + padding) / stride - taps + 1, taps,
                tap + (taps - 1) * stride,        -stride};
    }
    Line down(int64_t residue) const { return line(OH, residue); }
    Line across(int64_t residue) const { return line(OW, residue); }
    // Over all residues: the first input that is read, the end of what the first i outputs of each read, most outputs.
    int64_t first(int64_t outputs) const {
        int64_t found = 0;
        for (int64_t r = 0; r < residues(); ++r) found = std::min(found, line(outputs, r).first);
        return found;
    }
    int64_t end(int64_t outputs, int64_t i) const {
        int64_t found = 0;
        for (int64_t r = 0; r < residues(); ++r)
            found = std::max(found, line(outputs, r).end(std::min(i, line(outputs, r).outputs)));
        return found;
    }
    int64_t steps(int64_t outputs) const { return line(outputs, 0).outputs; }

    // Blocks of channels that are summed at a time, and pixels.
    int64_t blocks() const {
        return Co % (4 * BLOCK) == 0 && steps(OW) <= SUMS / 4 ? 4 : Co % (2 * BLOCK) == 0 ? 2 : 1;
    }
    int64_t pixels() const { return SUMS / std::max<int64_t>(blocks(), 2); }
    bool goes_by_two() const { return C == BLOCK && Co == BLOCK && k == 3 && stride == 1; }
    int64_t pairs(const Line& across) const { return parts(across.taps * C, 2); }
    int64_t packed(const Line& down, const Line& across) const { return down.taps * pairs(across) * 2 * Co; }
    int64_t packed() const {
        int64_t numbers = 0;
        for (int64_t y = 0; y < residues(); ++y)
            for (int64_t x = 0; x < residues(); ++x) numbers += packed(down(y), across(x));
        return up(numbers, LINE);
    }
};

// A bordered band of the input for some rows of each residue's output.
struct Band {
    int64_t columns, rows, most, bands;   // of the input, at most; rows of output, bands of a picture
    explicit Band(const Pass& p) : columns(p.end(p.OW, p.OW) - p.first(p.OW)) {
        int64_t step = p.line(p.OH, 0).step, beyond = p.end(p.OH, 1) - p.first(p.OH) - step;
        int64_t fits = (BAND_BYTES / (2 * columns * p.C) - beyond) / step;
        most = band(p.steps(p.OH), std::max(fits, BAND_ROWS));
        rows = most * step + std::max<int64_t>(beyond, 0);
        bands = parts(p.steps(p.OH), most);
    }
    int64_t numbers(const Pass& p) const { return up(rows * columns * p.C + 2, LINE); }   // a last pair may be half
};

// --- the weights ----------------------------------------------------------------------------------

struct Weights {
    const float* w;   // (Co, k, k, C), or turned (C, k, k, Co)
    const Pass& p;
    float at(int64_t co, int64_t tap, int64_t c) const {
        return p.turned ? w[(c * p.k * p.k + tap) * p.Co + co] : w[(co * p.k * p.k + tap) * p.C + c];
    }
};

// Pack 16 channels out of one tap's C channels in: pairs `apart` from each other. What of the weights lies side by side
// in memory differs.
void pack_tap(const Weights& s, int64_t co, int64_t tap, half* to, int64_t apart) {
    const Pass& p = s.p;
    const float* w = p.turned ? s.w + tap * p.Co + co : s.w + (co * p.k * p.k + tap) * p.C;
    int64_t next = p.turned ? p.k * p.k * p.Co : p.k * p.k * p.C;
    for (int64_t c = 0; c < p.C; c += BLOCK) {
        __m512i rows[16];
        if (p.turned)
            for (int64_t i = 0; i < 8; ++i)
                rows[i] = paired(sixteen(w + (c + 2 * i) * next), sixteen(w + (c + 2 * i + 1) * next));
        else {
            for (int64_t i = 0; i < BLOCK; ++i) rows[i] = _mm512_zextsi256_si512(sixteen(w + i * next + c));
            transpose(rows);
        }
        for (int64_t i = 0; i < 8; ++i, to += apart) _mm512_storeu_si512(to, rows[i]);
    }
}
// The same number by number, for a row of taps whose channels are no whole blocks: a pair may lie across two taps.
void pack_row(const Weights& s, int64_t co, int64_t tap, const Line& across, half* to, int64_t apart) {
    for (int64_t n = 0; n < s.p.pairs(across); ++n, to += apart) {
        alignas(64) float numbers[2][BLOCK] = {};
        for (int64_t d = 2 * n; d < std::min(2 * n + 2, across.taps * s.p.C); ++d)
            for (int64_t i = 0; i < BLOCK; ++i)
                numbers[d % 2][i] = s.at(co + i, tap + d / s.p.C * across.apart, d % s.p.C);
        _mm512_storeu_si512(to, paired(sixteen(numbers[0]), sixteen(numbers[1])));
    }
}

// Pack all as [residues' rows][columns][Co / 16 blocks][taps down][pairs][16 blocks][2].
void pack(const Weights& s, half* to, int threads) {
    const Pass& p = s.p;
    int64_t at_once = p.blocks();
    for (int64_t ry = 0; ry < p.residues(); ++ry)
        for (int64_t rx = 0; rx < p.residues(); ++rx) {
            Line down = p.down(ry), across = p.across(rx);
            int64_t pairs = p.pairs(across), apart = 2 * BLOCK * at_once;
            for_each(p.Co / BLOCK * down.taps, threads, [=, &s, &p](int64_t n) {
                int64_t block = n / down.taps, row = n % down.taps,
                        tap = (down.tap + row * down.apart) * p.k + across.tap;
                half* first =
                    to + ((block / at_once * down.taps + row) * pairs * at_once + block % at_once) * 2 * BLOCK;
                if (p.C % BLOCK) return pack_row(s, block * BLOCK, tap, across, first, apart);
                for (int64_t j = 0; j < across.taps; ++j)
                    pack_tap(s, block * BLOCK, tap + j * across.apart, first + j * p.C / 2 * apart, apart);
            });
            to += p.packed(down, across);
        }
}

// --- the products ---------------------------------------------------------------------------------

// Where a piece of a row reads and writes: numbers from one row of taps to the next, and from one pixel to the next.
struct Piece {
    const half* x;
    int64_t row, pixel;
    half* y;
    int64_t y_pixel;
    bool past_cache;
};
inline void store(const Piece& p, int64_t at, __m512 sums) {
    __m256i rounded = (__m256i)_mm512_cvtneps_pbh(sums);
    if (p.past_cache) _mm256_stream_si256((__m256i*)(p.y + at), rounded);
    else put(p.y + at, rounded);
}

// R pixels by N blocks of 16 channels.
template <int R, int N> inline void products(Piece p, const half* weights, int64_t rows, int64_t pairs) {
    __m512 sums[R][N];
    for (int r = 0; r < R; ++r)
        for (int n = 0; n < N; ++n) sums[r][n] = _mm512_setzero_ps();
    for (int64_t row = 0; row < rows; ++row) {
        const half* x = p.x + row * p.row;
        for (int64_t k = 0; k < pairs; ++k, x += 2, weights += 32 * N) {
            __m512bh w[N];
            for (int n = 0; n < N; ++n) w[n] = (__m512bh)_mm512_loadu_si512(weights + 32 * n);
            for (int r = 0; r < R; ++r) {
                __m512bh pair = twice(x + r * p.pixel);
                for (int n = 0; n < N; ++n) sums[r][n] = _mm512_dpbf16_ps(sums[r][n], w[n], pair);
            }
        }
    }
    for (int r = 0; r < R; ++r)
        for (int n = 0; n < N; ++n) store(p, r * p.y_pixel + BLOCK * n, sums[r][n]);
}
template <int N, int R = N == 1 ? SUMS / 2 : SUMS / N>
inline void some_pixels(int64_t pixels, const Piece& p, const half* weights, int64_t rows, int64_t pairs) {
    if constexpr (R == 1) products<1, N>(p, weights, rows, pairs);
    else if (pixels == R) products<R, N>(p, weights, rows, pairs);
    else some_pixels<N, R - 1>(pixels, p, weights, rows, pairs);
}

// R pixels of each of two rows of a 3x3 convolution of stride 1, 16 channels in and out: with so few channels taking a
// pair lasts longer than multiplying it once, and of four rows that are read two serve both. The rows are gone through
// together, since each of these loops is short.
template <int R> inline void two_rows(const Piece& p, int64_t y_row, const half* weights) {
    constexpr int64_t PAIRS = 3 * BLOCK / 2;
    __m512 sums[2][R];
    for (int r = 0; r < R; ++r) sums[0][r] = sums[1][r] = _mm512_setzero_ps();
    const half *x0 = p.x, *x1 = x0 + p.row, *x2 = x1 + p.row, *x3 = x2 + p.row;
    const half *w0 = weights, *w1 = w0 + 32 * PAIRS, *w2 = w1 + 32 * PAIRS;
    for (int64_t k = 0; k < PAIRS; ++k) {
        __m512bh a = (__m512bh)_mm512_loadu_si512(w0 + 32 * k), b = (__m512bh)_mm512_loadu_si512(w1 + 32 * k),
                 c = (__m512bh)_mm512_loadu_si512(w2 + 32 * k);
        for (int r = 0; r < R; ++r) {
            int64_t at = 2 * k + r * BLOCK;
            sums[0][r] = _mm512_dpbf16_ps(sums[0][r], a, twice(x0 + at));
            __m512bh pair = twice(x1 + at);
            sums[1][r] = _mm512_dpbf16_ps(sums[1][r], a, pair);
            sums[0][r] = _mm512_dpbf16_ps(sums[0][r], b, pair);
            pair = twice(x2 + at);
            sums[1][r] = _mm512_dpbf16_ps(sums[1][r], b, pair);
            sums[0][r] = _mm512_dpbf16_ps(sums[0][r], c, pair);
            sums[1][r] = _mm512_dpbf16_ps(sums[1][r], c, twice(x3 + at));
        }
    }
    for (int r = 0; r < R; ++r) {
        store(p, r * p.y_pixel, sums[0][r]);
        store(p, y_row + r * p.y_pixel, sums[1][r]);
    }
}
template <int R = SUMS / 2>
inline void some_of_two_rows(int64_t pixels, const Piece& p, int64_t y_row, const half* weights) {
    if constexpr (R == 1) two_rows<1>(p, y_row, weights);
    else if (pixels == R) two_rows<R>(p, y_row, weights);
    else some_of_two_rows<R - 1>(pixels, p, y_row, weights);
}

// Some rows of one residue's outputs of a picture, from what was copied of its input.
template <int N>
void multiply(const Pass& p, const Line& down, const Line& across, const half* band, int64_t columns,
              const half* weights, half* y, int64_t first, int64_t end) {
    bool by_two = p.goes_by_two(), past_cache = streams((const bfloat16*)y, p.B * p.OH * p.OW * p.Co);
    int64_t pairs = p.pairs(across), times = parts(across.outputs, p.pixels()), residues = p.residues();
    int64_t row = columns * p.C, pixel = across.step * p.C, y_row = residues * p.OW * p.Co;
    const half* x = band + (down.first - p.first(p.OH)) * row + (across.first - p.first(p.OW)) * p.C;
    for (int64_t co = 0; co < p.Co; co += BLOCK * N, weights += down.taps * pairs * 2 * BLOCK * N)
        for (int64_t i = first; i < end; i += by_two && i + 1 < end ? 2 : 1)
            for (int64_t n = 0; n < times; ++n) {
                int64_t from = across.outputs * n / times, pixels = across.outputs * (n + 1) / times - from;
                half* out = y + ((i * residues + down.residue) * p.OW + from * residues + across.residue) * p.Co + co;
                Piece piece{
                    x + (i - first) * down.step * row + from * pixel, row, pixel, out, residues * p.Co, past_cache};
                if (by_two && i + 1 < end) some_of_two_rows(pixels, piece, y_row, weights);
                else some_pixels<N>(pixels, piece, weights, down.taps, pairs);
            }
}

// Copy what a band's rows read of a picture; what lies outside is zero, and columns beside it have been from the start.
void copy(const Pass& p, const Band& b, const half* x, int64_t y, half* to) {
    int64_t left = p.first(p.OW), from = std::max<int64_t>(left, 0), until = std::min(left + b.columns, p.W);
    if (from >= until) return;
    to += (from - left) * p.C;
    for (int64_t r = y; r < y + b.rows; ++r, to += b.columns * p.C)
        if (r >= 0 && r < p.H) std::memcpy(to, x + (r * p.W + from) * p.C, 2 * (until - from) * p.C);
        else std::memset(to, 0, 2 * (until - from) * p.C);
}

void work_through(const Pass& p, const half* x, const half* weights, half* y, Share items, half* room) {
    Band b(p);
    for (int64_t item = items.first; item < items.end; ++item) {
        int64_t picture = item / b.bands, first = item % b.bands * b.most;
        copy(p, b, x + picture * p.H * p.W * p.C, first * p.line(p.OH, 0).step + p.first(p.OH), room);
        half* out = y + picture * p.OH * p.OW * p.Co;
        const half* packed = weights;
        for (int64_t ry = 0; ry < p.residues(); ++ry)
            for (int64_t rx = 0; rx < p.residues(); ++rx) {
                Line down = p.down(ry), across = p.across(rx);
                int64_t end = std::min(first + b.most, down.outputs);
                auto some = p.blocks() == 4 ? multiply<4> : p.blocks() == 2 ? multiply<2> : multiply<1>;
                some(p, down, across, room, b.columns, packed, out, first, end);
                packed += p.packed(down, across);
            }
    }
}

}   // namespace

extern "C" int64_t direct_room(int64_t B, int64_t H, int64_t W, int64_t C, int64_t OH, int64_t OW, int64_t Co,
                               int64_t k, int64_t stride, int64_t padding, int turned, int threads) {
    Pass p{B, H, W, C, OH, OW, Co, k, stride, padding, turned != 0};
    return 2 * (p.packed() + threads * Band(p).numbers(p));
}

// w is (Co, k, k, C) in memory, float32: channels-last weights; turned, those of the convolution whose input's gradient
// is wanted, (C, k, k, Co).
extern "C" void direct(const uint16_t* x, const float* w, uint16_t* y, int64_t B, int64_t H, int64_t W, int64_t C,
                       int64_t OH, int64_t OW, int64_t Co, int64_t k, int64_t stride, int64_t padding, int turned,
                       int threads, char* work) {
    Pass p{B, H, W, C, OH, OW, Co, k, stride, padding, turned != 0};
    half *packed = (half*)work, *bands = packed + p.packed();
    int64_t each = Band(p).numbers(p);
    pack(Weights{w, p}, packed, threads);
    in_threads(threads, [=, &p](int n) {
        half* room = bands + n * each;
        std::memset(room, 0, 2 * each);
        work_through(p, x, packed, y, share(p.B * Band(p).bands, n, threads), room);
    });
}

#endif
