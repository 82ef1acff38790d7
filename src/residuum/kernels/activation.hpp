// ReLU and GELU of some numbers at a time, and their gradients; activation.py has their numbers.

#pragma once
#include "floats.hpp"

namespace {

enum Activation { NONE, RELU, GELU, EXACT_GELU };

// GELU(z) = z Phi(z), Phi being the normal distribution (Hendrycks and Gimpel 2016). Up to EDGE, Phi(z) - 1/2 is z
// times a polynomial in z^2, and so is the derivative less 1/2; beyond it both are 0 or 1. The polynomials have the
// least largest error under the condition that they meet at EDGE: 2e-4 in GELU, 1.2e-3 in its derivative, what bfloat16
// rounds away.
constexpr float EDGE = 4;
constexpr float DISTRIBUTION[] = {0.3979294f,      -0.0646136254f,   0.00878477562f, -0.000815762673f,
                                  4.80769013e-05f, -1.60249454e-06f, 2.28237642e-08f};
constexpr float DERIVATIVE[] = {0.793151438f,    -0.253308713f,    0.0498460606f,  -0.00584442029f,
                                0.000402376754f, -1.49350371e-05f, 2.29674583e-07f};
inline Floats half_and(const float* coefficients, Floats z) {
    Floats t = z > EDGE ? EDGE + Floats{} : z;
    t = t < -EDGE ? -EDGE + Floats{} : t;
    Floats u = t * t, sum = coefficients[6] + Floats{};
    for (int i = 5; i >= 0; --i) sum = sum * u + coefficients[i];
    return t * sum + 0.5f;
}

// e^v for v <= 0: 2^n by its bits, the rest by Taylor's polynomial, its coefficients moved to halve the error.
inline Floats exponential(Floats v) {
    constexpr float SHIFT = 12582912;   // 1.5 * 2^23: added, it leaves whole numbers in the last bits
    v = v > -87 ? v : -87 + Floats{};
    Floats shifted = v * 1.44269504f + SHIFT, n = shifted - SHIFT, r = v - n * 0.693359375f + n * 2.12194440e-4f;
    Floats sum =
        ((((1.98756915e-4f * r + 1.39819995e-3f) * r + 8.33345191e-3f) * r + 4.16657959e-2f) * r + 1.66666655e-1f) * r +
        0.5f;
    Ints power = ((Ints)shifted + 127) << 23;
    return (sum * r * r + r + 1) * (Floats)power;
}
// Phi(z) to 1e-7 (Abramowitz and Stegun 1964, 7.1.26), and e^(-z^2/2), which it is made of and its derivative has.
struct Normal { Floats distribution, bell; };
inline Normal normal(Floats z) {
    Floats size = z < 0 ? -z : z, t = 1 / (1 + 0.231641888f * size), bell = exponential(-0.5f * z * z);
    Floats tail =
        ((((0.530702714f * t - 0.726576013f) * t + 0.710706871f) * t - 0.142248368f) * t + 0.127414796f) * t * bell;
    return {z < 0 ? tail : 1 - tail, bell};
}

inline Floats activated(Floats z, int activation) {
    if (activation == RELU) return where(~(z <= 0), z);   // a NaN stays one
    if (activation == GELU) return where(~(z <= -EDGE), z * half_and(DISTRIBUTION, z));
    return activation == EXACT_GELU ? where(~(z <= -14), z * normal(z).distribution) : z;
}
// The gradient by z from that by act(z).
inline Floats passed_back(Floats g, Floats z, int activation) {
    if (activation == GELU) return g * half_and(DERIVATIVE, z);
    if (activation != EXACT_GELU) return where(z > 0, g);
    Normal n = normal(z);
    return g * (n.distribution + where(~(z <= -14 | z >= 14), z * n.bell) * 0.398942280f);
}

}   // namespace
