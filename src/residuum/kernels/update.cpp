// The parts of Muon's update that touch every weight: one sweep over memory each, where separate operations take
// several.
//
// Letters: w weights, g gradient, v momentum, d direction, o the orthogonal matrix to move by; n numbers in each.

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

// w = scale w - rate o.
extern "C" void muon_move(float* w, const bfloat16* o, float scale, float rate, int64_t n, int threads) {
    for_each(n, n > SMALLEST_SHARE ? threads : 1, [=](int64_t i) { w[i] = scale * w[i] - rate * number(o[i]); });
}
