// The largest or the mean of a window's pixels, and their gradients, channels last: one sweep over memory each way.
//
// A window of k x k pixels begins every s pixels, `padding` of them outside the picture; what lies outside does not
// count. Which pixel was the largest is kept in a byte, its place in the window, where torch keeps eight. The gradient
// is gathered pixel by pixel from the windows that hold it, so that each number is written once and nothing is cleared
// before.
//
// Letters: B pictures, H rows, W columns, C channels (a multiple of 16); OH and OW rows and columns of windows.

#include "floats.hpp"
#include "threads.hpp"

#include <algorithm>
#include <vector>

namespace {

constexpr int64_t MOST = 64;   // pixels of a window

// A register of numbers as memory holds them, taken as whole numbers.
template <class T> struct Bits;
template <> struct Bits<float> {
    typedef int32_t One;
    typedef int32_t V __attribute__((vector_size(4 * LANES)));
    static constexpr int32_t ALL = 0x7fffffff, INFINITE = 0x7f800000;
};
template <> struct Bits<bfloat16> {
    typedef int16_t One;
    typedef int16_t V __attribute__((vector_size(2 * LANES)));
    static constexpr int16_t ALL = 0x7fff, INFINITE = 0x7f80;
};
typedef uint8_t Bytes __attribute__((vector_size(LANES)));

template <class V> inline V take(const void* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
template <class V> inline void put(void* to, V v) { std::memcpy(to, &v, sizeof v); }
#ifdef __AVX512BF16__
inline void put_past_cache(bfloat16* to, Bits<bfloat16>::V v) { _mm256_stream_si256((__m256i*)to, (__m256i)v); }
inline void put_past_cache(float* to, Bits<float>::V v) { _mm512_stream_si512((__m512i*)to, (__m512i)v); }
#else
template <class T> inline void put_past_cache(T* to, typename Bits<T>::V v) { put(to, v); }
#endif

// Whole numbers in the order of the floats, a NaN the largest; applied twice, it gives the float back. (-0 is below 0.)
template <class T> inline typename Bits<T>::V ordered(typename Bits<T>::V v) {
    typename Bits<T>::V is_nan = (v & Bits<T>::ALL) > Bits<T>::INFINITE,
                        key = v ^ ((v >> (8 * (int)sizeof(T) - 1)) & Bits<T>::ALL);
    return (key & ~is_nan) | (is_nan & Bits<T>::ALL);
}

struct Span { int64_t first, end; };

struct Windows {
    int64_t B, H, W, C, OH, OW, k, s, padding;
    Span pixels(int64_t o, int64_t size) const {
        return {std::max<int64_t>(0, o * s - padding), std::min(size, o * s - padding + k)};
    }
    int64_t place(int64_t o, int64_t i) const { return i - o * s + padding; }
    // of every pixel of a side, the windows that hold it
    std::vector<Span> holders(int64_t size, int64_t windows) const {
        std::vector<Span> all;
        for (int64_t i = padding; i < size + padding; ++i)
            all.push_back({i < k ? 0 : (i - k) / s + 1, std::min(windows, i / s + 1)});
        return all;
    }
};

// The pixels of a window, and their places in it; or the windows of a pixel, its places in them and its share of their
// means.
struct Near {
    int64_t n, at[MOST];
    int32_t place[MOST];
    float share[MOST];
};

void pixels_of(const Windows& w, int64_t oy, int64_t ox, Near& near) {
    Span rows = w.pixels(oy, w.H), columns = w.pixels(ox, w.W);
    near.n = 0;
    for (int64_t y = rows.first; y < rows.end; ++y)
        for (int64_t x = columns.first; x < columns.end; ++x, ++near.n) {
            near.at[near.n] = (y * w.W + x) * w.C;
            near.place[near.n] = (int32_t)(w.place(oy, y) * w.k + w.place(ox, x));
        }
}

void windows_of(const Windows& w, int64_t y, int64_t x, Span rows, Span columns, bool with_shares, Near& near) {
    near.n = 0;
    for (int64_t oy = rows.first; oy < rows.end; ++oy)
        for (int64_t ox = columns.first; ox < columns.end; ++ox, ++near.n) {
            near.at[near.n] = (oy * w.OW + ox) * w.C;
            near.place[near.n] = (int32_t)(w.place(oy, y) * w.k + w.place(ox, x));
            if (!with_shares) continue;
            Span down = w.pixels(oy, w.H), along = w.pixels(ox, w.W);
            near.share[near.n] = 1.0f / (float)((down.end - down.first) * (along.end - along.first));
        }
}

template <bool past_cache, class T>
void largest(const Near& near, int64_t C, int64_t next, const T* x, T* y, uint8_t* places) {
    typedef typename Bits<T>::V V;
    typedef typename Bits<T>::One One;
    for (int64_t c = 0; c < C; c += LANES) {
        V best = ordered<T>(take<V>(x + near.at[0] + c)), place = V{} + (One)near.place[0];
        if (c * sizeof(T) % 64 == 0)
            for (int64_t i = 0; i < near.n; ++i) __builtin_prefetch(x + near.at[i] + next + c, 0, 2);
        for (int64_t i = 1; i < near.n; ++i) {
            V key = ordered<T>(take<V>(x + near.at[i] + c)), is_larger = key > best;
            best = (key & is_larger) | (best & ~is_larger);
            place = ((V{} + (One)near.place[i]) & is_larger) | (place & ~is_larger);
        }
        if constexpr (past_cache) put_past_cache(y + c, ordered<T>(best));
        else put(y + c, ordered<T>(best));
        put(places + c, __builtin_convertvector(place, Bytes));
    }
}

template <bool past_cache, class T> void mean(const Near& near, int64_t C, const T* x, T* y) {
    float share = 1.0f / (float)near.n;
    for (int64_t c = 0; c < C; c += LANES) {
        Floats sum = load(x + near.at[0] + c);
        for (int64_t i = 1; i < near.n; ++i) sum += load(x + near.at[i] + c);
        write<past_cache>(y + c, sum * share);
    }
}

template <bool past_cache, class T> void forward(const T* x, T* y, uint8_t* places, const Windows& w, int threads) {
    for_each(w.B * w.OH, threads, [=](int64_t row) {
        Near near;
        const T* picture = x + row / w.OH * w.H * w.W * w.C;
        for (int64_t ox = 0, oy = row % w.OH; ox < w.OW; ++ox) {
            int64_t at = (row * w.OW + ox) * w.C;
            pixels_of(w, oy, ox, near);
            if (places) largest<past_cache>(near, w.C, w.s * w.W * w.C, picture, y + at, places + at);
            else mean<past_cache>(near, w.C, picture, y + at);
        }
    });
}

// Where windows do not overlap, a pixel has one at most: its gradient is copied or zero.
template <bool past_cache, class T>
void pass_on(const Near& near, int64_t C, const T* dy, const uint8_t* places, T* dx) {
    typedef typename Bits<T>::V V;
    typedef typename Bits<T>::One One;
    for (int64_t c = 0; c < C; c += LANES) {
        V place = __builtin_convertvector(take<Bytes>(places + near.at[0] + c), V);
        V g = take<V>(dy + near.at[0] + c) & (place == (V{} + (One)near.place[0]));
        if constexpr (past_cache) put_past_cache(dx + c, g);
        else put(dx + c, g);
    }
}

template <bool past_cache, class T>
void gather(const Near& near, int64_t C, const T* dy, const uint8_t* places, T* dx) {
    for (int64_t c = 0; c < C; c += LANES) {
        Floats sum = {};
        for (int64_t i = 0; i < near.n; ++i) {
            Floats g = load(dy + near.at[i] + c);
            if (places)
                sum += where(__builtin_convertvector(take<Bytes>(places + near.at[i] + c), Ints) == near.place[i], g);
            else sum += g * near.share[i];
        }
        write<past_cache>(dx + c, sum);
    }
}

template <bool past_cache, class T>
void backward(const T* dy, const uint8_t* places, T* dx, const Windows& w, int threads) {
    std::vector<Span> rows = w.holders(w.H, w.OH), columns = w.holders(w.W, w.OW);
    for_each(w.B * w.H, threads, [=, &rows, &columns](int64_t row) {
        Near near;
        int64_t y = row % w.H, from = row / w.H * w.OH * w.OW * w.C;
        for (int64_t x = 0; x < w.W; ++x) {
            T* to = dx + (row * w.W + x) * w.C;
            windows_of(w, y, x, rows[y], columns[x], !places, near);
            if (places && near.n == 1) pass_on<past_cache>(near, w.C, dy + from, places + from, to);
            else gather<past_cache>(near, w.C, dy + from, places ? places + from : nullptr, to);
        }
    });
}

template <class T> void forward(const void* x, void* y, uint8_t* places, const Windows& w, int threads) {
    bool past_cache = streams((T*)y, w.B * w.OH * w.OW * w.C);
    if (past_cache) forward<true>((const T*)x, (T*)y, places, w, threads);
    else forward<false>((const T*)x, (T*)y, places, w, threads);
}
template <class T> void backward(const void* dy, const uint8_t* places, void* dx, const Windows& w, int threads) {
    bool past_cache = streams((T*)dx, w.B * w.H * w.W * w.C);
    if (past_cache) backward<true>((const T*)dy, places, (T*)dx, w, threads);
    else backward<false>((const T*)dy, places, (T*)dx, w, threads);
}

}   // namespace

// Each takes float, or bfloat16 where `half`. Without `places` the mean is taken instead of the largest.
extern "C" void pool_forward(const void* x, void* y, uint8_t* places, int64_t B, int64_t H, int64_t W, int64_t C,
                             int64_t OH, int64_t OW, int64_t k, int64_t s, int64_t padding, int half, int threads) {
    Windows w{B, H, W, C, OH, OW, k, s, padding};
    if (half) forward<bfloat16>(x, y, places, w, threads);
    else forward<float>(x, y, places, w, threads);
}
extern "C" void pool_backward(const void* dy, const uint8_t* places, void* dx, int64_t B, int64_t H, int64_t W,
                              int64_t C, int64_t OH, int64_t OW, int64_t k, int64_t s, int64_t padding, int half,
                              int threads) {
    Windows w{B, H, W, C, OH, OW, k, s, padding};
    if (half) backward<bfloat16>(dy, places, dx, w, threads);
    else backward<float>(dy, places, dx, w, threads);
}
