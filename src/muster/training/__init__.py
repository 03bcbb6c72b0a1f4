"""The stacked training engine."""

from muster.registry import Registry

PROBES: Registry = Registry(
    "probe",
    {
        name: f"muster.training.probes:{name}"
        for name in ("coordinate_check", "feature_change", "alignment", "ntk", "epsilon")
    },
)
