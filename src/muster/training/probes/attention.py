"""Probes of transformers: size of attention logits, drift of the output logits, loss by position in the sequence."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from muster.training.probes import PROBES, Reading
from muster.training.probes.base import probe

if TYPE_CHECKING:
    from muster.training.snapshot import Snapshot


@PROBES.register("attention_logits")
@probe()
def attention_logits(s: "Snapshot") -> Iterator[Reading]:
    """Largest scaled q·k of each block's heads over the probe batch: mean and maximum over heads (Wortsman et al. 2023,
    Section 3.1.1). Layers count blocks from 1.
    """
    context = s.x_ExBxI.shape[2]
    qkv = [site for site in s.sites_t if site.weight.startswith("qkv")]
    for block, site in enumerate(qkv, start=1):
        logits_ExBxHxTxT = s.model.attention_logits(s.w_t, s.multiplier, block, site.z_ExBxO, context)
        largest_ExH = logits_ExBxHxTxT.amax((1, 3, 4))
        yield "attention_logit_mean", block, largest_ExH.mean(1)
        yield "attention_logit_max", block, largest_ExH.amax(1)


@PROBES.register("output_drift")
@probe()
def output_drift(s: "Snapshot") -> Iterator[Reading]:
    """Mean of log Z, Z = Σ_k exp(f_k), over the tokens of the probe batch: what z-loss holds near 0 (Wortsman et al.
    2023, Section 3.1.2)."""
    yield "mean_log_z", len(s.sites_t), s.sites_t[-1].z_ExBxO.logsumexp(-1).mean(1)


@PROBES.register("token_loss")
@probe()
def token_loss(s: "Snapshot") -> Iterator[Reading]:
    """Mean −log p of the next token on the probe batch by position: groups 1, 2–3, 4–7, … named by their first.

    The layer of a reading is that position, counted from 1.
    """
    members, batch, context = s.x_ExBxI.shape
    target = s.train[1][:batch].flatten().expand(members, -1).unsqueeze(-1)
    f = s.sites_t[-1].z_ExBxO
    loss_ExBxT = (f.logsumexp(-1) - f.gather(-1, target).squeeze(-1)).view(members, batch, context)
    for power in range(context.bit_length()):
        first = 2**power
        yield "token_loss", first, loss_ExBxT[:, :, first - 1 : 2 * first - 1].mean((1, 2))
