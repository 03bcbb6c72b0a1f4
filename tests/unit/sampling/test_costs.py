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
accelerated_sgd 2.56e+07 0.08096 200000000
adversarial_error 2.557e+11 92.82 300000000
associative_memory 2.4e+06 0.02 200050000
attention_network 2.517e+09 1.966 300000000
batch_hessian 9.395e+08 0.3922 500000000
cluster_hessian 2.449e+10 18.47 203509792
deep_bayes 1280 6.4e-05 200000000
deep_linear 1.101e+10 4.877 200000000
free_embedding 2.56e+09 2.12 200000000
gaussian_flow 4.096e+06 0.1044 200000000
graph_network 2.013e+09 1.258 300000000
graph_sensitivity 1.416e+09 0.5662 200294912
hinge_perceptron 8.389e+08 8.444 200012288
interpolant 2.048e+06 0.1042 200000000
kernel_classifier 1.229e+07 0.3569 200038400
kernel_ridge 1.17e+08 0.02892 392000000
label_chain 4.588e+06 0.007291 392000000
learned_updates 5.033e+08 2.386 300512000
lp_regression 1.806e+10 18.06 200000000
majority_vote 7.02e+06 0.451 200000000
matrix_product 4.467e+07 0.1367 264000000
matrix_sensing 1.258e+10 4.247 200000000
matrix_step 1.54e+10 2.734 328000000
memory_updates 8.389e+07 1.002 300000000
multiplicative_sgd 2.322e+08 1.064 100000000
multitasking_memory 5.76e+07 1.888 200120000
one_step 1.73e+08 0.7209 264000000
output_law 3.174e+06 0.007629 300000000
pruned_perceptron 4.424e+07 0.05923 200013824
pruning_depth 2.097e+08 0.6242 201048576
random_features 4.614e+08 0.2025 392000000
rank_sequence 5.278e+08 0.2875 200000000
relu_chain 5.12e+04 0.0008192 200000000
robust_interpolation 2.4e+07 0.344 200000000
robust_sensing 1.244e+10 11.75 200259200
scale_mixture 2.09e+06 0.3225 300000000
scaled_descent 4.207e+08 0.08961 200000000
search_maximum 1.032e+05 0.1012 200000000
signal_propagation 1.049e+08 0.3146 200000000
sketched_regression 1.184e+07 0.02531 200000000
subset_sum 5.12e+04 0.03206 200000640
task_pair 2.458e+08 0.0983 200000000
teacher_student 1.331e+07 0.004224 392000000
temporal_difference 2.079e+08 0.7536 201280000
verified_sampling 3.2e+06 0.192 200000000
xor_clusters 4.572e+10 4.178 204080000
"""


def example(name, **changes):
    entry = SAMPLED[name]
    axes = {axis: value[0] if isinstance(value, list) else value for axis, value in entry.example.grid[0].items()}
    axes.pop("seeds", None)
    settings = {"seed": 0} | entry.example.settings | axes | changes
    return entry.cell(**({} if "samples" in settings else {"width": 64}) | settings)


def draws_of(name):
    """Some hundred draws, of which every experiment takes three times as many."""
    return max(320, *(bound.ge for bound in SAMPLED[name].cell.model_fields["draws"].metadata if hasattr(bound, "ge")))


def cost(name, **changes):
    return SAMPLED[name].cost(example(name, **changes))


@pytest.mark.parametrize("name", SAMPLED)
def test_draws_cost_the_same_each(name):
    some, more, most = (cost(name, draws=times * draws_of(name)) for times in (1, 2, 3))
    for need in ("flops", "seconds"):
        first, second, third = (getattr(each, need) for each in (some, more, most))
        assert second - first == pytest.approx(third - second, rel=0.02)
        assert 0 < second - first <= 1.02 * first
    assert 1e8 <= some.memory_bytes <= more.memory_bytes <= most.memory_bytes < 2e10


def test_what_the_examples_are_reckoned_to_need():
    """Whoever changes a model of costs sees here which ones."""
    costs = {name: cost(name, draws=draws_of(name)) for name in SAMPLED}
    told = (f"{name} {found.flops:.4g} {found.seconds:.4g} {found.memory_bytes:.0f}" for name, found in costs.items())
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
