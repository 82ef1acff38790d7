// BN, addition and ReLU or GELU in one pass over memory, forward and backward, for training on a processor.
//
// y = act(z), z = gamma (x - mean) / sqrt(var + eps) + beta + h, with the statistics of the batch (Ioffe and Szegedy
// 2015, algorithm 1); h and act are optional. Tensors are channels-last: M = N*H*W rows of C channels, float or
// bfloat16; sums are kept in float32 for a tile of rows and in float64 beyond it.
//
// A pass that follows a reduction runs backwards over the rows, so that what the reduction read last is still in the
// cache. Work is split by rows, always in the same way, and partial sums are added in the order of the threads: a run
// repeats bit by bit.

#include "activation.hpp"
#include "threads.hpp"

#include <cmath>
#include <type_traits>

namespace {

constexpr int TILE_BYTES = 32768;
constexpr int MANY = 4;   // vectors taken at a time, where rows have as many
constexpr int64_t WIDE = LANES * MANY;

// Call body(first, last) for tiles of rows, upwards or downwards. A body holds copies of what it uses: what threads
// share would be fetched anew after every store.
template <class Body> inline void upwards(Share r, int64_t tile, Body body) {
    for (int64_t i = r.first; i < r.end; i += tile) body(i, i + tile < r.end ? i + tile : r.end, tile);
}
template <class Body> inline void downwards(Share r, int64_t tile, Body body) {
    for (int64_t i = r.end; i > r.first; i -= tile) body(i - tile > r.first ? i - tile : r.first, i, -tile);
}
// Read some numbers, and ask for those of the tile that comes next: a processor does not foresee rows read in parts.
template <class T> inline Floats load(const T* from, int64_t next) {
    __builtin_prefetch(from + next, 0, 2);
    return load(from);
}

// Rows narrower than K vectors are taken several at a time, as one row of more channels; `fold` says how many.
struct Shape { int64_t rows, channels, fold; };
inline Shape folded(int64_t M, int64_t C, int64_t wide) {
    int64_t fold = C < wide && wide % C == 0 && M % (wide / C) == 0 ? wide / C : 1;
    return {M / fold, C * fold, fold};
}

// y = act(a x + b + h), for a tile of rows.
template <class T, int K, bool past_cache>
inline void scaled(const T* x, const T* h, T* y, const float* scale, const float* shift, int64_t W, int activation,
                   int64_t from, int64_t to, int64_t next) {
    for (int64_t c = 0; c < W; c += LANES * K) {
        Floats a[K], b[K];
        for (int k = 0; k < K; ++k) {
            a[k] = load(scale + c + LANES * k);
            b[k] = load(shift + c + LANES * k);
        }
        for (int64_t r = from; r < to; ++r)
            for (int k = 0; k < K; ++k) {
                int64_t at = r * W + c + LANES * k;
                Floats v = a[k] * load(x + at, next * W) + b[k];
                if (h) v += load(h + at, next * W);
                write<past_cache>(y + at, activated(v, activation));
            }
    }
}

// How the work is divided, and the room it takes: for each thread two sums a channel, then factors of each channel.
template <class T> struct Work {
    Shape shape;
    int64_t M, C, W, tile;
    int threads;
    double* totals;
    float *scale, *shift;
    Work(int64_t M, int64_t C, int threads, double* room)
        : shape(folded(M, C, WIDE)), M(M), C(C), W(shape.channels), tile(TILE_BYTES / (W * sizeof(T))),
          threads(threads), totals(room), scale((float*)(room + 2 * W * threads)), shift(scale + W) {
        if (tile < 1) tile = 1;
    }
    float* more(int n) const { return shift + n * W; }
    Share rows(int n) const { return share(shape.rows, n, threads); }
    double* cleared(int n) const {
        double* sums = totals + 2 * W * n;
        for (int64_t c = 0; c < 2 * W; ++c) sums[c] = 0;
        return sums;
    }
    void total(int64_t c, double& one, double& other) const {
        for (int t = 0; t < threads; ++t)
            for (int64_t f = c; f < W; f += C) {
                one += totals[2 * W * t + f];
                other += totals[2 * W * t + W + f];
            }
    }
};
template <int K> inline void add(const Floats* from, double* to) {
    for (int k = 0; k < K; ++k)
        for (int l = 0; l < LANES; ++l) to[LANES * k + l] += from[k][l];
}

// With statistics that are there already: the running ones.
template <class T, int K, bool past_cache>
void apply(const T* x, const T* h, T* y, const float* gamma, const float* beta, const float* mean,
           const float* variance, float eps, int64_t M, int64_t C, int activation, int threads, double* room) {
    Work<T> work(M, C, threads, room);
    float *scale = work.scale, *shift = work.shift;
    int64_t W = work.W;
    for (int64_t f = 0; f < W; ++f) {
        int64_t c = f % C;
        scale[f] = (float)(gamma[c] / std::sqrt((double)variance[c] + eps));
        shift[f] = beta[c] - mean[c] * scale[f];
    }
    in_threads(threads, [&](int n) {
        upwards(work.rows(n), work.tile, [=](int64_t from, int64_t to, int64_t next) {
            scaled<T, K, past_cache>(x, h, y, scale, shift, W, activation, from, to, next);
        });
    });
}

// Add up x and its squares, about the first pixel: no cancellation when mean >> std.
template <class T, int K>
inline void add_moments(const T* x, const float* first, double* sums, int64_t W, int64_t from, int64_t to,
                        int64_t next) {
    for (int64_t c = 0; c < W; c += LANES * K) {
        Floats sum[K] = {}, square[K] = {}, about[K];
        for (int k = 0; k < K; ++k) about[k] = load(first + c + LANES * k);
        for (int64_t r = from; r < to; ++r)
            for (int k = 0; k < K; ++k) {
                Floats v = load(x + r * W + c + LANES * k, next * W) - about[k];
                sum[k] += v;
                square[k] += v * v;
            }
        add<K>(sum, sums + c);
        add<K>(square, sums + W + c);
    }
}

template <class T, int K, bool past_cache>
void forward(const T* x, const T* h, T* y, const float* gamma, const float* beta, float* running_mean,
             float* running_var, float momentum, float eps, float* mean, float* inverse_std, int64_t M, int64_t C,
             int activation, int threads, double* room) {
    Work<T> work(M, C, threads, room);
    float *scale = work.scale, *shift = work.shift, *first = work.more(1);
    int64_t W = work.W;
    for (int64_t c = 0; c < W; ++c) first[c] = number(x[c % C]);
    in_threads(threads, [&](int n) {
        double* sums = work.cleared(n);
        upwards(work.rows(n), work.tile,
                [=](int64_t from, int64_t to, int64_t next) { add_moments<T, K>(x, first, sums, W, from, to, next); });
    });
    for (int64_t c = 0; c < C; ++c) {
        double sum = 0, square = 0;
        work.total(c, sum, square);
        double centre = sum / M, variance = square / M - centre * centre;
        if (variance < 0) variance = 0;
        mean[c] = (float)(centre + first[c]);
        inverse_std[c] = (float)(1 / std::sqrt(variance + eps));
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * ((float)(variance * M / (M > 1 ? M - 1 : 1)) - running_var[c]);
        for (int64_t f = c; f < W; f += C) {
            scale[f] = gamma[c] * inverse_std[c];
            shift[f] = beta[c] - mean[c] * scale[f];
        }
    }
    in_threads(threads, [&](int n) {
        downwards(work.rows(n), work.tile, [=](int64_t from, int64_t to, int64_t next) {
            scaled<T, K, past_cache>(x, h, y, scale, shift, W, activation, from, to, next);
        });
    });
}

// What the gradient is made of, and the factors of each channel.
template <class T> struct Gradient {
    const T *dy, *dy2, *x, *saved;
    T *dx, *dh;
    const float *scale, *shift, *centre, *by_x, *constant;
    int64_t W;
    int activation;
    bool writes;   // dh: then the second sweep finds g there
};

// Add up g and g (x - mean), and write dh where it is asked for.
template <class T, int K>
inline void add_gradients(Gradient<T> d, double* sums, int64_t from, int64_t to, int64_t next) {
    for (int64_t c = 0; c < d.W; c += LANES * K) {
        Floats sum[K] = {}, product[K] = {}, a[K], b[K], m[K];
        for (int k = 0; k < K; ++k) {
            int64_t at = c + LANES * k;
            a[k] = load(d.scale + at);
            b[k] = load(d.shift + at);
            m[k] = load(d.centre + at);
        }
        for (int64_t r = from; r < to; ++r)
            for (int k = 0; k < K; ++k) {
                int64_t at = r * d.W + c + LANES * k;
                Floats v = load(d.x + at, next * d.W), g = load(d.dy + at, next * d.W);
                if (d.dy2) g += load(d.dy2 + at, next * d.W);
                if (d.activation == RELU && d.saved) g = where(load(d.saved + at, next * d.W) > 0, g);
                else if (d.activation) {
                    Floats z = a[k] * v + b[k];
                    g = passed_back(g, d.saved ? z + load(d.saved + at, next * d.W) : z, d.activation);
                }
                if (d.writes) store(d.dh + at, g);
                sum[k] += g;
                product[k] += g * (v - m[k]);
            }
        add<K>(sum, sums + c);
        add<K>(product, sums + d.W + c);
    }
}

// dx = gamma/std (g - mean(g) - x^ mean(g x^))
template <class T, int K, bool past_cache>
inline void input_gradient(Gradient<T> d, int64_t from, int64_t to, int64_t next) {
    for (int64_t c = 0; c < d.W; c += LANES * K) {
        Floats a[K], b[K], slope[K], offset[K];
        for (int k = 0; k < K; ++k) {
            int64_t at = c + LANES * k;
            a[k] = load(d.scale + at);
            b[k] = load(d.shift + at);
            slope[k] = load(d.by_x + at);
            offset[k] = load(d.constant + at);
        }
        for (int64_t r = from; r < to; ++r)
            for (int k = 0; k < K; ++k) {
                int64_t at = r * d.W + c + LANES * k;
                Floats v = load(d.x + at, next * d.W), g = load((d.writes ? d.dh : d.dy) + at, next * d.W);
                if (!d.writes && d.dy2) g += load(d.dy2 + at, next * d.W);
                if (!d.writes && d.activation) g = passed_back(g, a[k] * v + b[k], d.activation);
                write<past_cache>(d.dx + at, a[k] * g + slope[k] * v + offset[k]);
            }
    }
}

// g = (dy + dy2) act'(z), dy2 being the gradient of a second use of y, if there is one; dh = g. With h, z is not known
// from x alone: `saved` is then what tells it, y for the ReLU, which let through where y > 0, h for the others.
template <class T, int K, bool past_cache>
void backward(const T* dy, const T* dy2, const T* x, const T* saved, T* dx, T* dh, const float* gamma,
              const float* beta, const float* mean, const float* inverse_std, float* dgamma, float* dbeta, int64_t M,
              int64_t C, int activation, int threads, double* room) {
    Work<T> work(M, C, threads, room);
    float *scale = work.scale, *shift = work.shift, *centre = work.more(1), *by_x = work.more(2),
          *constant = work.more(3);
    int64_t W = work.W;
    for (int64_t f = 0; f < W; ++f) {
        int64_t c = f % C;
        scale[f] = gamma[c] * inverse_std[c];
        shift[f] = beta[c] - mean[c] * scale[f];
        centre[f] = mean[c];
    }
    Gradient<T> d{dy, dy2, x, saved, dx, dh, scale, shift, centre, by_x, constant, W, activation, dh && saved};
    in_threads(threads, [&](int n) {
        double* sums = work.cleared(n);
        upwards(work.rows(n), work.tile,
                [=](int64_t from, int64_t to, int64_t next) { add_gradients<T, K>(d, sums, from, to, next); });
    });
    for (int64_t c = 0; c < C; ++c) {
        double sum = 0, product = 0;
        work.total(c, sum, product);
        dbeta[c] = (float)sum;
        dgamma[c] = (float)(product * inverse_std[c]);
        double slope = -(double)scale[c] * inverse_std[c] * inverse_std[c] * product / M;
        for (int64_t f = c; f < W; f += C) {
            by_x[f] = (float)slope;
            constant[f] = (float)(-scale[c] * sum / M - slope * mean[c]);
        }
    }
    in_threads(threads, [&](int n) {
        downwards(work.rows(n), work.tile,
                  [=](int64_t from, int64_t to, int64_t next) { input_gradient<T, K, past_cache>(d, from, to, next); });
    });
}

// Call with a number of the type that memory holds, how many vectors are taken at a time, and whether y is written
// past the cache.
template <class T, class Call> void dispatch(const T* out, int64_t M, int64_t C, Call call) {
    using many = std::integral_constant<int, MANY>;
    using one = std::integral_constant<int, 1>;
    if (folded(M, C, WIDE).channels % WIDE != 0) call(T(), one(), std::false_type());
    else if (streams(out, M * C)) call(T(), many(), std::true_type());
    else call(T(), many(), std::false_type());
}
template <class Call> void dispatch(bool half, const void* out, int64_t M, int64_t C, Call call) {
    if (half) dispatch((const bfloat16*)out, M, C, call);
    else dispatch((const float*)out, M, C, call);
}

}   // namespace

// Each takes float, or bfloat16 where `half`. `statistics` are C means, then C inverse standard deviations; `batches`
// counts what the running statistics have seen.
extern "C" void bn_forward(const void* x, const void* h, void* y, const float* gamma, const float* beta,
                           float* running_mean, float* running_var, int64_t* batches, float momentum, float eps,
                           float* statistics, int64_t M, int64_t C, int activation, int half, int threads,
                           double* work) {
    ++*batches;
    dispatch(half, y, M, C, [&](auto one, auto k, auto past_cache) {
        typedef decltype(one) T;
        forward<T, k.value, past_cache.value>((const T*)x, (const T*)h, (T*)y, gamma, beta, running_mean, running_var,
                                              momentum, eps, statistics, statistics + C, M, C, activation, threads,
                                              work);
    });
}
extern "C" void bn_apply(const void* x, const void* h, void* y, const float* gamma, const float* beta,
                         const float* mean, const float* variance, float eps, int64_t M, int64_t C, int activation,
                         int half, int threads, double* work) {
    dispatch(half, y, M, C, [&](auto one, auto k, auto past_cache) {
        typedef decltype(one) T;
        apply<T, k.value, past_cache.value>((const T*)x, (const T*)h, (T*)y, gamma, beta, mean, variance, eps, M, C,
                                            activation, threads, work);
    });
}
extern "C" void bn_backward(const void* dy, const void* dy2, const void* x, const void* saved, void* dx, void* dh,
                            const float* gamma, const float* beta, const float* statistics, float* dgamma, float* dbeta,
                            int64_t M, int64_t C, int activation, int half, int threads, double* work) {
    dispatch(half, dx, M, C, [&](auto one, auto k, auto past_cache) {
        typedef decltype(one) T;
        backward<T, k.value, past_cache.value>((const T*)dy, (const T*)dy2, (const T*)x, (const T*)saved, (T*)dx,
                                               (T*)dh, gamma, beta, statistics, statistics + C, dgamma, dbeta, M, C,
                                               activation, threads, work);
    });
}
