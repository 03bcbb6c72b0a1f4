"""The stacked transformer against plain torch.nn modules, against loops of torch.optim, and against itself."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from muster.experiments import Context
from muster.models.transformer import Transformer
from muster.training import engine
from muster.training.cell import TrainCell
from muster.training.clipping import clip_gradients
from muster.training.engine import Data, Stack, train_stack
from muster.training.losses import cross_entropy

F64 = Context(dtype="float64", progress=lambda line: None)
CONTEXT, VOCABULARY = 8, 11
RATES = [-9.0, -7.0, -5.0]
OPTIONS = {
    "plain": {},
    "gains": {"gains": True},
    "tied": {"tied": True},
    "tied, gains": {"tied": True, "gains": True},
    "gains on matrices": {"gains": True, "batch_size": 16},
    "gains on tokens": {"tied": True, "gains": True, "batch_size": 1},
    "relu2, inverse": {"feedforward": "relu2", "attention_scale": "inverse"},
    "relu": {"feedforward": "relu"},
    "heads, deep": {"heads": 2, "head_width": None, "parameterization": "completep", "base_depth": 1},
    "rotary": {"positions": "rotary"},
    "qk_norm": {"qk_norm": True},
    "qk_norm, gains, rotary": {"qk_norm": True, "gains": True, "positions": "rotary"},
    "bias": {"bias": True},
    "swiglu, rms": {"feedforward": "swiglu", "norm": "rms"},
    "rms, gains, qk_norm": {"norm": "rms", "gains": True, "qk_norm": True},
}
BY_HAND = {
    "plain", "gains", "tied", "tied, gains", "gains on matrices", "gains on tokens", "relu2, inverse", "relu",
    "heads, deep",
}  # fmt: skip


def cell(**changes) -> TrainCell:
    settings = {
        "family": "transformer", "norm": "layer", "width": 24, "depth": 2, "seed": 1, "log2_lr": RATES,
        "base_width": 8, "base_depth": 2, "head_width": 8, "batch_size": 4, "steps": 6, "optimizer": "adamw",
        "parameterization": "mup", "evaluations": 2, "evaluation_examples": 8, "data": "python_text",
        "data_options": {"encoding": "tokens", "context": 16},
    }  # fmt: skip
    return TrainCell(**(settings | changes))


def toy_data(examples: int = 32) -> Data:
    tokens = torch.from_numpy(np.random.default_rng(3).integers(0, VOCABULARY, (examples, CONTEXT + 1)))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return Data(x, y, (x[:8], y[:8]), (x[8:16], y[8:16]), VOCABULARY, positions=CONTEXT)


def stack_of(c: TrainCell, members: list[int] | None = None, context: Context = F64) -> Stack:
    stack = Stack(c, list(range(len(c.log2_lr))) if members is None else members, toy_data(), context)
    generator = torch.Generator().manual_seed(5)
    for name, w in stack.weights.items():
        if name.startswith(("b_", "g_")):  # zeros and ones would hide what they enter
            w.add_(0.3 * torch.randn(w.shape[1:], generator=generator, dtype=w.dtype))
    return stack


class Reference(nn.Module):
    """A plain transformer, written with torch's modules from the usual description, one member."""

    def __init__(self, c: TrainCell, weights: dict[str, torch.Tensor], scale: dict[str, float], tied_scale: float):
        super().__init__()
        self.c, self.scale, self.tied_scale = c, scale, tied_scale
        self.w = nn.ParameterDict({name: nn.Parameter(w.clone()) for name, w in weights.items()})

    def effective(self, name: str) -> torch.Tensor | None:
        return self.w[name] * self.scale[name] if name in self.w else None

    def linear(self, name: str, h: torch.Tensor) -> torch.Tensor:
        return functional.linear(h, self.effective(name).T, self.effective(f"b_{name}"))

    def norm(self, name: str, h: torch.Tensor) -> torch.Tensor:
        gain = self.effective(f"g_{name}")
        if self.c.norm == "layer":
            return functional.layer_norm(h, h.shape[-1:], gain)
        normalized = h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return normalized if gain is None else normalized * gain

    def rope(self, q: torch.Tensor) -> torch.Tensor:
        """As complex numbers: feature i with feature i + D/2."""
        half = q.shape[-1] // 2
        turns = torch.polar(
            torch.ones(CONTEXT, half, dtype=q.dtype),
            torch.arange(CONTEXT, dtype=q.dtype)[:, None] * 10000.0 ** (-torch.arange(half, dtype=q.dtype) / half),
        )
        turned = torch.complex(q[..., :half], q[..., half:]) * turns
        return torch.cat([turned.real, turned.imag], -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c, batch = self.c, len(x)
        width = c.head_width or c.width // c.heads
        branch = (c.depth / c.base_depth) ** -(1.0 if c.parameterization == "completep" else 0.0)
        scale = 1 / width if c.attention_scale == "inverse" else 1 / math.sqrt(width)
        h = functional.embedding(x, self.effective("token"))
        if c.positions != "rotary":
            h = h + self.effective("position")
        for l in range(1, c.depth + 1):
            q, k, v = self.linear(f"qkv{l}", self.norm(f"qkv{l}", h)).chunk(3, -1)
            q, k, v = (part.view(batch, CONTEXT, -1, width).transpose(1, 2) for part in (q, k, v))
            if c.qk_norm:
                q, k = self.norm(f"query{l}", q), self.norm(f"key{l}", k)
            if c.positions == "rotary":
                q, k = self.rope(q), self.rope(k)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
            h = h + branch * self.linear(f"merge{l}", mixed.transpose(1, 2).reshape(batch, CONTEXT, -1))
            z = self.linear(f"up{l}", self.norm(f"up{l}", h))
            if c.feedforward == "swiglu":
                gate, value = z.chunk(2, -1)
                z = gate * gate.sigmoid() * value
            elif c.feedforward in ("relu", "relu2"):
                z = z.clamp(min=0) ** (2 if c.feedforward == "relu2" else 1)
            else:
                z = functional.gelu(z)
            h = h + branch * self.linear(f"down{l}", z)
        h = self.norm("readout", h)
        return h @ (self.effective("token").T * self.tied_scale) if c.tied else self.linear("readout", h)


def reference(c: TrainCell, stack: Stack, e: int = 0) -> Reference:
    # An own readout's standard deviation at width n: 1/√base · (n/base)^−1 in the maximal update parameterization.
    tied_scale = 1 / math.sqrt(c.base_width) * (c.width / c.base_width) ** -1
    return Reference(c, {name: w[e] for name, w in stack.weights.items()}, stack.multiplier, tied_scale)


@pytest.mark.parametrize("option", OPTIONS)
def test_forward_and_gradients_equal_plain_torch(option):
    c = cell(**OPTIONS[option])
    stack = stack_of(c)
    assert (stack.workspace is not None) == (option in BY_HAND)
    x, y = stack.batches[0]
    with torch.no_grad():
        f = stack.model.output(stack.weights, stack.multiplier, stack.stacked(x))
        sites = stack.model.sites(stack.weights, stack.multiplier, stack.stacked(x))
        loss_E = stack.compute_gradients(x, y)
    for e in (0, 2):
        plain = reference(c, stack, e)
        expected = plain(x).flatten(0, 1)
        torch.testing.assert_close(f[e], expected.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(sites[-1].z_ExBxO[e], expected.detach(), rtol=1e-12, atol=1e-12)
        loss = functional.cross_entropy(expected, y.flatten())
        torch.testing.assert_close(loss_E[e], loss.detach(), rtol=1e-12, atol=1e-12)
        loss.backward()
        for name, w in plain.w.items():
            torch.testing.assert_close(stack.gradients[name][e], w.grad, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("context", "kept"), [(256, True), (257, False)])
def test_longer_sequences_keep_no_attention_weights(context, kept):
    c = cell(width=8, depth=1)
    model = Transformer(c, context, VOCABULARY)
    multiplier = {tensor.name: 1.0 for tensor in model.tensors}
    weights = {tensor.name: torch.zeros(1, *tensor.shape) for tensor in model.tensors}
    assert (model.workspace(weights, multiplier, 1) is not None) == kept
    assert (model.native(multiplier) is not None) == kept


@pytest.mark.parametrize("option", ["plain", "tied, gains", "qk_norm, gains, rotary", "bias"])
def test_stacked_equals_a_loop_of_torch_optim_with_clipping_and_z_loss(option):
    c = cell(clip=0.5, z_loss=1e-2, weight_decay=0.1, warmup_fraction=0.3, **OPTIONS[option])
    stack = stack_of(c)
    looped = [reference(c, stack, e) for e in range(len(RATES))]
    with torch.no_grad():
        stack.start()
        for _ in range(c.steps):
            stack.advance()
    for e, plain in enumerate(looped):
        groups = [
            {"params": [w], "lr": 2.0 ** RATES[e] * (s := stack.scaling[name]).lr, "weight_decay": 0.1 * s.weight_decay}
            for name, w in plain.w.items()
        ]
        optimizer = torch.optim.AdamW(groups, eps=1e-8)
        peak = [group["lr"] for group in groups]
        for step in range(c.steps):
            for group, lr in zip(optimizer.param_groups, peak, strict=True):
                group["lr"] = lr * stack.schedule[step]
            x, y = stack.batches[step]
            f = plain(x).flatten(0, 1)
            loss = functional.cross_entropy(f, y.flatten()) + 1e-2 * f.logsumexp(-1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
        for name, w in plain.w.items():
            torch.testing.assert_close(stack.weights[name][e], w.detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("option", ["gains", "qk_norm"])
def test_a_member_does_not_depend_on_its_stack(option):
    c = cell(log2_lr=[RATES[0], 40.0, *RATES[1:]], steps=17, clip=1.0, **OPTIONS[option])

    def trained(members):
        stack = stack_of(c, members)
        with torch.no_grad():
            stack.start()
            for _ in range(c.steps):
                stack.advance()
        return stack

    together = trained([0, 1, 2, 3])
    assert together.members == [0, 2, 3]
    for i, e in enumerate(together.members):
        for name, w in trained([e]).weights.items():
            torch.testing.assert_close(together.weights[name][i], w[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("option", ["plain", "rotary"])
def test_resumed_equals_uninterrupted_bit_for_bit(option, tmp_path, monkeypatch):
    c = cell(
        steps=20, log2_lr=[-8.0, 40.0, -5.0], clip=1.0, probes=["attention_logits", "token_loss"], probe_steps=[3, 18],
        **OPTIONS[option],
    )  # fmt: skip
    quiet = Context(progress=lambda line: None)
    whole = train_stack(c, [0, 1, 2], toy_data(), quiet, "owner")
    interrupted = Context(checkpoint_dir=tmp_path, progress=lambda line: None)
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", -1.0)
    original = Stack.advance

    def dies(self, most=1):
        if self.step >= 17:
            raise KeyboardInterrupt
        original(self, most)

    monkeypatch.setattr(Stack, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        train_stack(c, [0, 1, 2], toy_data(), interrupted, "owner")
    monkeypatch.setattr(Stack, "advance", original)
    resumed = train_stack(c, [0, 1, 2], toy_data(), interrupted, "owner")
    assert resumed.curves == whole.curves
    assert repr(resumed.probes) == repr(whole.probes)
    assert set(resumed.diverged) == {1}


def test_bfloat16_autocast_stays_near_float32():
    losses = []
    for dtype in ("float32", "bfloat16"):
        stack = stack_of(cell(steps=12, log2_lr=[-8.0, -7.0]), context=Context(dtype=dtype))
        with torch.no_grad():
            stack.start()
            for _ in range(12):
                stack.advance()
        losses.append([row[2] for row in stack.records.curves])
    assert losses[1] != losses[0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)


def test_no_token_sees_a_later_one():
    stack = stack_of(cell())
    x = toy_data().x[:2]
    changed = x.clone()
    changed[:, 5] = (changed[:, 5] + 1) % VOCABULARY
    with torch.no_grad():
        f, g = (
            stack.model.output(stack.weights, stack.multiplier, stack.stacked(t)).view(3, 2, CONTEXT, -1)
            for t in (x, changed)
        )
    assert torch.equal(f[:, :, :5], g[:, :, :5])
    assert not torch.equal(f[:, :, 5:], g[:, :, 5:])


@pytest.mark.parametrize("parameterization", ["sp", "mup"])
def test_a_tied_readout_starts_as_large_as_an_own_one(parameterization):
    for width in (16, 64):
        settings = {"width": width, "parameterization": parameterization, "readout_gain": 0.7}
        own, tied = (stack_of(cell(tied=tied, **settings), [0]) for tied in (None, True))
        expected = own.weights["readout"].std() * own.multiplier["readout"]
        found = tied.weights["token"].std() * tied.multiplier["token"] * tied.model.tied_multiplier
        torch.testing.assert_close(found, expected, rtol=0.15, atol=0)


def test_clipping_is_by_member_and_leaves_short_gradients_alone():
    g = {"w1": torch.tensor([[[3.0]], [[0.3]]]), "b1": torch.tensor([[4.0], [0.4]])}
    norms = clip_gradients(g, 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(g["w1"].flatten(), torch.tensor([0.6, 0.3]), rtol=1e-6, atol=0)
    torch.testing.assert_close(g["b1"].flatten(), torch.tensor([0.8, 0.4]), rtol=1e-6, atol=0)


def test_z_loss_and_its_gradient_equal_autograd():
    f = torch.randn(3, 8, 5, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, 5, (2, 4))
    loss_E, gradient = cross_entropy(f.detach().clone(), y, z_loss=0.3)
    direct = torch.stack([functional.cross_entropy(m, y.flatten()) + 0.3 * m.logsumexp(-1).square().mean() for m in f])
    torch.testing.assert_close(loss_E, direct.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(direct.sum(), f)[0])


def test_evaluation_is_the_mean_over_tokens_without_z_loss(monkeypatch):
    stack = stack_of(cell(z_loss=0.5))
    x, y = stack.data.heldout
    with torch.no_grad():
        whole = stack.evaluate((x, y))
        monkeypatch.setattr(engine, "EVALUATION_SLICE", 3 * CONTEXT)
        parts = stack.evaluate((x, y))
    torch.testing.assert_close(parts, whole)
    plain = reference(cell(), stack)
    expected = functional.cross_entropy(plain(x).flatten(0, 1), y.flatten())
    torch.testing.assert_close(whole[0], expected.detach())


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"heads": 3, "head_width": 8}, "both given"),
        ({"head_width": 7}, "not a whole number"),
        ({"heads": 5, "head_width": None}, "not a whole number"),
        ({"norm": "none"}, "normalizes before each branch"),
        ({"positions": "rotary", "head_width": 3}, "is odd"),
        ({"tied": True, "readout_gain": 0.0}, "would be 0 for ever"),
        ({"tied": True, "probes": ["alignment"]}, "needs a matrix of its own in every product"),
        ({"probes": ["ntk"]}, "needs one output an example"),
        ({"norm": "rms", "family": "resmlp", "head_width": None, "data": "mnist1d", "data_options": {}}, "norm 'rms'"),
        ({"data_options": {"encoding": "bits"}}, "reads tokens"),
        ({"family": "mlp", "data": "mnist1d", "data_options": {}}, "is read by transformer"),
        ({"loss": "squared_error", "z_loss": 0.1}, "z_loss is read by cross_entropy, not by loss 'squared_error'"),
    ],
)
def test_settings_that_make_no_transformer_are_refused(changes, found):
    with pytest.raises(ValidationError, match=found):
        cell(**changes)


def probed(c: TrainCell) -> tuple[Stack, dict]:
    """A stack after training, with the last readings of its probes: (member, reading, layer) → value."""
    stack = stack_of(c)
    with torch.no_grad():
        stack.start()
        for _ in range(c.steps):
            stack.advance()
    return stack, {(e, name, layer): v for e, step, name, layer, v in stack.records.probes if step == c.steps}


@pytest.mark.parametrize("option", ["plain", "qk_norm, gains, rotary", "tied"])
def test_probes_equal_plain_torch(option):
    names = ["attention_logits", "output_drift", "token_loss", "epsilon", "feature_change"]
    c = cell(probes=names, probe_steps=[6], probe_examples=3, log2_lr=[-4.0, -5.0], **OPTIONS[option])
    stack, found = probed(c)
    x, y = stack.data.x[:3], stack.data.y[:3]
    for e in range(2):
        plain = reference(c, stack, e)
        with torch.no_grad():
            f = plain(x)
            h = functional.embedding(x, plain.effective("token"))
            if c.positions != "rotary":
                h = h + plain.effective("position")
            q, k, _ = plain.linear("qkv1", plain.norm("qkv1", h)).chunk(3, -1)
        loss = functional.cross_entropy(f.flatten(0, 1), y.flatten(), reduction="none").view(3, CONTEXT)
        for first, last in ((1, 1), (2, 3), (4, 7), (8, 8)):
            expected = loss[:, first - 1 : last].mean().item()
            assert found[e, "token_loss", first] == pytest.approx(expected, rel=1e-10)
        drift = [value for (member, name, _), value in found.items() if member == e and name == "mean_log_z"]
        assert drift == pytest.approx([f.logsumexp(-1).mean().item()])
        largest = []
        for head in range(3):
            part = slice(8 * head, 8 * head + 8)
            qh, kh = q[..., part], k[..., part]
            if c.qk_norm:
                qh, kh = plain.norm("query1", qh), plain.norm("key1", kh)
            if c.positions == "rotary":
                qh, kh = plain.rope(qh), plain.rope(kh)
            pairs = [
                (qh[b, t] @ kh[b, u] / math.sqrt(8)).item()
                for b in range(3) for t in range(CONTEXT) for u in range(t + 1)
            ]  # fmt: skip
            largest.append(max(pairs))
        assert found[e, "attention_logit_max", 1] == pytest.approx(max(largest), rel=1e-9)
        assert found[e, "attention_logit_mean", 1] == pytest.approx(np.mean(largest), rel=1e-9)
        assert (e, "attention_logit_max", 3) not in found
        for layer, site in enumerate(stack.model.sites(stack.weights, stack.multiplier, stack.stacked(x)), start=1):
            root = stack.optimizer.second_moment(site.weight)[e].sqrt()
            assert found[e, "gradient_rms", layer] == pytest.approx(root.square().mean().sqrt().item(), rel=1e-9)


def test_coordinate_check_splits_the_change_of_every_product():
    c = cell(probes=["coordinate_check", "residual_growth"], probe_steps=[6], parameterization="mup")
    stack, found = probed(c)
    x = stack.stacked(stack.data.x[:16])
    end = stack.model.stream(stack.weights, stack.multiplier, x)[-1]
    assert found[1, "residual_rms", 2] == pytest.approx(end[1].square().mean().sqrt().item())
    sites = stack.model.sites(stack.weights, stack.multiplier, x)
    assert [s.weight for s in sites[:3]] == ["token", "position", "qkv1"]
    assert found[0, "input_change_term", 1] == 0
    for layer in range(1, len(sites) + 1):
        assert found[0, "activation_change_rms", layer] > 0
    for site in sites:
        again = torch.bmm(site.h_ExBxI, stack.weights[site.weight]) * stack.multiplier[site.weight]
        torch.testing.assert_close(site.z_ExBxO, again, rtol=1e-12, atol=1e-12)
