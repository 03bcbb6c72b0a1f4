// What networks are made of, on panels: feature i of token t of panel p at z[p · 32 features + 32 i + t].
#pragma once
#include "activations.h"
#include "product.h"
#include "updates.h"

// z = φ(add + scale · value + bias_scale · bias), with φ' beside it where φ needs it for its gradient.
template <class Act>
struct Forward {
  enum { heavy = Act::LONG, panels = 1 };
  float *z, *slope;
  long panel;
  float scale;
  const float *bias;
  float bias_scale;
  const float *add;
  INLINE void prefetch(long, long, long) const {}
  INLINE void operator()(long i, long j, V value, long) const {
    const long at = j / PANEL * panel + i * PANEL + j % PANEL;
    V a = value * scale, d;
    if (bias) a = a + bias[i] * bias_scale;
    if (add) a = a + load(add + at);
    store(z + at, Act::value(a, d));
    if (Act::SLOPE) store(slope + at, d);
  }
};

// d (+)= φ'(…) · scale · value
template <class Act>
struct Backward {
  enum { heavy = 0, panels = 1 };
  float *d;
  const float *kept;
  long panel;
  float scale;
  bool add;
  INLINE void prefetch(long, long, long) const {}
  INLINE void operator()(long i, long j, V value, long) const {
    const long at = j / PANEL * panel + i * PANEL + j % PANEL;
    V a = value * scale;
    if (kept) a = Act::back(a, load(kept + at));
    store(d + at, add ? load(d + at) + a : a);
  }
};

// A step of the optimizer with scale · value as gradient.
template <class Rule>
struct Step {
  enum { heavy = 1, panels = 0 };
  Tensor tensor;
  Update update;
  long columns;
  float scale;
  INLINE void prefetch(long i, long count, long j) const {
    for (long r = 0; r < count; r++)
      for (int q = 0; q < 2 * VW; q += 16) Rule::prefetch(tensor, (i + r) * columns + j + q);
  }
  INLINE void operator()(long i, long j, V value, long n) const {
    if (n > 0) Rule::step(tensor, update, i * columns + j, value * scale, n);
  }
};

static Depth whole(long length) { return {1, length, nullptr, 0}; }

// y = φ(gain · (h − mean) / deviation) over `size` features; RMS: without the mean. saved: mean, 1/deviation.
template <class Act, bool CENTERED>
static void normalize(const float *h, float *y, float *slope, float *saved, const float *gain, float gain_scale, long size) {
  V mean[PARTS], inverse[PARTS], square[PARTS];
  for (int q = 0; q < PARTS; q++) mean[q] = square[q] = (V){};
  if (CENTERED) {
    for (long i = 0; i < size; i++)
      for (int q = 0; q < PARTS; q++) mean[q] += load(h + i * PANEL + q * VW);
    for (int q = 0; q < PARTS; q++) mean[q] *= 1.f / size;
  }
  for (long i = 0; i < size; i++)
    for (int q = 0; q < PARTS; q++) {
      V c = load(h + i * PANEL + q * VW) - mean[q];
      square[q] = fma(c, c, square[q]);
    }
  for (int q = 0; q < PARTS; q++) {
    V variance = fma(square[q], 1.f / size, 1e-5f);
    // One that overflows would make the result 0 and hide that the network has diverged.
    inverse[q] = choose(variance < INFINITY, 1.f / root(variance), all(NAN));
    store(saved + q * VW, mean[q]);
    store(saved + PANEL + q * VW, inverse[q]);
  }
  for (long i = 0; i < size; i++) {
    const float g = gain ? gain[i] * gain_scale : 1.f;
    for (int q = 0; q < PARTS; q++) {
      const long at = i * PANEL + q * VW;
      V d;
      store(y + at, Act::value((load(h + at) - mean[q]) * inverse[q] * g, d));
      if (Act::SLOPE) store(slope + at, d);
    }
  }
}

// d (+)= the gradient with respect to h; gains[i] += Σ_tokens dy · (h − mean) / deviation where gains are trained.
template <bool CENTERED>
static void normalize_back(const float *dy, const float *h, const float *saved, const float *gain, float gain_scale, float *d,
                           bool add, float *gains, long size) {
  V mean[PARTS], inverse[PARTS], a[PARTS], b[PARTS];
  for (int q = 0; q < PARTS; q++) {
    mean[q] = load(saved + q * VW);
    inverse[q] = load(saved + PANEL + q * VW);
    a[q] = b[q] = (V){};
  }
  for (long i = 0; i < size; i++) {
    const float g = gain ? gain[i] * gain_scale : 1.f;
    V t[PARTS];
    for (int q = 0; q < PARTS; q++) {
      V y = load(dy + i * PANEL + q * VW), x = (load(h + i * PANEL + q * VW) - mean[q]) * inverse[q];
      t[q] = y * x;
      if (CENTERED) a[q] = fma(y, g, a[q]);
      b[q] = fma(t[q], g, b[q]);
    }
    if (gains) gains[i] += sum(t);
  }
  for (int q = 0; q < PARTS; q++) {
    a[q] *= 1.f / size;
    b[q] *= 1.f / size;
  }
  for (long i = 0; i < size; i++) {
    const float g = gain ? gain[i] * gain_scale : 1.f;
    for (int q = 0; q < PARTS; q++) {
      const long at = i * PANEL + q * VW;
      V x = (load(h + at) - mean[q]) * inverse[q], u = load(dy + at) * g;
      if (CENTERED) u = u - a[q];
      u = fma(-x, b[q], u) * inverse[q];
      store(d + at, add ? load(d + at) + u : u);
    }
  }
}

// Causal attention of one head in one sequence, `size` features a head. q, k, v, out: first panel of the sequence, whose
// next panels follow at `step` (qkv) and `out_step`. weights: softmax, [query panel][key][32 queries], panels · 1024
// numbers a query panel. counts: tokens of each panel.
struct Head {
  const float *q, *k, *v;
  long step, out_step, size, panels;
  const int64_t *counts;
  float scale;
};

// Softmax over the keys 0 … keys of 32 queries, in place; `own`: the first key of the queries' own panel.
static void softmax(float *s, long own) {
  V top[PARTS], total[PARTS];
  const long keys = own + PANEL;
  for (int q = 0; q < PARTS; q++) {
    I query;
    for (int i = 0; i < VW; i++) query[i] = q * VW + i;
    top[q] = all(-INFINITY);
    total[q] = (V){};
    for (long c = 0; c < keys; c++) {
      float *at = s + c * PANEL + q * VW;
      V x = load(at);
      if (c > own) store(at, x = choose(query < (int32_t)(c - own), all(-INFINITY), x));
      top[q] = choose(x <= top[q], top[q], x);
    }
    for (long c = 0; c < keys; c++) {
      float *at = s + c * PANEL + q * VW;
      V e = exponential(load(at) - top[q]);
      store(at, e);
      total[q] += e;
    }
    V r = 1.f / total[q];
    for (long c = 0; c < keys; c++) {
      float *at = s + c * PANEL + q * VW;
      store(at, load(at) * r);
    }
  }
}

static Forward<Identity> plain(float *z, long panel, float scale) { return {z, nullptr, panel, scale, nullptr, 0, nullptr}; }
static Backward<Identity> plain_back(float *z, long panel, float scale) { return {z, nullptr, panel, scale, false}; }

static void attend(const Head &head, float *weights, float *out) {
  for (long j = 0; j < head.panels; j++) {
    float *s = weights + j * head.panels * PANEL * PANEL;
    for (long c = 0; c <= j; c++)
      product<true>(PANEL, PANEL, whole(head.size), Left{head.k + c * head.step, PANEL}, head.q + j * head.step, 0,
                    plain(s + c * PANEL * PANEL, 0, head.scale));
    softmax(s, j * PANEL);
    product<false>(head.size, PANEL, Depth{j + 1, PANEL, head.counts, head.step}, Left{head.v, PANEL}, s, 0,
                   plain_back(out + j * head.out_step, 0, 1.f));
  }
}

// Gradients of q, k, v (layout of qkv) from that of the result. scratch: 3 · (32 panels)² numbers.
static void attend_back(const Head &head, const float *weights, const float *d_out, float *dq, float *dk, float *dv,
                        float *scratch) {
  const long block = PANEL * PANEL, row = head.panels * block;
  float *ds = scratch, *turned = ds + head.panels * row, *d_turned = turned + head.panels * row;
  for (long j = 0; j < head.panels; j++) {
    const float *s = weights + j * row;
    float *d = ds + j * row;
    for (long c = 0; c <= j; c++)
      product<true>(PANEL, PANEL, whole(head.size), Left{head.v + c * head.step, PANEL}, d_out + j * head.out_step, 0,
                    plain(d + c * block, 0, 1.f));
    const long keys = (j + 1) * PANEL;
    for (int q = 0; q < PARTS; q++) {
      V dot = {};
      for (long c = 0; c < keys; c++) dot = fma(load(s + c * PANEL + q * VW), load(d + c * PANEL + q * VW), dot);
      for (long c = 0; c < keys; c++) {
        float *at = d + c * PANEL + q * VW;
        store(at, load(s + c * PANEL + q * VW) * (load(at) - dot) * head.scale);
      }
    }
    product<false>(head.size, PANEL, Depth{j + 1, PANEL, head.counts, head.step}, Left{head.k, PANEL}, d, 0,
                   plain_back(dq + j * head.step, 0, 1.f));
    for (long c = 0; c <= j; c++) {  // [key panel][query][32 keys]
      transpose(s + c * block, PANEL, turned + c * row + j * block, PANEL, PANEL);
      transpose(d + c * block, PANEL, d_turned + c * row + j * block, PANEL, PANEL);
    }
  }
  for (long c = 0; c < head.panels; c++) {  // keys of panel c are seen by queries from panel c on
    const Depth later{head.panels - c, PANEL, head.counts + c, head.step},
        out{head.panels - c, PANEL, head.counts + c, head.out_step};
    product<false>(head.size, PANEL, out, Left{d_out + c * head.out_step, PANEL}, turned + c * row + c * block, 0,
                   plain_back(dv + c * head.step, 0, 1.f));
    product<false>(head.size, PANEL, later, Left{head.q + c * head.step, PANEL}, d_turned + c * row + c * block, 0,
                   plain_back(dk + c * head.step, 0, 1.f));
  }
}

// Mean over all tokens of −log softmax(f)[y] + z_loss · log² Z, and its gradient; padding gets gradient 0.
static float cross_entropy(const float *f, const int32_t *y, float *d, long outputs, long panels, const int64_t *counts,
                           long tokens, float z_loss) {
  V loss[PARTS];
  for (int q = 0; q < PARTS; q++) loss[q] = (V){};
  for (long p = 0; p < panels; p++, f += outputs * PANEL, d += outputs * PANEL, y += PANEL)
    for (int q = 0; q < PARTS; q++) {
      const long n = counts[p] - q * VW;
      const float *F = f + q * VW;
      float *D = d + q * VW;
      V top = load(F), total = {}, right = {}, one = {};
      for (long k = 1; k < outputs; k++) {
        V x = load(F + k * PANEL);
        top = choose(x <= top, top, x);
      }
      for (long k = 0; k < outputs; k++) {
        V e = exponential(load(F + k * PANEL) - top);
        store(D + k * PANEL, e);
        total += e;
      }
      for (int i = 0; i < VW; i++)
        if (i < n) {
          right[i] = F[y[q * VW + i] * PANEL + i];
          one[i] = 1.f;
        }
      I real = one > 0.f;
      V log_total = logarithm(total), log_z = log_total + top, r = 1.f / ((float)tokens * total);
      V each = log_total + (top - right);
      if (z_loss != 0.f) {
        each = fma(log_z * log_z, z_loss, each);
        r = r * fma(log_z, 2.f * z_loss, 1.f);
      }
      loss[q] += choose(real, each, (V){});
      for (long k = 0; k < outputs; k++) store(D + k * PANEL, choose(real, load(D + k * PANEL) * r, (V){}));
      for (int i = 0; i < VW; i++)
        if (i < n) D[y[q * VW + i] * PANEL + i] -= 1.f / tokens;
    }
  return sum(loss) / tokens;
}

// Mean over all tokens of ½‖f − y‖², and its gradient; y in panels as f.
static float squared_error(const float *f, const float *y, float *d, long outputs, long panels, const int64_t *counts,
                           long tokens) {
  V loss[PARTS];
  for (int q = 0; q < PARTS; q++) loss[q] = (V){};
  for (long p = 0; p < panels; p++)
    for (long k = 0; k < outputs; k++)
      for (int q = 0; q < PARTS; q++) {
        const long at = (p * outputs + k) * PANEL + q * VW;
        V one = {};
        for (int i = 0; i < VW; i++) one[i] = q * VW + i < counts[p];
        V r = choose(one > 0.f, load(f + at) - load(y + at), (V){});
        loss[q] = fma(r, r, loss[q]);
        store(d + at, r * (1.f / tokens));
      }
  return 0.5f * sum(loss) / tokens;
}
