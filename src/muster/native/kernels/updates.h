// Optimizer rules, applied to a tile of a weight's gradient while it is still in registers.
#pragma once
#include "simd.h"

// Numbers of one step and tensor, made in float64 by the optimizer's `updates` in Python.
// rate: learning rate (over Adam's 1 − β1^t). root: 1/√(1 − β2^t). couple: weight decay added to the gradient.
// keep: factor on the weight before the step. gain: 1 − β, rounded once.
struct Update {
  float rate, root, epsilon, couple, keep, beta1, gain1, beta2, gain2;
};

// One member's tensor: weight, optimizer state, and where its gradient is asked for.
struct Tensor {
  float *w, *s1, *s2, *g;
};

struct Gradient {  // the gradient itself is the result
  static INLINE void step(const Tensor &t, const Update &, long at, V g, long n) { store(t.g + at, g, n); }
  static INLINE void prefetch(const Tensor &t, long at) { __builtin_prefetch(t.g + at, 1); }
};

struct Sgd {
  static INLINE void step(const Tensor &t, const Update &u, long at, V g, long n) {
    V w = load(t.w + at, n);
    g = fma(w, u.couple, g);
    store(t.w + at, fma(g, -u.rate, w), n);
  }
  static INLINE void prefetch(const Tensor &t, long at) { __builtin_prefetch(t.w + at, 1); }
};

struct Momentum {  // s1 is the buffer, β1 the heavy-ball coefficient
  static INLINE void step(const Tensor &t, const Update &u, long at, V g, long n) {
    V w = load(t.w + at, n);
    g = fma(w, u.couple, g);
    V m = fma(load(t.s1 + at, n), u.beta1, g);
    store(t.s1 + at, m, n);
    store(t.w + at, fma(m, -u.rate, w), n);
  }
  static INLINE void prefetch(const Tensor &t, long at) {
    __builtin_prefetch(t.w + at, 1);
    __builtin_prefetch(t.s1 + at, 1);
  }
};

struct Adam {  // coupled decay in `couple`, decoupled in `keep`
  static INLINE void step(const Tensor &t, const Update &u, long at, V g, long n) {
    V w = load(t.w + at, n), m = load(t.s1 + at, n), v = load(t.s2 + at, n);
    g = fma(w, u.couple, g);
    m = fma(g - m, u.gain1, m);
    v = fma(g * u.gain2, g, v * u.beta2);
    store(t.s1 + at, m, n);
    store(t.s2 + at, v, n);
    store(t.w + at, w * u.keep - u.rate * m / fma(root(v), u.root, u.epsilon), n);
  }
  static INLINE void prefetch(const Tensor &t, long at) {
    __builtin_prefetch(t.w + at, 1);
    __builtin_prefetch(t.s1 + at, 1);
    __builtin_prefetch(t.s2 + at, 1);
  }
};

// The numbers that `muster.native.binding` gives the rules; call(Rule{}) with the one that is meant.
template <class Call>
static INLINE void with_rule(int64_t number, const Call &call) {
  switch (number) {
    case 1: return call(Sgd{});
    case 2: return call(Momentum{});
    case 3: return call(Adam{});
    default: return call(Gradient{});
  }
}

// A step of n numbers in a row: biases, gains, embeddings.
template <class Rule>
static void step_row(const Tensor &t, const Update &u, const float *g, float scale, long n) {
  for (long j = 0; j < n; j += VW) Rule::step(t, u, j, load(g + j, n - j) * scale, n - j);
}
