// Steps of one member of a network that is described as a list of operations: see docs/engine.md.
#include "layers.h"

// What multiplies activations with weights; another dtype's source brings its own.
#ifndef LAYER_PRODUCT
#define LAYER_PRODUCT product
#endif

namespace {

// A tensor of activations. value, slope, gradient: where they begin in the scratch memory; −1 where there is none, and the
// value of node 0 is the input itself. The gradient is that before the activation.
struct Node {
  int64_t features, value, slope, gradient, activation;
};

enum Kind { DENSE, NORMALIZE, ACTIVATE, EMBED, HEADS, ATTEND, GATE };

// out = kind(in), see the functions below. add: node added to the result. weight, bias: numbers of tensors, −1 for none.
// turned: the weight is [out, in]. propagate: the gradient of `in` is wanted; accumulate: it has been begun by others.
// saved: scratch memory of its own.
struct Op {
  int64_t kind, in, out, add, weight, bias, turned, accumulate, propagate, saved, heads, centered, rotary;
  double scale, bias_scale;
};

// deferred: where the gradient is gathered, for tensors that get several contributions; −1: stepped at once.
struct Parameter {
  int64_t size, deferred;
};

struct Plan {
  int64_t ops, parameters, output, squared, sequence_panels, turned, small, heads, rotation;
  double z_loss;
  const Node *node;
  const Op *op;
  const Parameter *parameter;
};

struct Batch {
  int64_t panels, tokens;
  const int64_t *counts;  // tokens of each panel
};

// One member at one step.
struct Member {
  const Plan &plan;
  const Batch &batch;
  int64_t rule;
  const Tensor *tensor;
  const Update *update;
  const void *x;
  float *scratch;

  float *at(int64_t place) const { return place < 0 ? nullptr : scratch + place; }
  const float *value(const Node &n) const { return n.value < 0 ? (const float *)x : scratch + n.value; }
  const float *weight(int64_t number) const { return number < 0 ? nullptr : tensor[number].w; }
  // What the activation's gradient is computed from; null where it is the identity.
  const float *kept(const Node &n) const { return n.activation == 0 ? nullptr : n.slope < 0 ? value(n) : at(n.slope); }

  void forward() const {
    for (int64_t i = 0; i < plan.ops; i++) {
      const Op &op = plan.op[i];
      const Node &in = plan.node[op.in], &out = plan.node[op.out];
      switch (op.kind) {
        case DENSE: dense(op, in, out); break;
        case NORMALIZE: norm(op, in, out); break;
        case ACTIVATE: activate(in, out); break;
        case EMBED: embed(op, out); break;
        case HEADS: heads(op, in, out); break;
        case ATTEND: attention(op, in, out); break;
        case GATE: gate(in, out); break;
      }
    }
  }

  void backward() const {
    for (int64_t p = 0; p < plan.parameters; p++)
      if (plan.parameter[p].deferred >= 0) memset(at(plan.parameter[p].deferred), 0, plan.parameter[p].size * sizeof(float));
    for (int64_t i = plan.ops - 1; i >= 0; i--) {
      const Op &op = plan.op[i];
      const Node &in = plan.node[op.in], &out = plan.node[op.out];
      switch (op.kind) {
        case DENSE: dense_back(op, in, out); break;
        case NORMALIZE: norm_back(op, in, out); break;
        case ACTIVATE: activate_back(op, in, out); break;
        case EMBED: embed_back(op, out); break;
        case HEADS: heads_back(op, in, out); break;
        case ATTEND: attention_back(op, in, out); break;
        case GATE: gate_back(op, in, out); break;
      }
    }
    for (int64_t p = 0; p < plan.parameters; p++)
      if (plan.parameter[p].deferred >= 0) step(p, at(plan.parameter[p].deferred), 1.f);
  }

  float loss(const void *y) const {
    const Node &f = plan.node[plan.output];
    if (plan.squared)
      return squared_error(value(f), (const float *)y, at(f.gradient), f.features, batch.panels, batch.counts, batch.tokens);
    return cross_entropy(value(f), (const int32_t *)y, at(f.gradient), f.features, batch.panels, batch.counts, batch.tokens,
                         plan.z_loss);
  }

  void step(int64_t number, const float *gradient, float scale) const {
    with_rule(rule, [&](auto r) {
      step_row<decltype(r)>(tensor[number], update[number], gradient, scale, plan.parameter[number].size);
    });
  }

  // z = φ(add + scale · h W + bias_scale · b)
  void dense(const Op &op, const Node &in, const Node &out) const {
    const long tokens = batch.panels * PANEL, I = in.features, O = out.features;
    const float *w = weight(op.weight), *h = value(in), *add = op.add < 0 ? nullptr : value(plan.node[op.add]);
    auto run = [&](auto act) {
      const Forward<decltype(act)> result{at(out.value),   at(out.slope),        O * PANEL, (float)op.scale,
                                          weight(op.bias), (float)op.bias_scale, add};
      LAYER_PRODUCT<true>(O, tokens, whole(I), Left{w, O}, h, I * PANEL, result);
    };
    if (!op.turned) return with_activation(out.activation, run);
    const Forward<Identity> result{at(out.value), nullptr, O * PANEL, (float)op.scale, nullptr, 0, add};
    LAYER_PRODUCT<false>(O, tokens, whole(I), Left{w, I}, h, I * PANEL, result);
  }

  void dense_back(const Op &op, const Node &in, const Node &out) const {
    const long tokens = batch.panels * PANEL, I = in.features, O = out.features;
    const float *w = weight(op.weight), *h = value(in), *dz = at(out.gradient);
    const float scale = op.scale;
    if (op.propagate) {
      auto run = [&](auto act) {
        const Backward<decltype(act)> result{at(in.gradient), kept(in), I * PANEL, scale, (bool)op.accumulate};
        LAYER_PRODUCT<false>(I, tokens, whole(O), Left{w, O}, dz, O * PANEL, result);
      };
      if (op.turned)
        LAYER_PRODUCT<true>(I, tokens, whole(O), Left{w, I}, dz, O * PANEL,
                            Backward<Identity>{at(in.gradient), nullptr, I * PANEL, scale, (bool)op.accumulate});
      else
        with_slope(in.activation, run);
    }
    if (op.bias >= 0) {
      row_sums(dz, O);
      step(op.bias, at(plan.small), op.bias_scale);
    }
    float *t = at(plan.turned);
    const long panel = batch.panels * PANEL * PANEL;
    if (op.turned) {  // gathered in memory: the embedding adds its share
      turn(h, I, t);
      Tensor gathered{};
      gathered.g = at(plan.parameter[op.weight].deferred);
      LAYER_PRODUCT<false>(O, I, Depth{batch.panels, PANEL, batch.counts, O * PANEL}, Left{dz, PANEL}, t, panel,
                           Step<Gradient>{gathered, {}, I, scale});
      return;
    }
    turn(dz, O, t);
    with_rule(rule, [&](auto r) {
      LAYER_PRODUCT<false>(I, O, Depth{batch.panels, PANEL, batch.counts, I * PANEL}, Left{h, PANEL}, t, panel,
                           Step<decltype(r)>{tensor[op.weight], update[op.weight], O, scale});
    });
  }

  // t = panels of 32 features, [feature panel][token][32], from panels of 32 tokens.
  void turn(const float *z, long features, float *t) const {
    for (long o = 0; o < features; o += PANEL)
      for (long p = 0; p < batch.panels; p++, t += PANEL * PANEL)
        transpose(z + (p * features + o) * PANEL, PANEL, t, features - o < PANEL ? features - o : PANEL, PANEL);
  }

  // Sum over tokens of each feature, into the small buffer.
  void row_sums(const float *z, long features) const {
    float *sums = at(plan.small);
    for (long i = 0; i < features; i++) {
      V s[PARTS];
      for (int q = 0; q < PARTS; q++) s[q] = load(z + i * PANEL + q * VW);
      for (long p = 1; p < batch.panels; p++)
        for (int q = 0; q < PARTS; q++) s[q] += load(z + (p * features + i) * PANEL + q * VW);
      sums[i] = sum(s);
    }
  }

  void norm(const Op &op, const Node &in, const Node &out) const {
    const long panel = in.features * PANEL;
    with_activation(out.activation, [&](auto act) {
      for (long p = 0; p < batch.panels; p++) {
        float *slope = out.slope < 0 ? nullptr : at(out.slope) + p * panel;
        auto *one = op.centered ? &normalize<decltype(act), true> : &normalize<decltype(act), false>;
        one(value(in) + p * panel, at(out.value) + p * panel, slope, at(op.saved) + p * 2 * PANEL, weight(op.bias),
            op.bias_scale, in.features);
      }
    });
  }

  void norm_back(const Op &op, const Node &in, const Node &out) const {
    const long panel = in.features * PANEL;
    float *gains = op.bias < 0 ? nullptr : at(plan.small);
    if (gains) memset(gains, 0, in.features * sizeof(float));
    auto *one = op.centered ? &normalize_back<true> : &normalize_back<false>;
    // The stream's own activation is the identity: what normalization returns is the gradient before it.
    for (long p = 0; p < batch.panels; p++)
      one(at(out.gradient) + p * panel, value(in) + p * panel, at(op.saved) + p * 2 * PANEL, weight(op.bias), op.bias_scale,
          at(in.gradient) + p * panel, op.accumulate, gains, in.features);
    if (gains) step(op.bias, gains, op.bias_scale);
  }

  void activate(const Node &in, const Node &out) const {
    const float *h = value(in);
    with_activation(out.activation, [&](auto act) {
      for (long at_ = 0, n = in.features * batch.panels * PANEL; at_ < n; at_ += VW) {
        V d;
        store(at(out.value) + at_, decltype(act)::value(load(h + at_), d));
        if (decltype(act)::SLOPE) store(at(out.slope) + at_, d);
      }
    });
  }

  void activate_back(const Op &op, const Node &in, const Node &out) const { pass(op, in, at(out.gradient), in.features); }

  // The gradient of `in` (+)= d
  void pass(const Op &op, const Node &in, const float *d, long features) const {
    float *to = at(in.gradient);
    for (long i = 0, n = features * batch.panels * PANEL; i < n; i += VW)
      store(to + i, op.accumulate ? load(to + i) + load(d + i) : load(d + i));
  }

  // h = scale · token[x] + bias_scale · position
  void embed(const Op &op, const Node &out) const {
    const long W = out.features;
    const float *token = weight(op.weight), *position = weight(op.bias);
    const float scale = op.scale, bias_scale = op.bias_scale;
    float *rows = at(plan.turned);
    for (long p = 0; p < batch.panels; p++) {
      for (long n = 0; n < PANEL; n++) {
        float *row = rows + n * W;
        if (n >= batch.counts[p]) {
          memset(row, 0, W * sizeof(float));
          continue;
        }
        const float *a = token + ((const int32_t *)x)[p * PANEL + n] * W;
        const float *b = position ? position + (p % plan.sequence_panels * PANEL + n) * W : nullptr;
        for (long i = 0; i < W; i++) row[i] = a[i] * scale + (b ? b[i] * bias_scale : 0.f);
      }
      transpose(rows, W, at(out.value) + p * W * PANEL, PANEL, W);
    }
  }

  void embed_back(const Op &op, const Node &out) const {
    const long W = out.features;
    float *token = at(plan.parameter[op.weight].deferred);
    float *position = op.bias < 0 ? nullptr : at(plan.parameter[op.bias].deferred);
    const float scale = op.scale, bias_scale = op.bias_scale;
    float *t = at(plan.turned);
    turn(at(out.gradient), W, t);
    for (long p = 0; p < batch.panels; p++)
      for (long n = 0; n < batch.counts[p]; n++) {
        float *a = token + ((const int32_t *)x)[p * PANEL + n] * W;
        float *b = position ? position + (p % plan.sequence_panels * PANEL + n) * W : nullptr;
        for (long o = 0; o < W; o += PANEL) {
          const float *d = t + (o / PANEL * batch.panels + p) * PANEL * PANEL + n * PANEL;
          for (long i = o; i < W && i < o + PANEL; i++) {
            a[i] += d[i - o] * scale;
            if (b) b[i] += d[i - o] * bias_scale;
          }
        }
      }
  }

  // Queries and keys of each head normalized (gains: weight for queries, bias for keys) and turned by their position.
  // saved: mean and 1/deviation by panel and head. In the layout of qkv: 3 · heads groups of features.
  template <class Call>
  void each_head(const Op &op, const Node &in, const Call &call) const {
    const long size = in.features / (3 * op.heads);
    for (long p = 0; p < batch.panels; p++)
      for (long a = 0; a < 2 * op.heads; a++)
        call((p * in.features + a * size) * PANEL, at(op.saved) + (p * 2 * op.heads + a) * 2 * PANEL, size,
             a < op.heads ? op.weight : op.bias, a < op.heads ? op.scale : op.bias_scale,
             at(plan.rotation) + p % plan.sequence_panels * size * PANEL);
  }

  void heads(const Op &op, const Node &in, const Node &out) const {
    const float *z = value(in);
    float *y = at(out.value);
    memcpy(y, z, in.features * batch.panels * PANEL * sizeof(float));
    const bool gained = op.weight >= 0;
    each_head(op, in, [&](long at_, float *saved, long size, int64_t gain, float scale, const float *rotation) {
      auto *one = op.centered == 1 ? &normalize<Identity, true> : &normalize<Identity, false>;
      if (op.centered >= 0) one(z + at_, y + at_, nullptr, saved, gained ? weight(gain) : nullptr, scale, size);
      if (op.rotary) rotate(y + at_, rotation, size, 1.f);
    });
  }

  void heads_back(const Op &op, const Node &in, const Node &out) const {
    const float *z = value(in);
    float *dy = at(out.gradient), *gains = at(plan.small);
    const bool gained = op.weight >= 0;
    const long size = in.features / (3 * op.heads);
    memset(gains, 0, 2 * size * sizeof(float));
    each_head(op, in, [&](long at_, float *saved, long size, int64_t gain, float scale, const float *rotation) {
      if (op.rotary) rotate(dy + at_, rotation, size, -1.f);
      if (op.centered < 0) return;
      auto *one = op.centered ? &normalize_back<true> : &normalize_back<false>;
      float *sums = gained ? gains + (gain == op.weight ? 0 : size) : nullptr;
      one(dy + at_, z + at_, saved, gained ? weight(gain) : nullptr, scale, dy + at_, false, sums, size);
    });
    pass(op, in, dy, in.features);
    if (!gained) return;
    step(op.weight, gains, op.scale);
    step(op.bias, gains + size, op.bias_scale);
  }

  // The pairs (i, i + size / 2) turn by the angles whose cosines and sines `rotation` holds; direction −1 turns back.
  static void rotate(float *y, const float *rotation, long size, float direction) {
    const long half = size / 2;
    for (long i = 0; i < half; i++)
      for (int q = 0; q < PARTS; q++) {
        float *p = y + i * PANEL + q * VW, *r = p + half * PANEL;
        const float *c = rotation + i * PANEL + q * VW;
        V a = load(p), b = load(r), cosine = load(c), sine = load(c + half * PANEL) * direction;
        store(p, a * cosine - b * sine);
        store(r, a * sine + b * cosine);
      }
  }

  template <class Call>
  void each_attention(const Op &op, const Node &in, const Node &out, const Call &call) const {
    const long W = out.features, size = W / op.heads, panels = plan.sequence_panels;
    for (long b = 0; b < batch.panels / panels; b++)
      for (long a = 0; a < op.heads; a++) {
        const long place = (b * panels * in.features + a * size) * PANEL, to = (b * panels * W + a * size) * PANEL;
        const float *q = value(in) + place;
        const Head head{q,    q + W * PANEL, q + 2 * W * PANEL,         in.features * PANEL, W * PANEL,
                        size, panels,        batch.counts + b * panels, (float)op.scale};
        call(head, at(op.saved) + (b * op.heads + a) * panels * panels * PANEL * PANEL, place, to);
      }
  }

  void attention(const Op &op, const Node &in, const Node &out) const {
    each_attention(op, in, out,
                   [&](const Head &head, float *weights, long, long to) { attend(head, weights, at(out.value) + to); });
  }

  void attention_back(const Op &op, const Node &in, const Node &out) const {
    const long W = out.features;
    each_attention(op, in, out, [&](const Head &head, const float *weights, long place, long to) {
      float *d = at(in.gradient) + place;
      attend_back(head, weights, at(out.gradient) + to, d, d + W * PANEL, d + 2 * W * PANEL, at(plan.heads));
    });
  }

  // SiLU(gate) · value of the two halves of the features (Shazeer 2020, eq. 6).
  void gate(const Node &in, const Node &out) const {
    const long F = out.features * PANEL;
    for (long p = 0; p < batch.panels; p++)
      for (long i = 0; i < F; i += VW) {
        V g = load(value(in) + 2 * p * F + i), v = load(value(in) + (2 * p + 1) * F + i);
        store(at(out.value) + p * F + i, g / (1.f + exponential(-g)) * v);
      }
  }

  void gate_back(const Op &op, const Node &in, const Node &out) const {
    const long F = out.features * PANEL;
    for (long p = 0; p < batch.panels; p++)
      for (long i = 0; i < F; i += VW) {
        V g = load(value(in) + 2 * p * F + i), v = load(value(in) + (2 * p + 1) * F + i);
        V d = load(at(out.gradient) + p * F + i), s = 1.f / (1.f + exponential(-g));
        store(at(in.gradient) + 2 * p * F + i, d * v * s * (1.f + g * (1.f - s)));
        store(at(in.gradient) + (2 * p + 1) * F + i, d * g * s);
      }
  }
};

}  // namespace

extern "C" {

// Sizes of what Python fills, so that a mismatch is seen at load.
int64_t muster_sizes(void) { return sizeof(Plan) << 24 | sizeof(Op) << 16 | sizeof(Node) << 8 | sizeof(Update); }

int64_t muster_lanes(void) { return VW; }

// `steps` steps of one member, rule: see `with_rule`. tensors[parameters]; updates[steps][parameters]; x and y advance by
// x_step and y_step bytes a step; loss[steps].
void muster_train(const Plan *plan, const Batch *batch, int64_t rule, int64_t steps, const Tensor *tensors,
                  const Update *updates, const char *x, int64_t x_step, const char *y, int64_t y_step, float *loss,
                  float *scratch) {
  Flush flush;
  for (int64_t s = 0; s < steps; s++) {
    const Member member{*plan, *batch, rule, tensors, updates + s * plan->parameters, x + s * x_step, scratch};
    member.forward();
    loss[s] = member.loss(y + s * y_step);
    member.backward();
  }
}

// The loss alone.
float muster_evaluate(const Plan *plan, const Batch *batch, const Tensor *tensors, const void *x, const void *y,
                      float *scratch) {
  Flush flush;
  const Member member{*plan, *batch, 0, tensors, nullptr, x, scratch};
  member.forward();
  return member.loss(y);
}
}
