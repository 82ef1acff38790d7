// ReLU and GELU of some numbers at a time, and their gradients; activation.py has their numbers.

#pragma once
#include "floats.hpp"

namespace {

enum Activation { NONE, RELU, GELU };

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
inline Floats activated(Floats z, int activation) {
    if (activation == RELU) return where(~(z <= 0), z);   // a NaN stays one
    return activation == GELU ? where(~(z <= -EDGE), z * half_and(DISTRIBUTION, z)) : z;
}
// The gradient by z from that by act(z).
inline Floats passed_back(Floats g, Floats z, int activation) {
    return activation == GELU ? g * half_and(DERIVATIVE, z) : where(z > 0, g);
}

}   // namespace
