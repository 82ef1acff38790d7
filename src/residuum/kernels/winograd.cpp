// 3×3 convolutions of stride 1 in float32 with a quarter of the multiplications: Winograd's F(4×4, 3×3) (Lavin and
// Gray 2016, section 4), forward, the gradient of the input, and the gradient of the weights.
//
// A tile is 4×4 pixels of the output and the 6×6 of the input that they are made of. With d such an input, g a filter,
// t the gradient of a tile: y = A' [(G g G') (B' d B)] A, summed over channels between the brackets, where it is one
// product of matrices for each of the 36 places; the same sums read backwards give dg = G' [(A t A') (B' d B)] G,
// summed over tiles. B, G and A follow from the points 0, ±a, ±b and infinity; these lose three bits of float32, the
// usual 1 and 2 five.
//
// Letters: B pictures, H rows, W columns, Ci and Co channels; tensors channels last.

#include "product.hpp"
#include "threads.hpp"

#include <algorithm>

namespace {

constexpr float A1 = 0.625f, A2 = A1 * A1, A3 = A2 * A1, B1 = 1.5f, B2 = B1 * B1, B3 = B2 * B1;
constexpr int SIDE = 4, WIDE = 6, PLACES = WIDE * WIDE;   // of a tile of the output, of the input

// --- the transforms, of one line of a tile; applied down and across --------------------------------

// B': six of the input.
struct OfInput {
    static constexpr int FROM = WIDE, TO = WIDE;
    static inline void line(const Floats* d, Floats* v) {
        v[0] = A2 * B2 * d[0] - (A2 + B2) * d[2] + d[4];
        Floats even = d[4] - B2 * d[2], odd = d[3] - B2 * d[1];
        v[1] = even + A1 * odd;
        v[2] = even - A1 * odd;
        even = d[4] - A2 * d[2];
        odd = d[3] - A2 * d[1];
        v[3] = even + B1 * odd;
        v[4] = even - B1 * odd;
        v[5] = A2 * B2 * d[1] - (A2 + B2) * d[3] + d[5];
    }
};
// A': from six sums to four of the output.
struct OfSums {
    static constexpr int FROM = WIDE, TO = SIDE;
    static inline void line(const Floats* m, Floats* y) {
        Floats even = m[1] + m[2], odd = m[1] - m[2], even2 = m[3] + m[4], odd2 = m[3] - m[4];
        y[0] = m[0] + even + even2;
        y[1] = A1 * odd + B1 * odd2;
        y[2] = A2 * even + B2 * even2;
        y[3] = A3 * odd + B3 * odd2 + m[5];
    }
};
// A: from four of the output's gradient to six.
struct OfGradient {
    static constexpr int FROM = SIDE, TO = WIDE;
    static inline void line(const Floats* t, Floats* v) {
        v[0] = t[0];
        Floats even = t[0] + A2 * t[2], odd = t[1] + A2 * t[3];
        v[1] = even + A1 * odd;
        v[2] = even - A1 * odd;
        even = t[0] + B2 * t[2];
        odd = t[1] + B2 * t[3];
        v[3] = even + B1 * odd;
        v[4] = even - B1 * odd;
        v[5] = t[3];
    }
};
constexpr float N0 = 1 / (A2 * B2), NA = 1 / (2 * A2 * (A2 - B2)), NB = 1 / (2 * B2 * (B2 - A2));
// G: from three taps to six.
struct OfFilter {
    static constexpr int FROM = 3, TO = WIDE;
    static inline void line(const Floats* g, Floats* u) {
        u[0] = N0 * g[0];
        Floats even = NA * (g[0] + A2 * g[2]), odd = NA * A1 * g[1];
        u[1] = even + odd;
        u[2] = even - odd;
        even = NB * (g[0] + B2 * g[2]);
        odd = NB * B1 * g[1];
        u[3] = even + odd;
        u[4] = even - odd;
        u[5] = g[2];
    }
};
// G': from six sums to three taps.
struct OfTaps {
    static constexpr int FROM = WIDE, TO = 3;
    static inline void line(const Floats* s, Floats* g) {
        Floats even = NA * (s[1] + s[2]), odd = NA * A1 * (s[1] - s[2]), even2 = NB * (s[3] + s[4]),
               odd2 = NB * B1 * (s[3] - s[4]);
        g[0] = N0 * s[0] + even + even2;
        g[1] = odd + odd2;
        g[2] = A2 * even + B2 * even2 + s[5];
    }
};

// Transform a tile: read(row, column) gives what is there, write(row, column, v) takes what comes out.
template <class T, class Read, class Write> inline void transform(Read read, Write write) {
    Floats half[T::TO][T::FROM];
    for (int x = 0; x < T::FROM; ++x) {
        Floats in[T::FROM], out[T::TO];
        for (int y = 0; y < T::FROM; ++y) in[y] = read(y, x);
        T::line(in, out);
        for (int y = 0; y < T::TO; ++y) half[y][x] = out[y];
    }
    for (int y = 0; y < T::TO; ++y) {
        Floats out[T::TO];
        T::line(half[y], out);
        for (int x = 0; x < T::TO; ++x) write(y, x, out[x]);
    }
}

// --- tiles of pictures ------------------------------------------------------------------------------

struct Layer {
    int64_t B, H, W, Ci, Co;
    int64_t down() const { return (H + SIDE - 1) / SIDE; }
    int64_t across() const { return (W + SIDE - 1) / SIDE; }
    int64_t tiles() const { return B * down() * across(); }
};

// Where a tile lies: its picture, and the row and column of its first pixel of the output.
struct Tile {
    int64_t picture, y, x;
    Tile(const Layer& l, int64_t n)
        : picture(n / (l.down() * l.across())), y(n / l.across() % l.down() * SIDE), x(n % l.across() * SIDE) {}
};

// Transform a tile of `channels` numbers a pixel, its first pixel `border` above and before the tile's; what lies
// outside is zero. Place p goes to `to` + p `apart`.
template <class T, int border>
void gather(const Layer& l, Tile tile, const float* from, int64_t channels, float* to, int64_t apart) {
    int64_t y = tile.y - border, x = tile.x - border;
    const float* first = from + ((tile.picture * l.H + y) * l.W + x) * channels;
    bool is_inside = y >= 0 && x >= 0 && y + T::FROM <= l.H && x + T::FROM <= l.W;
    for (int64_t c = 0; c < channels; c += LANES) {
        auto write = [=](int v, int u, Floats value) { store(to + (v * WIDE + u) * apart + c, value); };
        if (is_inside) transform<T>([=](int v, int u) { return load(first + (v * l.W + u) * channels + c); }, write);
        else
            transform<T>(
                [=](int v, int u) {
                    bool is_there = y + v >= 0 && y + v < l.H && x + u >= 0 && x + u < l.W;
                    return is_there ? load(first + (v * l.W + u) * channels + c) : Floats{};
                },
                write);
    }
}

// Transform the sums of a tile for 16 channels, and write the pixels that are there.
inline void scatter(const Layer& l, Tile tile, const float* sums, int64_t apart, float* y) {
    float* first = y + ((tile.picture * l.H + tile.y) * l.W + tile.x) * l.Co;
    int64_t rows = l.H - tile.y, columns = l.W - tile.x;
    for (int64_t c = 0; c < BLOCK; c += LANES)
        transform<OfSums>([=](int v, int u) { return load(sums + (v * WIDE + u) * apart + c); },
                          [=](int v, int u, Floats value) {
                              if (v < rows && u < columns) store(first + (v * l.W + u) * l.Co + c, value);
                          });
}

// --- forward, and the gradient of the input ---------------------------------------------------------

// Tiles that are worked on at a time, so that what is made of them stays in the second cache; more where the filters
// would be fetched too often.
inline int64_t group(const Layer& l) {
    int64_t fits = 65536 / (PLACES * (l.Ci + BLOCK)), most = (l.Ci * l.Co) / 1024;
    return std::max<int64_t>({2 * ROWS, fits, std::min<int64_t>(most, 96)}) / ROWS * ROWS;
}
// From one place to the next; not a power of two, which would crowd few sets of the cache.
inline int64_t apart(int64_t tiles, int64_t channels) { return tiles * channels + BLOCK; }

// Filters as [place][block of Co][Ci][16]. w is (Co, 3, 3, Ci); turned, where in and out are exchanged and the taps
// turned by half a circle, it is (Ci, 3, 3, Co).
void transform_filters(const Layer& l, const float* w, bool turned, float* to, int threads) {
    for_each(l.Co / BLOCK * l.Ci, threads, [=](int64_t n) {
        int64_t block = n / l.Ci, ci = n % l.Ci;
        float taps[9][BLOCK];
        for (int64_t tap = 0; tap < 9; ++tap)
            for (int64_t i = 0; i < BLOCK; ++i) {
                int64_t co = block * BLOCK + i;
                taps[tap][i] = turned ? w[(ci * 9 + 8 - tap) * l.Co + co] : w[(co * 9 + tap) * l.Ci + ci];
            }
        for (int64_t c = 0; c < BLOCK; c += LANES)
            transform<OfFilter>(
                [&](int v, int u) { return load(taps[3 * v + u] + c); },
                [&](int v, int u, Floats value) { store(to + ((v * WIDE + u) * l.Co * l.Ci) + n * BLOCK + c, value); });
    });
}

void convolve(const Layer& l, const float* x, const float* filters, float* y, int64_t first, int64_t end, float* work) {
    int64_t most = group(l), in = apart(most, l.Ci), out = apart(most, BLOCK);
    float *inputs = work, *sums = work + PLACES * in;
    for (int64_t from = first; from < end; from += most) {
        int64_t tiles = std::min(most, end - from);
        for (int64_t t = 0; t < tiles; ++t) gather<OfInput, 1>(l, Tile(l, from + t), x, l.Ci, inputs + t * l.Ci, in);
        for (int64_t co = 0; co < l.Co; co += BLOCK) {
            for (int64_t p = 0; p < PLACES; ++p)
                product<false>(tiles, Left{inputs + p * in, l.Ci, 1}, Right{filters + (p * l.Co + co) * l.Ci, BLOCK},
                               l.Ci, Sums{sums + p * out, BLOCK});
            for (int64_t t = 0; t < tiles; ++t) scatter(l, Tile(l, from + t), sums + t * BLOCK, out, y + co);
        }
    }
}
inline int64_t convolve_room(const Layer& l) { return PLACES * (apart(group(l), l.Ci) + apart(group(l), BLOCK)); }

// --- the gradient of the weights --------------------------------------------------------------------

// Sums as [place][Co][Ci], one thread's.
void add_gradient(const Layer& l, const float* x, const float* dy, float* sums, int64_t first, int64_t end,
                  float* work) {
    int64_t most = group(l), in = apart(most, l.Ci), out = apart(most, l.Co), square = l.Co * l.Ci;
    float *inputs = work, *gradients = work + PLACES * in;
    std::fill_n(sums, PLACES * square, 0.0f);
    for (int64_t from = first; from < end; from += most) {
        int64_t tiles = std::min(most, end - from);
        for (int64_t t = 0; t < tiles; ++t) {
            gather<OfInput, 1>(l, Tile(l, from + t), x, l.Ci, inputs + t * l.Ci, in);
            gather<OfGradient, 0>(l, Tile(l, from + t), dy, l.Co, gradients + t * l.Co, out);
        }
        for (int64_t p = 0; p < PLACES; ++p)
            for (int64_t ci = 0; ci < l.Ci; ci += BLOCK)
                product<true>(l.Co, Left{gradients + p * out, 1, l.Co}, Right{inputs + p * in + ci, l.Ci}, tiles,
                              Sums{sums + p * square + ci, l.Ci});
    }
}
inline int64_t gradient_room(const Layer& l) {
    return PLACES * (l.Co * l.Ci + apart(group(l), l.Ci) + apart(group(l), l.Co));
}

// Add up the threads' sums, in their order, and make taps of them: dw is (Co, 3, 3, Ci).
void finish_gradient(const Layer& l, const float* work, int64_t each, int threads, float* dw) {
    int64_t square = l.Co * l.Ci;
    for_each(square / LANES, threads, [=](int64_t part) {
        int64_t n = part * LANES;
        transform<OfTaps>(
            [=](int v, int u) {
                Floats sum{};
                for (int t = 0; t < threads; ++t) sum += load(work + t * each + (v * WIDE + u) * square + n);
                return sum;
            },
            [=](int v, int u, Floats value) { store(dw + (n / l.Ci * 9 + 3 * v + u) * l.Ci + n % l.Ci, value); });
    });
}

}   // namespace

extern "C" int64_t winograd_room(int64_t B, int64_t H, int64_t W, int64_t Ci, int64_t Co, int threads) {
    Layer l{B, H, W, Ci, Co};
    return 4 * (PLACES * Ci * Co + threads * convolve_room(l));
}

// w is (Co, 3, 3, Ci) in memory: channels-last weights. Turned: those of the convolution whose input's gradient is
// wanted, (Ci, 3, 3, Co).
extern "C" void winograd(const float* x, const float* w, float* y, int64_t B, int64_t H, int64_t W, int64_t Ci,
                         int64_t Co, int turned, int threads, float* work) {
    Layer l{B, H, W, Ci, Co};
    transform_filters(l, w, turned, work, threads);
    in_threads(threads, [&](int n) {
        auto [first, end] = share(l.tiles(), n, threads);
        convolve(l, x, work, y, first, end, work + PLACES * Ci * Co + n * convolve_room(l));
    });
}

extern "C" int64_t winograd_gradient_room(int64_t B, int64_t H, int64_t W, int64_t Ci, int64_t Co, int threads) {
    return 4 * threads * gradient_room(Layer{B, H, W, Ci, Co});
}

// The gradient of the weights, (Co, 3, 3, Ci).
extern "C" void winograd_gradient(const float* x, const float* dy, float* dw, int64_t B, int64_t H, int64_t W,
                                  int64_t Ci, int64_t Co, int threads, float* work) {
    Layer l{B, H, W, Ci, Co};
    int64_t each = gradient_room(l);
    in_threads(threads, [&](int n) {
        auto [first, end] = share(l.tiles(), n, threads);
        float* own = work + n * each;
        add_gradient(l, x, dy, own, first, end, own + PLACES * Ci * Co);
    });
    finish_gradient(l, work, each, threads, dw);
}
