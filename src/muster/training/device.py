"""Device, dtype and determinism: the only place that knows about hardware."""

import os

import torch

from muster.errors import MusterError

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


def resolve(device: str) -> torch.device:
    """`auto` is CUDA where torch sees a device, else the CPU. Asking for CUDA without one is an error."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise MusterError(
                "config/config.yaml: device",
                "'cuda', but torch sees no CUDA device",
                "Set device: auto, or install a CUDA build",
            )
        # The same numbers from the same device: read by cuBLAS when CUDA starts, so set before anything asks for it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(device)


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """Mixed precision for `dtype: bfloat16`; weights, optimizer and losses stay in float32.

    Without its cache of weights, which would outlive the recording of a step.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16", cache_enabled=False)
