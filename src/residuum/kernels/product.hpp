// Products of float32 matrices for convolutions of our own: some rows by one block of 16 columns, held in registers.

#pragma once
#include "floats.hpp"

namespace {

constexpr int ROWS = LANES == 16 ? 12 : 6;   // with as many sums as registers hold beside what is multiplied
constexpr int64_t BLOCK = 16;                // columns
constexpr int PARTS = BLOCK / LANES;

// Matrices in memory: numbers from one row to the next, and from one of the numbers that are added up to the next.
struct Left {
    const float* at;
    int64_t row, step;
};
struct Right {
    const float* at;
    int64_t step;
};
struct Sums {
    float* at;
    int64_t row;
};

// c = a b, or c += a b: R rows, 16 columns, so many numbers added up.
template <int R, bool adds> inline void product(Left a, Right b, int64_t steps, Sums c) {
    Floats sums[R][PARTS];
    for (int r = 0; r < R; ++r)
        for (int p = 0; p < PARTS; ++p) sums[r][p] = adds ? load(c.at + r * c.row + p * LANES) : Floats{};
    for (int64_t k = 0; k < steps; ++k, a.at += a.step, b.at += b.step) {
        Floats columns[PARTS];
        for (int p = 0; p < PARTS; ++p) columns[p] = load(b.at + p * LANES);
        for (int r = 0; r < R; ++r)
            for (int p = 0; p < PARTS; ++p) sums[r][p] += a.at[r * a.row] * columns[p];
    }
    for (int r = 0; r < R; ++r)
        for (int p = 0; p < PARTS; ++p) store(c.at + r * c.row + p * LANES, sums[r][p]);
}

// The same for up to ROWS rows.
template <bool adds, int R = ROWS> inline void some_rows(int64_t rows, Left a, Right b, int64_t steps, Sums c) {
    if constexpr (R == 1) product<1, adds>(a, b, steps, c);
    else if (rows == R) product<R, adds>(a, b, steps, c);
    else some_rows<adds, R - 1>(rows, a, b, steps, c);
}

// The same for any number of rows, divided evenly.
template <bool adds> inline void product(int64_t rows, Left a, Right b, int64_t steps, Sums c) {
    int64_t times = (rows + ROWS - 1) / ROWS;
    for (int64_t n = 0; n < times; ++n) {
        int64_t from = rows * n / times, to = rows * (n + 1) / times;
        some_rows<adds>(to - from, {a.at + from * a.row, a.row, a.step}, b, steps, {c.at + from * c.row, c.row});
    }
}

}   // namespace
