"""The stacked training engine."""

from muster.registry import Registry

PROBES: Registry = Registry(
    "probe",
    {
        name: f"muster.training.probes:{name}"
        for name in ("coordinate_check", "feature_change", "alignment", "ntk", "epsilon")
    }
    | {"batch_hessian": "muster.training.hessian:batch_hessian"}
    | {name: f"muster.training.linearization:{name}" for name in ("linearization", "residual_growth")}
    | {name: f"muster.training.attention:{name}" for name in ("attention_logits", "output_drift", "token_loss")}
    | {name: f"muster.training.representation:{name}" for name in ("accuracy", "superposition")},
)
