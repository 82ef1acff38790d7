// The parts of Muon's and LAMB's updates that touch every weight: one sweep over memory each, where separate operations
// take several.
//
// Letters: w weights, g gradient, v momentum, d direction, o the orthogonal matrix to move by; a the average of
// gradients, s that of their squares; n numbers in each.

#include <cmath>

#include "floats.hpp"
#include "threads.hpp"

namespace {

inline uint16_t rounded(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (value != value) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);   // to the nearest bfloat16, ties to even
}
constexpr int64_t SMALLEST_SHARE = 16384;   // fewer numbers than this are not worth a second thread

}   // namespace

// v = m v + g; d = g + m v, rounded to bfloat16 (Nesterov's momentum).
extern "C" void muon_direction(const float* g, float* v, uint16_t* d, float m, int64_t n, int threads) {
    for_each(n, n > SMALLEST_SHARE ? threads : 1, [=](int64_t i) {
        float now = m * v[i] + g[i];
        v[i] = now;
        d[i] = rounded(g[i] + m * now);
    });
}

// a += b (g' - a), s += c (g'^2 - s) with g' = shorter g; then g = a by / (sqrt(s) by_root + least) + decay w.
extern "C" void lamb_direction(const float* w, float* g, float* a, float* s, float shorter, float b, float c, float by,
                               float by_root, float least, float decay, int64_t n, int threads) {
    for_each(n, n > SMALLEST_SHARE ? threads : 1, [=](int64_t i) {
        float now = shorter * g[i];
        float average = a[i] + b * (now - a[i]), square = s[i] + c * (now * now - s[i]);
        a[i] = average;
        s[i] = square;
        g[i] = average * by / (std::sqrt(square) * by_root + least) + decay * w[i];
    });
}

// w = scale w - rate o.
extern "C" void muon_move(float* w, const bfloat16* o, float scale, float rate, int64_t n, int threads) {
    for_each(n, n > SMALLEST_SHARE ? threads : 1, [=](int64_t i) { w[i] = scale * w[i] - rate * number(o[i]); });
}
