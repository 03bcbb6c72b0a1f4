"""The sweeps of engine.py and transformer.py as a good user of JAX writes them: jit(vmap(scan)) over learning rates.

Runs in an environment of its own (`make bench` builds it) and answers on stdin and stdout: a JSON line names the case
and is answered once both functions are compiled, then every line `run` is answered with the CPU seconds a member and
step of the stacked function and of a jitted loop over members. XLA's thread flags do not keep it to one thread: pin it.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np
import optax

EPSILON = 1e-5


def mlp(width: int, batch: int, members: int, inputs: int, outputs: int, hidden: int):
    """Weights [E, ...], forward pass of one member, batches."""
    rng = np.random.default_rng(0)
    sizes = [inputs, *[width] * hidden, outputs]
    weights = [
        jnp.asarray(rng.standard_normal((members, i, o), np.float32) * np.sqrt(2 / i))
        for i, o in itertools.pairwise(sizes)
    ]
    x = jnp.asarray(rng.standard_normal((64, batch, inputs), np.float32))
    y = jnp.asarray(rng.integers(0, outputs, (64, batch)))

    def output(w, h):
        for matrix in w[:-1]:
            h = jax.nn.relu(h @ matrix)
        return h @ w[-1]

    return weights, output, (x, y)


def resmlp(width: int, batch: int, members: int, inputs: int, outputs: int, blocks: int):
    """As `mlp`, for the residual network of engine.py."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.standard_normal((members, *shape), np.float32) / np.sqrt(shape[-2]))

    weights = {"first": normal(inputs, width), "readout": normal(width, outputs)}
    weights["blocks"] = [normal(width, width) for _ in range(blocks)]
    x = jnp.asarray(rng.standard_normal((64, batch, inputs), np.float32))
    y = jnp.asarray(rng.integers(0, outputs, (64, batch)))

    def output(w, h):
        h = h @ w["first"]
        for matrix in w["blocks"]:
            h = h + jax.nn.relu(h) @ matrix / np.sqrt(blocks)
        return jax.nn.relu(h) @ w["readout"]

    return weights, output, (x, y)


def transformer(width: int, batch: int, members: int, context: int, vocabulary: int, blocks: int, head_width: int):
    """As `mlp`, for the decoder of transformer.py."""
    rng = np.random.default_rng(0)
    heads = max(1, width // head_width)

    def normal(*shape):
        return jnp.asarray(0.02 * rng.standard_normal((members, *shape)), jnp.float32)

    def ones():
        return jnp.ones((members, width), jnp.float32)

    weights = {
        "token": normal(vocabulary, width),
        "position": normal(context, width),
        "readout": normal(width, vocabulary),
    }
    weights["gain"] = ones()
    for l in range(blocks):
        weights |= {
            f"qkv{l}": normal(width, 3 * width), f"merge{l}": normal(width, width), f"up{l}": normal(width, 4 * width),
            f"down{l}": normal(4 * width, width), f"gain_attention{l}": ones(), f"gain_feedforward{l}": ones(),
        }  # fmt: skip
    tokens = rng.integers(0, vocabulary, (16, batch, context + 1))
    past = jnp.tril(jnp.ones((context, context), bool))

    def norm(h, gain):
        centered = h - h.mean(-1, keepdims=True)
        return centered * jax.lax.rsqrt((centered**2).mean(-1, keepdims=True) + EPSILON) * gain

    def output(w, x):
        h = w["token"][x] + w["position"]
        for l in range(blocks):
            parts = jnp.split(norm(h, w[f"gain_attention{l}"]) @ w[f"qkv{l}"], 3, -1)
            q, k, v = (p.reshape(batch, context, heads, -1).transpose(0, 2, 1, 3) for p in parts)
            logits = jnp.where(past, q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // heads), -1e30)
            mixed = (jax.nn.softmax(logits, -1) @ v).transpose(0, 2, 1, 3).reshape(batch, context, width)
            h = h + mixed @ w[f"merge{l}"]
            h = h + jax.nn.gelu(norm(h, w[f"gain_feedforward{l}"]) @ w[f"up{l}"]) @ w[f"down{l}"]
        return norm(h, w["gain"]) @ w["readout"]

    return weights, output, (jnp.asarray(tokens[..., :-1]), jnp.asarray(tokens[..., 1:]))


def contenders(case: dict) -> list[Callable[[], float]]:
    """Two functions, compiled and run once: CPU seconds a member and step, stacked and one member after another."""
    build, decay = {"mlp": (mlp, 0.0), "resmlp": (resmlp, 0.0), "transformer": (transformer, 0.01)}[case.pop("family")]
    steps, members = case.pop("steps"), case["members"]
    weights, output, (x, y) = build(**case)
    rates = jnp.asarray(2.0 ** (-12 + np.arange(members) / 2), jnp.float32)
    rule = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(decay))

    def loss(w, batch, target):
        return optax.softmax_cross_entropy_with_integer_labels(output(w, batch), target).mean()

    def member(w, rate):
        def step(carry, i):
            w, state = carry
            value, gradient = jax.value_and_grad(loss)(w, x[i % len(x)], y[i % len(x)])
            update, state = rule.update(gradient, state, w)
            return (jax.tree.map(lambda a, b: a - rate * b, w, update), state), value

        (w, _), losses = jax.lax.scan(step, (w, rule.init(w)), jnp.arange(steps))
        return losses[-1], w

    stacked, alone = jax.jit(jax.vmap(member)), jax.jit(member)
    each = [jax.tree.map(lambda a, e=e: a[e], weights) for e in range(members)]

    def timed(call: Callable[[], object]) -> float:
        begun = time.process_time()
        jax.block_until_ready(call())
        return (time.process_time() - begun) / (members * steps)

    def together() -> float:
        return timed(lambda: stacked(weights, rates))

    def one_by_one() -> float:
        return timed(lambda: [jax.block_until_ready(alone(w, rates[e])) for e, w in enumerate(each)])

    together()
    one_by_one()
    return [together, one_by_one]


def main() -> None:
    print(json.dumps(f"jax {jax.__version__}"), flush=True)
    runs: list[Callable[[], float]] = []
    for line in sys.stdin:
        if line.strip() == "run":
            print(json.dumps([run() for run in runs]), flush=True)
        else:
            runs = contenders(json.loads(line))
            print(json.dumps("ready"), flush=True)


if __name__ == "__main__":
    main()
