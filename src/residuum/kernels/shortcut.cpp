// Option A's shortcut where the shape changes, and its gradient: every stride-th pixel, zero channels around its own.
//
// Pixels are handled in chunks of 32 bytes, whatever numbers these hold. One sweep writes each tensor, zeros included.
//
// Letters: B pictures, H rows, W columns of x; OH, OW of y; a pixel of x is C chunks, one of y D, the first F zero.

#include "threads.hpp"

#include <cstring>

namespace {

typedef uint32_t Chunk __attribute__((vector_size(32)));

inline void copy(const char* from, char* to, int64_t chunks) {
    for (int64_t i = 0; i < 32 * chunks; i += 32) {
        Chunk c;
        std::memcpy(&c, from + i, 32);
        std::memcpy(to + i, &c, 32);
    }
}
inline void clear(char* to, int64_t chunks) {
    for (int64_t i = 0; i < 32 * chunks; i += 32) {
        Chunk c = {};
        std::memcpy(to + i, &c, 32);
    }
}

}   // namespace

extern "C" void shortcut(const char* x, char* y, int64_t B, int64_t H, int64_t W, int64_t C, int64_t OH, int64_t OW,
                         int64_t D, int64_t F, int64_t stride, int threads) {
    for_each(B * OH, threads, [=](int64_t row) {
        const char* from = x + (row / OH * H + row % OH * stride) * W * C * 32;
        char* to = y + row * OW * D * 32;
        for (int64_t i = 0; i < OW; ++i, from += stride * C * 32, to += D * 32) {
            clear(to, F);
            copy(from, to + F * 32, C);
            clear(to + (F + C) * 32, D - F - C);
        }
    });
}

extern "C" void shortcut_gradient(const char* dy, char* dx, int64_t B, int64_t H, int64_t W, int64_t C, int64_t OH,
                                  int64_t OW, int64_t D, int64_t F, int64_t stride, int threads) {
    for_each(B * H, threads, [=](int64_t row) {
        int64_t picture = row / H, y = row % H;
        char* to = dx + row * W * C * 32;
        if (y % stride) {
            clear(to, W * C);
            return;
        }
        const char* from = dy + ((picture * OH + y / stride) * OW * D + F) * 32;
        for (int64_t i = 0; i < W; i += stride, from += D * 32, to += stride * C * 32) {
            copy(from, to, C);
            clear(to + C * 32, ((i + stride < W ? stride : W - i) - 1) * C);
        }
    });
}
