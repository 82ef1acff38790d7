// Crops of small pictures, mirrored or not, and normalised: what a training step reads, in one sweep.
//
// Letters: B crops of pictures of S x S pixels, three bytes each; table[value][channel] is what a byte becomes. A hole
// is a square of a crop, given by its top and left, that is zero; its edges may lie outside.

#include "threads.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace {

// The pixel at a place beyond the picture's edges, as in a mirror: the edge itself is not repeated.
inline int64_t reflected(int64_t at, int64_t S) {
    if (S == 1) return 0;
    at = std::abs(at) % (2 * S - 2);
    return at < S ? at : 2 * S - 2 - at;
}

}   // namespace

// shifts: B times how many pixels a crop begins below the picture's top and right of its left, or, negative, outside.
extern "C" void crops(const uint8_t* images, const int64_t* rows, const int64_t* shifts, const uint8_t* mirrored,
                      const float* table, const int64_t* holes, float* out, int64_t B, int64_t S, int64_t hole,
                      int reflects, int threads) {
    for_each(B, threads, [=](int64_t b) {
        int64_t down = shifts[2 * b], right = shifts[2 * b + 1], step = mirrored[b] ? -1 : 1;
        for (int64_t y = 0; y < S; ++y) {
            float* to = out + (b * S + y) * S * 3;
            int64_t from = reflects ? reflected(y + down, S) : y + down, at = (mirrored[b] ? S - 1 : 0) + right;
            if (from < 0 || from >= S) {
                std::memset(to, 0, S * 3 * sizeof(float));
                continue;
            }
            const uint8_t* row = images + (rows[b] * S + from) * S * 3;
            for (int64_t x = 0; x < S; ++x, at += step, to += 3) {
                bool is_inside = at >= 0 && at < S;
                int64_t pixel = is_inside || !reflects ? at : reflected(at, S);
                for (int c = 0; c < 3; ++c) to[c] = is_inside || reflects ? table[3 * row[3 * pixel + c] + c] : 0.0f;
            }
            if (!holes || y < holes[2 * b] || y >= holes[2 * b] + hole) continue;
            int64_t first = std::max<int64_t>(0, holes[2 * b + 1]), end = std::min(S, holes[2 * b + 1] + hole);
            std::fill(to + 3 * (first - S), to + 3 * (std::max(first, end) - S), 0.0f);
        }
    });
}
