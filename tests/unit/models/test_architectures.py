"""Graphs against brute force, networks on graphs and of convolutions against plain torch, stacked against looped."""

import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from muster.experiments import Context
from muster.models.convnet import Convnet
from muster.models.dag_mlp import DagMlp
from muster.models.graphs import chain, path_lengths, path_rate, random_graph
from muster.optimizers import OPTIMIZERS
from muster.parameterizations.scaling import scalings
from muster.training.cell import TrainCell, tensors
from muster.training.engine import Data, Stack
from muster.training.train import cost

INPUTS, OUTPUTS, BATCH = 11, 4, 16
RATES = [-8.0, -6.0, -4.0]


def cell(**changes) -> TrainCell:
    settings = {
        "width": 12, "depth": 5, "seed": 2, "log2_lr": RATES, "base_width": 6, "base_depth": 2, "batch_size": BATCH,
        "steps": 6, "optimizer": "adam", "parameterization": "mup", "evaluations": 1, "evaluation_examples": 16,
    }  # fmt: skip
    return TrainCell(**(settings | changes))


FAMILIES = {
    "dag": {"family": "dag_mlp", "edge_density": 0.5},
    "chain": {"family": "dag_mlp"},
    "convnet": {"family": "convnet", "kernel_size": 4, "depth": 3},
}


def toy_data() -> Data:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(64, INPUTS, generator=generator, dtype=torch.float64)
    y = torch.randint(0, OUTPUTS, (64,), generator=generator)
    return Data(x, y, (x[:16], y[:16]), (x[16:32], y[16:32]), OUTPUTS)


def all_paths(graph, node):
    """Lengths in hidden layers of every path from the input to a node, one by one."""
    if node == 0:
        return [0]
    return [length + 1 for source in graph[node - 1] for length in all_paths(graph, source)]


@pytest.mark.parametrize(("depth", "density", "seed"), [*itertools.product([1, 2, 5, 9], [0.0, 0.3, 1.0], [0, 1])])
def test_paths_are_those_of_an_enumeration(depth, density, seed):
    graph = random_graph(depth, density, seed)
    lengths = all_paths(graph, depth)
    assert sorted(path_lengths(graph).elements()) == sorted(lengths)
    assert path_rate(graph) == pytest.approx(sum(length**3 for length in lengths) ** -0.5, rel=1e-14)


@pytest.mark.parametrize("depth", [1, 3, 16])
def test_a_chain_has_the_rate_of_a_plain_network(depth):
    assert path_rate(chain(depth)) == pytest.approx(depth**-1.5)


@pytest.mark.parametrize("seed", range(20))
def test_every_node_of_a_random_graph_lies_on_a_path(seed):
    graph = random_graph(7, 0.2, seed)
    assert graph[0] == (0,)
    for node in range(2, 8):
        assert graph[node - 1]
        assert all(1 <= source < node for source in graph[node - 1])
        assert any(node - 1 in sources for sources in graph[node - 1 :])


def test_a_full_graph_has_every_edge_and_graphs_follow_their_seed():
    assert random_graph(4, 1.0, 0) == ((0,), (1,), (1, 2), (1, 2, 3))
    assert len({random_graph(8, 0.4, seed) for seed in range(6)}) > 3
    assert random_graph(8, 0.4, 1) == random_graph(8, 0.4, 1)


def numbers(c, names):
    scaling = scalings(
        c.parameterization, OPTIMIZERS[c.optimizer].update, c.rule, tensors_of(c), width_ratio=c.width / c.base_width,
        depth_ratio=c.depth / c.base_depth,
    )  # fmt: skip
    return [scaling[name] for name in names]


def tensors_of(c):
    return {"dag_mlp": DagMlp, "convnet": Convnet}[c.family](c, INPUTS, OUTPUTS).tensors


def stack_of(c, members=(0, 1, 2)) -> Stack:
    return Stack(c, list(members), toy_data(), Context(dtype="float64"))


def test_dag_equals_plain_torch_with_its_gradients():
    c = cell(**FAMILIES["dag"])
    stack = stack_of(c)
    model, x = stack.model, toy_data().x[:BATCH]
    leaves = {name: w.detach().requires_grad_() for name, w in stack.weights.items()}
    f = model.output(leaves, stack.multiplier, x.expand(3, *x.shape))
    f.square().sum().backward()
    plain = {name: w[1].detach().clone().requires_grad_() for name, w in stack.weights.items()}
    h = {0: x}
    for node, sources in enumerate(model.graph, start=1):
        total = sum(
            stack.multiplier[f"w{u}_{node}"] * torch.nn.functional.linear(h[u], plain[f"w{u}_{node}"].T)
            for u in sources
        )
        h[node] = torch.relu(total)
    expected = stack.multiplier["w_out"] * torch.nn.functional.linear(h[len(model.graph)], plain["w_out"].T)
    expected.square().sum().backward()
    torch.testing.assert_close(f[1], expected, rtol=0, atol=1e-12)
    for name in plain:
        torch.testing.assert_close(leaves[name].grad[1], plain[name].grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 3, 4, 5])
def test_convnet_equals_torch_conv1d_with_its_gradients(kernel):
    c = cell(**FAMILIES["convnet"] | {"kernel_size": kernel})
    stack = stack_of(c)
    x = toy_data().x[:BATCH]
    leaves = {name: w.detach().requires_grad_() for name, w in stack.weights.items()}
    f = stack.model.output(leaves, stack.multiplier, x.expand(3, *x.shape))
    f.square().sum().backward()
    plain = {name: w[1].detach().clone().requires_grad_() for name, w in stack.weights.items()}
    h = x.unsqueeze(1)
    for layer in range(1, c.depth + 1):
        # [kernel · channels, out] in our order, kernel position first; conv1d wants [out, channels, kernel].
        weight = plain[f"w{layer}"].unflatten(0, (kernel, -1)).permute(2, 1, 0)
        padded = torch.nn.functional.pad(h, ((kernel - 1) // 2, kernel // 2))
        h = torch.relu(stack.multiplier[f"w{layer}"] * torch.nn.functional.conv1d(padded, weight))
    expected = stack.multiplier["w4"] * torch.nn.functional.linear(h.mean(2), plain["w4"].T)
    expected.square().sum().backward()
    torch.testing.assert_close(f[1], expected, rtol=0, atol=1e-12)
    for name in plain:
        torch.testing.assert_close(leaves[name].grad[1], plain[name].grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@torch.no_grad()
def test_stacked_equals_looped(family, optimizer):
    c = cell(**FAMILIES[family], optimizer=optimizer)

    def trained(members):
        stack = stack_of(c, members)
        stack.start()
        for _ in range(c.steps):
            stack.advance()
        return stack.weights

    together = trained([0, 1, 2])
    for member in range(3):
        alone = trained([member])
        for name, w in together.items():
            torch.testing.assert_close(w[member], alone[name][0], rtol=1e-12, atol=1e-13)


def test_initial_variance_is_shared_by_the_sources_of_a_node():
    c = cell(**FAMILIES["dag"], parameterization="sp")
    graph = random_graph(c.depth, 0.5, c.seed)
    (crowded,) = [node for node, sources in enumerate(graph, start=1) if len(sources) == max(map(len, graph))][:1]
    degree = len(graph[crowded - 1])
    assert degree > 1
    for scaling in numbers(c, [f"w{source}_{crowded}" for source in graph[crowded - 1]]):
        assert scaling.init_std == pytest.approx(math.sqrt(2 / (degree * c.width)))


def test_sites_end_in_the_output_and_name_their_tensors():
    for changes in FAMILIES.values():
        stack = stack_of(cell(**changes))
        x = stack.stacked(toy_data().x[:BATCH])
        sites = stack.model.sites(stack.weights, stack.multiplier, x)
        assert {site.weight for site in sites} == set(stack.weights)
        for site in sites:
            expected = torch.bmm(site.h_ExBxI, stack.weights[site.weight]) * stack.multiplier[site.weight]
            torch.testing.assert_close(site.z_ExBxO, expected, rtol=0, atol=1e-14)
        torch.testing.assert_close(sites[-1].z_ExBxO, stack.model.output(stack.weights, stack.multiplier, x))


def test_the_rule_of_architecture_scales_every_rate():
    c = cell(**FAMILIES["dag"], parameterization="sp", rule="constant")
    ruled = c.model_copy(update={"architecture_rate": True})
    names = [tensor.name for tensor in tensors_of(c)]
    paths = all_paths(random_graph(c.depth, 0.5, c.seed), c.depth)
    expected = math.sqrt(c.base_depth**3 / sum(length**3 for length in paths))
    for free, bound in zip(numbers(c, names), numbers(ruled, names), strict=True):
        assert bound.lr == pytest.approx(expected * free.lr)
        assert bound.lr * bound.weight_decay == pytest.approx(free.lr * free.weight_decay)
        assert bound[:2] == free[:2]
    c = cell(**FAMILIES["convnet"], rule="constant", architecture_rate=True)
    assert numbers(c, ["w1"])[0].lr == pytest.approx((3 / 2) ** -1.5 / 4)


def test_the_input_layer_may_have_a_rate_of_its_own():
    c = cell(input_rate=0.125, rule="constant", parameterization="sp")
    stack = stack_of(c)
    assert stack.scaling["w1"].lr == 0.125
    assert stack.scaling["w2"].lr == stack.scaling["w6"].lr == 1.0


def test_costs_count_positions_and_edges():
    c = cell(**FAMILIES["dag"], data="mnist1d")
    edges = sum(map(len, random_graph(c.depth, 0.5, c.seed))) - 1
    assert sum(math.prod(each.shape) for each in tensors(c)) == 40 * 12 + edges * 144 + 12 * 10
    wide, narrow = (cost(cell(**FAMILIES["convnet"] | {"kernel_size": q}, data="mnist1d")).flops for q in (8, 4))
    assert wide == pytest.approx(2 * narrow, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"edge_density": 0.5},
        {"kernel_size": 3},
        {"architecture_rate": True},
        {"family": "convnet", "input_rate": 0.1},
        {"family": "dag_mlp", "bias": True},
        {"family": "convnet", "norm": "layer"},
    ],
)
def test_settings_of_other_families_are_refused(changes):
    with pytest.raises(ValidationError, match="famil"):
        cell(**changes)


def test_absent_settings_leave_names_of_cells_alone():
    assert not {"edge_density", "kernel_size", "architecture_rate", "input_rate"} & set(
        cell().model_dump(exclude_none=True)
    )
