"""Measurements taken during training on one fixed batch. Every module of this package registers what it measures."""

from muster.registry import Registry
from muster.training.probes.base import Probe, ProbeCost, Reading

PROBES: Registry[Probe] = Registry("probe", modules=(__name__,))

__all__ = ["PROBES", "Probe", "ProbeCost", "Reading"]
