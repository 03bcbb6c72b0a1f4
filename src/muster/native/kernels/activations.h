// Activations: value(z, slope) is φ(z). `back` multiplies a gradient by φ', from what was kept: φ(z) itself, or the slope
// where SLOPE says that φ(z) is not enough. NaN and infinity pass through as they do in torch.
#pragma once
#include "simd.h"

struct Identity {
  enum { SLOPE = 0, LONG = 0 };
  static INLINE V value(V z, V &) { return z; }
  static INLINE V back(V grad, V) { return grad; }
};

struct Relu {
  enum { SLOPE = 0, LONG = 0 };
  static INLINE V value(V z, V &) { return choose(z < 0.f, (V){}, z); }
  static INLINE V back(V grad, V h) { return choose(h <= 0.f, (V){}, grad); }
};

// Near 0 Cephes' odd polynomial, else 1 − 2 / (exp(2|z|) + 1) with the sign of z.
struct Tanh {
  enum { SLOPE = 0, LONG = 1 };
  static INLINE V value(V z, V &) {
    V size = absolute(z), square = z * z;
    V p = fma(square, -5.70498872745e-3f, 2.06390887954e-2f);
    p = fma(p, square, -5.37397155531e-2f);
    p = fma(p, square, 1.33314422036e-1f);
    p = fma(p, square, -3.33332819422e-1f);
    V near = fma(p * square, z, z), far = 1.f - 2.f / (exponential(size + size) + 1.f);
    far = (V)((I)far | ((I)z & (int32_t)0x80000000));
    return choose(size > 0.625f, far, near);
  }
  static INLINE V back(V grad, V h) { return grad * fma(-h, h, 1.f); }
};

// z Φ(z), with the normal distribution's Φ from Abramowitz & Stegun 7.1.26: off by less than 0.8e-7.
struct Gelu {
  enum { SLOPE = 1, LONG = 1 };
  static INLINE V value(V z, V &slope) {
    V x = z * 0.70710678118654752f, t = 1.f / fma(absolute(x), 0.3275911f, 1.f), e = exponential(-x * x);
    V p = fma(t, 1.061405429f, -1.453152027f);
    p = fma(p, t, 1.421413741f);
    p = fma(p, t, -0.284496736f);
    p = fma(p, t, 0.254829592f);
    V tail = p * t * e * 0.5f, phi = choose(x > 0.f, 1.f - tail, tail);
    slope = fma(z * e, 0.3989422804014327f, phi);
    return z * phi;
  }
  static INLINE V back(V grad, V slope) { return grad * slope; }
};

struct ReluSquared {
  enum { SLOPE = 1, LONG = 0 };
  static INLINE V value(V z, V &slope) {
    V h = choose(z < 0.f, (V){}, z);
    slope = h + h;
    return h * h;
  }
  static INLINE V back(V grad, V slope) { return grad * slope; }
};

// The numbers that `muster.native.graph` gives them; call(Activation{}) with the one that is meant.
template <class Call>
static INLINE void with_activation(int64_t number, const Call &call) {
  switch (number) {
    case 1: return call(Relu{});
    case 2: return call(Tanh{});
    case 3: return call(Gelu{});
    case 4: return call(ReluSquared{});
    default: return call(Identity{});
  }
}
// The same for gradients alone, where all that keep a slope are one.
template <class Call>
static INLINE void with_slope(int64_t number, const Call &call) {
  switch (number) {
    case 0: return call(Identity{});
    case 1: return call(Relu{});
    case 2: return call(Tanh{});
    default: return call(Gelu{});
  }
}
