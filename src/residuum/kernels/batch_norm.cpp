// BN, addition and ReLU or GELU in one pass over memory, forward and backward, for training on a processor.
//
// y = act(z), z = gamma (x - mean) / sqrt(var + eps) + beta + h, with the statistics of the batch (Ioffe and Szegedy 2015,
// algorithm 1); h and act are optional. Tensors are channels-last: M = N*H*W rows of C channels, float or bfloat16;
// sums are kept in float32 for a tile of rows and in float64 beyond it.
//
// A pass that follows a reduction runs backwards over the rows, so that what the reduction read last is still in the cache.
// Work is split by rows, always in the same way, and partial sums are added in the order of the threads: a run repeats bit by bit.

#include "activation.hpp"

#include <cmath>
#include <type_traits>
#include <omp.h>

namespace {

constexpr int TILE_BYTES = 32768;

struct Rows { int64_t first, last; };
inline Rows share(int64_t rows, int thread, int threads) {
    return {rows * thread / threads, rows * (thread + 1) / threads};
}

// Call body(first, last) for tiles of rows, upwards or downwards. A body holds copies of what it uses: what threads share
// would be fetched anew after every store.
template <class Body> inline void upwards(Rows r, int64_t tile, Body body) {
    for (int64_t i = r.first; i < r.last; i += tile) body(i, i + tile < r.last ? i + tile : r.last, tile);
}
template <class Body> inline void downwards(Rows r, int64_t tile, Body body) {
    for (int64_t i = r.last; i > r.first; i -= tile) body(i - tile > r.first ? i - tile : r.first, i, -tile);
}
// Read 16 numbers, and ask for those of the tile that comes next: a processor does not foresee rows read in parts.
template <class T> inline Floats load(const T* from, int64_t next) { __builtin_prefetch(from + next, 0, 2); return load(from); }

// Rows narrower than K vectors are taken several at a time, as one row of more channels; `fold` says how many.
struct Shape { int64_t rows, channels, fold; };
inline Shape folded(int64_t M, int64_t C, int wide) {
    int64_t fold = C < wide && wide % C == 0 && M % (wide / C) == 0 ? wide / C : 1;
    return {M / fold, C * fold, fold};
}

// y = act(a x + b + h), for a tile of rows.
template <class T, int K, bool past_cache>
inline void scaled(const T* x, const T* h, T* y, const float* scale, const float* shift, int64_t W, int activation, int64_t from, int64_t to, int64_t next) {
    for (int64_t c = 0; c < W; c += LANES * K) {
        Floats a[K], b[K];
        for (int k = 0; k < K; ++k) { a[k] = load(scale + c + LANES * k); b[k] = load(shift + c + LANES * k); }
        for (int64_t r = from; r < to; ++r)
            for (int k = 0; k < K; ++k) {
                int64_t at = r * W + c + LANES * k;
                Floats v = a[k] * load(x + at, next * W) + b[k];
                if (h) v += load(h + at, next * W);
                write<past_cache>(y + at, activated(v, activation));
            }
    }
}

// With statistics that are there already: the running ones.
template <class T, int K, bool past_cache>
void apply(const T* x, const T* h, T* y, const float* gamma, const float* beta, const float* mean, const float* variance, float eps,
           int64_t M, int64_t C, int activation, int threads, double* work) {
    Shape s = folded(M, C, 64);
    int64_t W = s.channels, tile = TILE_BYTES / (W * sizeof(T)); if (tile < 1) tile = 1;
    float* scale = (float*)work; float* shift = scale + W;
    for (int64_t f = 0; f < W; ++f) {
        int64_t c = f % C;
        scale[f] = (float)(gamma[c] / std::sqrt((double)variance[c] + eps)); shift[f] = beta[c] - mean[c] * scale[f];
    }
    #pragma omp parallel num_threads(threads)
    upwards(share(s.rows, omp_get_thread_num(), threads), tile, [=](int64_t from, int64_t to, int64_t next) {
        scaled<T, K, past_cache>(x, h, y, scale, shift, W, activation, from, to, next);
    });
}

template <class T, int K, bool past_cache>
void forward(const T* x, const T* h, T* y, const float* gamma, const float* beta, float* running_mean, float* running_var,
             float momentum, float eps, float* mean, float* inverse_std, int64_t M, int64_t C, int activation, int threads, double* work) {
    Shape s = folded(M, C, 64);
    int64_t W = s.channels, tile = TILE_BYTES / (W * sizeof(T)); if (tile < 1) tile = 1;
    double* totals = work;                        // per thread: W sums, W sums of squares
    float* scale = (float*)(work + 2 * W * threads); float* shift = scale + W; float* first = shift + W;
    for (int64_t c = 0; c < W; ++c) {             // sums are taken about the first pixel: no cancellation when mean >> std
        const T* p = x + c % C;
        if constexpr (sizeof(T) == 2) { uint32_t b = (uint32_t)((const bfloat16*)p)->bits << 16; std::memcpy(first + c, &b, 4); }
        else first[c] = *(const float*)p;
    }
    #pragma omp parallel num_threads(threads)
    {
        int me = omp_get_thread_num();
        Rows mine = share(s.rows, me, threads);
        double* sums = totals + 2 * W * me; double* squares = sums + W;
        for (int64_t c = 0; c < 2 * W; ++c) sums[c] = 0;
        upwards(mine, tile, [=](int64_t from, int64_t to, int64_t next) {
            for (int64_t c = 0; c < W; c += LANES * K) {
                Floats sum[K] = {}, square[K] = {}, about[K];
                for (int k = 0; k < K; ++k) about[k] = load(first + c + LANES * k);
                for (int64_t r = from; r < to; ++r)
                    for (int k = 0; k < K; ++k) {
                        Floats v = load(x + r * W + c + LANES * k, next * W) - about[k];
                        sum[k] += v; square[k] += v * v;
                    }
                for (int k = 0; k < K; ++k) for (int l = 0; l < LANES; ++l) {
                    sums[c + LANES * k + l] += sum[k][l]; squares[c + LANES * k + l] += square[k][l];
                }
            }
        });
        #pragma omp barrier
        #pragma omp single
        for (int64_t c = 0; c < C; ++c) {
            double sum = 0, square = 0;
            for (int t = 0; t < threads; ++t) for (int64_t f = c; f < W; f += C) {
                sum += totals[2 * W * t + f]; square += totals[2 * W * t + W + f];
            }
            double centre = sum / M, variance = square / M - centre * centre;
            if (variance < 0) variance = 0;
            mean[c] = (float)(centre + first[c]);
            inverse_std[c] = (float)(1 / std::sqrt(variance + eps));
            running_mean[c] += momentum * (mean[c] - running_mean[c]);
            running_var[c] += momentum * ((float)(variance * M / (M > 1 ? M - 1 : 1)) - running_var[c]);
            for (int64_t f = c; f < W; f += C) {
                scale[f] = gamma[c] * inverse_std[c]; shift[f] = beta[c] - mean[c] * scale[f];
            }
        }
        downwards(mine, tile, [=](int64_t from, int64_t to, int64_t next) {
            scaled<T, K, past_cache>(x, h, y, scale, shift, W, activation, from, to, next);
        });
    }
}

// g = (dy + dy2) act'(z), dy2 being the gradient of a second use of y, if there is one; dx = gamma/std (g - mean(g) - x^ mean(g x^)); dh = g.
// With h, z is not known from x alone: `past` is then what tells it, y for the ReLU, which let through where y > 0, h for GELU.
template <class T, int K, bool past_cache>
void backward(const T* dy, const T* dy2, const T* x, const T* past, T* dx, T* dh, const float* gamma, const float* beta, const float* mean,
              const float* inverse_std, float* dgamma, float* dbeta, int64_t M, int64_t C, int activation, int threads, double* work) {
    Shape s = folded(M, C, 64);
    int64_t W = s.channels, tile = TILE_BYTES / (W * sizeof(T)); if (tile < 1) tile = 1;
    double* totals = work;                        // per thread: W sums of g, W sums of g (x - mean)
    float* scale = (float*)(work + 2 * W * threads); float* shift = scale + W; float* centre = shift + W;
    float* by_x = centre + W; float* constant = by_x + W;
    for (int64_t f = 0; f < W; ++f) {
        int64_t c = f % C;
        scale[f] = gamma[c] * inverse_std[c]; shift[f] = beta[c] - mean[c] * scale[f]; centre[f] = mean[c];
    }
    bool writes = dh && past;                     // then the second sweep finds g there
    #pragma omp parallel num_threads(threads)
    {
        int me = omp_get_thread_num();
        Rows mine = share(s.rows, me, threads);
        double* sums = totals + 2 * W * me; double* products = sums + W;
        for (int64_t c = 0; c < 2 * W; ++c) sums[c] = 0;
        upwards(mine, tile, [=](int64_t from, int64_t to, int64_t next) {
            for (int64_t c = 0; c < W; c += LANES * K) {
                Floats sum[K] = {}, product[K] = {}, a[K], b[K], m[K];
                for (int k = 0; k < K; ++k) {
                    int64_t at = c + LANES * k; a[k] = load(scale + at); b[k] = load(shift + at); m[k] = load(centre + at);
                }
                for (int64_t r = from; r < to; ++r)
                    for (int k = 0; k < K; ++k) {
                        int64_t at = r * W + c + LANES * k;
                        Floats v = load(x + at, next * W), g = load(dy + at, next * W);
                        if (dy2) g += load(dy2 + at, next * W);
                        if (activation == GELU) {
                            Floats z = a[k] * v + b[k];
                            g *= half_and(DERIVATIVE, past ? z + load(past + at, next * W) : z);
                        } else if (past) g = where(load(past + at, next * W) > 0, g);
                        else if (activation == RELU) g = where(a[k] * v + b[k] > 0, g);
                        if (writes) store(dh + at, g);
                        sum[k] += g; product[k] += g * (v - m[k]);
                    }
                for (int k = 0; k < K; ++k) for (int l = 0; l < LANES; ++l) {
                    sums[c + LANES * k + l] += sum[k][l]; products[c + LANES * k + l] += product[k][l];
                }
            }
        });
        #pragma omp barrier
        #pragma omp single
        for (int64_t c = 0; c < C; ++c) {
            double sum = 0, product = 0;
            for (int t = 0; t < threads; ++t) for (int64_t f = c; f < W; f += C) {
                sum += totals[2 * W * t + f]; product += totals[2 * W * t + W + f];
            }
            dbeta[c] = (float)sum; dgamma[c] = (float)(product * inverse_std[c]);
            double slope = -(double)scale[c] * inverse_std[c] * inverse_std[c] * product / M;
            for (int64_t f = c; f < W; f += C) {
                by_x[f] = (float)slope; constant[f] = (float)(-scale[c] * sum / M - slope * mean[c]);
            }
        }
        downwards(mine, tile, [=](int64_t from, int64_t to, int64_t next) {
            for (int64_t c = 0; c < W; c += LANES * K) {
                Floats a[K], b[K], slope[K], offset[K];
                for (int k = 0; k < K; ++k) {
                    int64_t at = c + LANES * k; a[k] = load(scale + at); b[k] = load(shift + at);
                    slope[k] = load(by_x + at); offset[k] = load(constant + at);
                }
                for (int64_t r = from; r < to; ++r)
                    for (int k = 0; k < K; ++k) {
                        int64_t at = r * W + c + LANES * k;
                        Floats v = load(x + at, next * W), g = load((writes ? dh : dy) + at, next * W);
                        if (!writes && dy2) g += load(dy2 + at, next * W);
                        if (!writes && activation == GELU) g *= half_and(DERIVATIVE, a[k] * v + b[k]);
                        else if (!writes && activation == RELU) g = where(a[k] * v + b[k] > 0, g);
                        write<past_cache>(dx + at, a[k] * g + slope[k] * v + offset[k]);
                    }
            }
        });
    }
}

template <class T, class Call> void dispatch(const T* out, int64_t M, int64_t C, Call call) {
    using four = std::integral_constant<int, 4>; using one = std::integral_constant<int, 1>;
    if (folded(M, C, 64).channels % 64 != 0) call(one(), std::false_type());
    else if (streams(out, M * C)) call(four(), std::true_type());
    else call(four(), std::false_type());
}

}  // namespace

// `statistics` are C means, then C inverse standard deviations; `batches` counts what the running statistics have seen.
#define EXPORT(NAME, T) \
extern "C" void bn_forward_##NAME(const void* x, const void* h, void* y, const float* gamma, const float* beta, float* rm, float* rv, \
    int64_t* batches, float momentum, float eps, float* statistics, int64_t M, int64_t C, int activation, int threads, double* work) { \
    ++*batches; \
    dispatch((const T*)y, M, C, [&](auto k, auto big) { forward<T, k.value, big.value>((const T*)x, (const T*)h, (T*)y, gamma, beta, rm, rv, momentum, eps, statistics, statistics + C, M, C, activation, threads, work); }); } \
extern "C" void bn_apply_##NAME(const void* x, const void* h, void* y, const float* gamma, const float* beta, const float* mean, \
    const float* variance, float eps, int64_t M, int64_t C, int activation, int threads, double* work) { \
    dispatch((const T*)y, M, C, [&](auto k, auto big) { apply<T, k.value, big.value>((const T*)x, (const T*)h, (T*)y, gamma, beta, mean, variance, eps, M, C, activation, threads, work); }); } \
extern "C" void bn_backward_##NAME(const void* dy, const void* dy2, const void* x, const void* past, void* dx, void* dh, const float* gamma, const float* beta, \
    const float* statistics, float* dgamma, float* dbeta, int64_t M, int64_t C, int activation, int threads, double* work) { \
    dispatch((const T*)dx, M, C, [&](auto k, auto big) { backward<T, k.value, big.value>((const T*)dy, (const T*)dy2, (const T*)x, (const T*)past, (T*)dx, (T*)dh, gamma, beta, statistics, statistics + C, dgamma, dbeta, M, C, activation, threads, work); }); }

EXPORT(f32, float)
EXPORT(bf16, bfloat16)
