"""Every sampling experiment at the size of its example: its tables, and what a cell is reckoned to need, by which
plans, progress and the column `flops` go."""

import numpy as np
import pytest

from muster.experiments import EXPERIMENTS, Context

SAMPLED = {
    name: entry
    for name in EXPERIMENTS
    if (entry := EXPERIMENTS[name]).stage == "sample" and entry.example and "draws" in entry.cell.model_fields
}


EXPECTED = """
associative_memory 7.5e+07 0.625
attention_network 7.864e+10 61.44
batch_hessian 2.936e+10 12.26
deep_bayes 4e+04 0.002
deep_linear 3.441e+11 152.4
gaussian_flow 1.28e+08 3.264
graph_network 6.291e+10 39.32
hinge_perceptron 2.621e+10 263.9
interpolant 6.4e+07 3.256
kernel_ridge 3.656e+09 0.9037
label_chain 1.434e+08 0.2278
learned_updates 1.573e+10 74.58
majority_vote 2.194e+08 11.07
matrix_product 1.396e+09 4.271
matrix_sensing 3.932e+11 132.7
matrix_step 4.812e+11 85.44
memory_updates 2.621e+09 31.31
multiplicative_sgd 5.024e+09 20.23
one_step 5.407e+09 22.53
output_law 9.92e+07 0.2384
pruned_perceptron 1.382e+09 1.851
random_features 1.442e+10 6.328
rank_sequence 1.649e+10 6.674
relu_chain 1.6e+06 0.0256
robust_sensing 3.888e+11 367.2
scale_mixture 2.9e+06 0.525
scaled_descent 1.315e+10 2.635
search_maximum 2e+05 0.1024
signal_propagation 3.277e+09 9.83
sketched_regression 3.7e+08 0.791
subset_sum 1.6e+06 1.002
task_pair 7.68e+09 3.072
teacher_student 4.16e+08 0.132
temporal_difference 6.498e+09 23.55
verified_sampling 1e+08 6
xor_clusters 1.429e+12 130.6
"""


def example(name, **changes):
    entry = SAMPLED[name]
    axes = {axis: value[0] if isinstance(value, list) else value for axis, value in entry.example.grid[0].items()}
    axes.pop("seeds", None)
    settings = {"seed": 0} | entry.example.settings | axes | changes
    return entry.cell(**({} if "samples" in settings else {"width": 64}) | settings)


def cost(name, **changes):
    return SAMPLED[name].cost(example(name, **changes))


@pytest.mark.parametrize("name", SAMPLED)
def test_draws_cost_the_same_each(name):
    some, more, most = (cost(name, draws=draws) for draws in (10_000, 20_000, 30_000))
    for need in ("flops", "seconds"):
        first, second, third = (getattr(each, need) for each in (some, more, most))
        assert second - first == pytest.approx(third - second, rel=0.02)
        assert 0.01 * first < second - first <= 1.02 * first
    assert 1e8 <= some.memory_bytes <= more.memory_bytes <= most.memory_bytes < 2e10


def test_what_the_examples_are_reckoned_to_need():
    """Whoever changes a model of costs sees here which ones, at 10,000 draws."""
    told = (f"{name} {found.flops:.4g} {found.seconds:.4g}" for name in SAMPLED for found in [cost(name, draws=10_000)])
    assert sorted(told) == EXPECTED.split("\n")[1:-1]


SMOKE = {name: example(name, **SAMPLED[name].example.smoke) for name in SAMPLED}


@pytest.mark.parametrize("name", [name for name in SMOKE if SAMPLED[name].cost(SMOKE[name]).seconds < 0.2])
def test_tables_of_a_few_draws(name):
    """Layers count from 1, or are 0; no probe is told twice; errors are not negative; FLOPs are those reckoned."""
    cell = SMOKE[name]
    found = SAMPLED[name].run(cell, Context(progress=lambda line: None))
    assert (len(found.runs), len(found.curves)) == (1, 0)
    assert found.runs["flops"].item() == SAMPLED[name].cost(cell).flops
    probes = found.probes
    assert not probes.duplicated(["step", "probe", "layer"]).any()
    assert probes[["step", "layer"]].min().min() >= 0
    assert np.isfinite(probes["value"]).mean() > 0.5
    assert not (probes["se"] < 0).any()
