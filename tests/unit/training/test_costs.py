"""What a cell is reckoned to need: more when it is larger, and as much memory as its stacks hold at a time."""

from pathlib import Path

import pytest
import torch

from muster.config.load import load_study, study_paths
from muster.data import dimensions
from muster.experiments import EXPERIMENTS, Cost
from muster.models import FAMILIES
from muster.training.cell import TrainCell, tensors
from muster.training.stacks import STACK_BYTES, most_members
from muster.training.train import cost

ROOT = Path(__file__).parents[3]


def cell(width: int, members: int = 8, **settings) -> TrainCell:
    chosen = {"data": "mnist1d", "depth": 3, "steps": 1000, "seed": 0} | settings
    return TrainCell(width=width, log2_lr=[-float(i) for i in range(members)], **chosen)


@pytest.mark.parametrize("need", Cost._fields)
def test_wider_cells_need_more(need):
    needs = [getattr(cost(cell(width)), need) for width in (64, 256, 1024, 4096)]
    assert needs == sorted(needs)
    assert needs[-1] > 2 * needs[0]


def test_memory_is_that_of_one_stack():
    """Members beyond a stack wait: they cost time, not memory."""
    few, many = cost(cell(4096, 2)), cost(cell(4096, 16))
    assert many.memory_bytes == few.memory_bytes
    assert many.seconds == pytest.approx(8 * few.seconds, rel=0.01)
    assert cost(cell(64, 16)).memory_bytes > cost(cell(64, 2)).memory_bytes


def test_a_stack_fits_its_device_or_holds_one_member():
    assert most_members(10**9, 10**8, "cpu") == most_members(10**10, 10**8, "cuda") == 1
    for device, size in STACK_BYTES.items():
        count = most_members(10**4, 10**4, device)
        assert 16 * 10**4 * count <= size < 16 * 10**4 * (count + 1)


def test_deep_and_narrow_networks_stack_though_they_leave_the_cache():
    assert most_members(10**6, 64 * 64, "cpu") == 32
    assert most_members(10**6, 512 * 512, "cpu") == 1


def test_a_gpu_is_reckoned_by_products_and_traffic():
    """A wide cell by hand: 6 FLOP and 28 bytes a parameter, member, example and step; launches hardly count."""
    wide = cell(8192, 1, batch_size=64)
    parameters = 40 * 8192 + 2 * 8192**2 + 8192 * 10
    by_hand = 1000 * parameters * (6 * 64 / 1e13 + 28 / 1e12)
    assert cost(wide).gpu_seconds == pytest.approx(by_hand, rel=0.05)
    assert cost(wide).gpu_seconds < cost(wide).seconds / 50


def test_flops_are_six_a_weight_member_and_example_and_two_for_those_that_are_evaluated():
    made = cell(64, 2, batch_size=16, evaluations=4, evaluation_examples=100)
    weights = 40 * 64 + 2 * 64**2 + 64 * 10
    assert cost(made).flops == pytest.approx(2 * weights * (6 * 16 * 1000 + 2 * 2 * 100 * 5))


PRODUCTS = {
    "mlp": {"norm": "layer", "bias": True},
    "resmlp": {"family": "resmlp"},
    "dag_mlp": {"family": "dag_mlp", "edge_density": 0.5},
    "convnet": {"family": "convnet", "kernel_size": 4},
    "autoencoder": {"family": "autoencoder", "data": "sparse_features", "depth": 1},
    "transformer": {"family": "transformer", "norm": "layer", "gains": True},
    "rotary": {"family": "transformer", "norm": "rms", "positions": "rotary", "feedforward": "swiglu"},
    "tied": {"family": "transformer", "norm": "layer", "tied": True},
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_flops_are_those_of_the_matrix_products_of_a_forward_pass(name):
    """Counted in the network itself, one example with weights of zero; looking up an embedding is no product. What a
    weight does at every position of a sequence or an image, or twice, counts as often."""
    settings = PRODUCTS[name]
    if settings.get("family") == "transformer":
        settings = {"data": "python_text", "data_options": {"encoding": "tokens", "context": 16}} | settings
    made = cell(24, 2, **settings, batch_size=16, evaluations=4, evaluation_examples=100)
    shape = dimensions(made.data, made.data_options)
    weights = {tensor.name: torch.zeros(1, *tensor.shape) for tensor in tensors(made)}
    x = torch.zeros(1, 1, shape.features, dtype=torch.long if "context" in str(settings) else torch.float32)
    model = FAMILIES[made.family](made, shape.features, shape.outputs)
    sites = model.sites(weights, dict.fromkeys(weights, 1.0), x)
    multiplied = [site for site in sites if not bool((site.h_ExBxI.sum(-1) == 1).all())]
    products = sum(site.h_ExBxI[0].numel() * site.z_ExBxO.shape[-1] for site in multiplied)
    assert cost(made).flops == pytest.approx(2 * products * (6 * 16 * 1000 + 2 * 2 * 100 * 5))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 100 * 10),
        ({"norm": "layer"}, 100 * 10 + 50 * (3 * 24 + 10)),
        ({"data": "digits", "data_options": {}}, 100 * 10),
        ({"family": "transformer", "norm": "rms", "data": "python_text",
          "data_options": {"encoding": "tokens", "context": 16}},
         16 * (100 * 256 + 50 * (3 * (3 + 1 + 4 + 1) * 24 + 256))),
    ],
)  # fmt: skip
def test_bytes_of_outputs_and_activations_are_those_that_were_measured(settings, expected):
    """What an example costs beside its products at 6e10 FLOP/s, at 8e9 bytes/s: 100 bytes an output at every position,
    and where there is a norm 50 bytes a product's output."""
    one, two = (cost(cell(24, 2, **settings, batch_size=size)) for size in (16, 32))
    beside = two.seconds - one.seconds - (two.flops - one.flops) / 6e10
    assert beside * 8e9 / (1000 * 2 * 16) == pytest.approx(expected, rel=1e-6)


def test_a_small_cell_by_hand():
    """Four matrices: 0.25 ms a step; 10 µs a matrix and 28 bytes a parameter for each member and step."""
    made = cell(24, 2, batch_size=16, evaluations=1, evaluation_examples=1)
    weights = 40 * 24 + 2 * 24**2 + 24 * 10
    step = 2.5e-4 + 2 * (4e-5 + 6 * weights * 16 / 6e10 + (28 * weights + 1000 * 16) / 8e9)
    found = cost(made)
    assert found.seconds == pytest.approx(1000 * step + 2 * weights * 2 * 2 * 2 / 6e10, rel=1e-9)
    assert found.memory_bytes == pytest.approx(3e8 + 40 * 2 * weights)
    assert found.gpu_memory_bytes == pytest.approx(3e8 + 24 * 2 * weights)


def test_a_probe_that_costs_more_than_training_is_reckoned_by_reading():
    """lr-batch-rmt-hessian's cell took 2.7 s of processor time, of which training is 0.3."""
    settings = {"data": "digits", "depth": 2, "steps": 300, "probes": ["batch_hessian"]}
    without, once, twice = (
        cost(cell(32, 1, **settings, probe_steps=steps)) for steps in ([0], [0, 300], [0, 150, 300])
    )
    assert without == cost(cell(32, 1, **settings | {"probes": []}))
    assert 2.7 / 2 < once.seconds < 2.7 * 2
    for need in ("flops", "seconds", "gpu_seconds"):
        low, middle, high = (getattr(each, need) for each in (without, once, twice))
        assert high - middle == pytest.approx(middle - low)
        assert middle > 2 * low


def test_a_gradient_of_a_probe_takes_a_launch_and_ten_nanoseconds_a_parameter_and_member():
    """1.4 ms whatever the size; products beside that at 3e10 FLOP/s."""
    settings = {"data": "digits", "depth": 2, "steps": 300, "probe_steps": [0, 300]}
    weights = 64 * 32 + 32**2 + 32 * 10

    def beside(members):
        bare, probed = (cost(cell(32, members, **settings, probes=each)) for each in ([], ["batch_hessian"]))
        return probed.seconds - bare.seconds - (probed.flops - bare.flops) / 3e10

    assert beside(1) > 0
    assert beside(4) / beside(1) == pytest.approx((1.4e-3 + 4e-8 * weights) / (1.4e-3 + 1e-8 * weights), rel=1e-6)


def test_training_studies_have_a_scale_for_gpus():
    studies = [load_study(path) for path in study_paths(ROOT / "config/config.yaml").values()]
    training = [study for study in studies if EXPERIMENTS[study.experiment].stage == "train"]
    assert training
    assert not [study.study for study in training if "paper" not in study.scales]
