"""What is asked of CUDA, on a machine that need not have it."""

import os

import pytest
import torch

from muster.errors import MusterError
from muster.training.device import resolve


@pytest.fixture
def flags(monkeypatch):
    """torch's global switches, put back afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield monkeypatch
    torch.use_deterministic_algorithms(before[0])
    for switch, allowed in zip(switches, before[1], strict=True):
        switch.allow_tf32 = allowed


def test_cuda_is_deterministic_and_keeps_float32(flags):
    flags.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve("auto") == torch.device("cuda")
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_without_cuda_auto_is_the_cpu_and_asking_for_it_is_an_error(flags):
    flags.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve("auto") == torch.device("cpu")
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(MusterError, match="no CUDA device"):
        resolve("cuda")
