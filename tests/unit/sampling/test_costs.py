"""Every sampling experiment at the size of its example: its tables, and what a cell is reckoned to need, by which
plans, progress and the column `flops` go."""

import numpy as np
import pytest

from muster.experiments import EXPERIMENTS, Context

EVERY = {name: entry for name in EXPERIMENTS if (entry := EXPERIMENTS[name]).stage == "sample" and entry.example}
SAMPLED = {name: entry for name, entry in EVERY.items() if "draws" in entry.cell.model_fields}


EXPECTED = """
accelerated_sgd 2.56e+07 0.08096 200000000
adversarial_error 2.557e+11 8.094 300000000
associative_memory 2.4e+06 0.02 200050000
attention_network 2.517e+09 1.966 300000000
batch_hessian 9.395e+08 0.3922 500000000
class_collapse 1.237e+12 219.7 300000000
cluster_hessian 2.449e+10 18.47 203509792
dag_kernel 2.802e+08 0.28 200147456
deep_bayes 1280 6.4e-05 200000000
deep_linear 1.101e+10 4.877 200000000
free_embedding 2.56e+09 2.12 200000000
frozen_weights 2.123e+10 3 226214400
gaussian_flow 4.096e+06 0.1044 200000000
graph_jacobian 3.424e+07 0.0408 200024576
graph_kernel 3.104e+09 0.1325 300025600
graph_network 2.013e+09 1.258 300000000
graph_sensitivity 1.416e+09 0.5662 200294912
hinge_perceptron 8.389e+08 8.444 200012288
interpolant 2.048e+06 0.1042 200000000
interpolation_hessian 2.905e+09 4.619 310755840
kaplan_counting 2.16e+04 0.05022 200000000
kernel_classifier 1.229e+07 0.3569 200038400
kernel_ridge 1.17e+08 0.02892 392000000
kernel_sensitivity 3.364e+08 0.1398 200264960
label_chain 4.588e+06 0.007291 392000000
layer_alignment 8.946e+10 12.21 720000000
learned_updates 5.033e+08 2.386 300512000
lp_regression 1.806e+10 18.06 200000000
majority_vote 7.02e+06 0.451 200000000
matrix_product 4.467e+07 0.1367 264000000
matrix_sensing 1.258e+10 4.247 200000000
matrix_step 1.54e+10 2.734 328000000
memory_updates 8.389e+07 1.002 300000000
modular_grokking 3.624e+08 0.1667 200000000
modular_training 2.634e+12 191.8 297909760
multiplicative_sgd 2.322e+08 1.064 100000000
multitasking_memory 5.76e+07 1.888 200120000
ngram_emergence 2e+06 1.025 300800000
one_step 1.73e+08 0.7209 264000000
output_law 3.174e+06 0.007629 300000000
planted_sweep 200 0.02 200000000
pruned_perceptron 4.424e+07 0.05923 200013824
pruning_depth 2.097e+08 0.6242 201048576
random_features 4.614e+08 0.2025 392000000
random_subspace 4.557e+11 108.1 607200000
rank_sequence 5.278e+08 0.2875 200000000
rank_start 4.719e+09 1.554 215728640
relu_chain 5.12e+04 0.0008192 200000000
robust_interpolation 2.4e+07 0.344 200000000
robust_sensing 1.244e+10 11.75 200259200
scale_mixture 2.09e+06 0.3225 300000000
scaled_descent 4.207e+08 0.08961 200000000
search_maximum 1.032e+05 0.1012 200000000
signal_propagation 1.049e+08 0.3146 200000000
siren 4.194e+06 0.1853 200000000
sketched_regression 1.184e+07 0.02531 200000000
softmax_collapse 1.258e+08 0.2345 200000000
subset_sum 5.12e+04 0.03206 200000640
task_pair 2.458e+08 0.0983 200000000
teacher_student 1.331e+07 0.004224 392000000
temporal_difference 2.079e+08 0.7536 201280000
torus_regression 7.68e+07 1.6 200100000
verified_sampling 3.2e+06 0.192 200000000
xor_clusters 4.572e+10 4.178 204080000
"""


def example(name, **changes):
    entry = EVERY[name]
    axes = {axis: value[0] if isinstance(value, list) else value for axis, value in entry.example.grid[0].items()}
    axes.pop("seeds", None)
    axes |= {axis: [-8.0, -6.0] for axis in entry.cell.member_axes}
    settings = {"seed": 0} | entry.example.settings | axes | changes
    sized = "width" in entry.cell.model_fields and "samples" not in settings
    return entry.cell(**({"width": 64} if sized else {}) | settings)


def draws_of(name):
    """Some hundred draws, of which every experiment takes three times as many."""
    return max(320, *(bound.ge for bound in SAMPLED[name].cell.model_fields["draws"].metadata if hasattr(bound, "ge")))


def cost(name, **changes):
    return EVERY[name].cost(example(name, **changes))


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
    costs = {name: cost(name, **({"draws": draws_of(name)} if name in SAMPLED else {})) for name in EVERY}
    told = (f"{name} {found.flops:.4g} {found.seconds:.4g} {found.memory_bytes:.0f}" for name, found in costs.items())
    assert sorted(told) == EXPECTED.split("\n")[1:-1]


SMOKE = {name: example(name, **EVERY[name].example.smoke) for name in EVERY if name != "planted_sweep"}
QUICK = [name for name in SMOKE if EVERY[name].cost(SMOKE[name]).seconds < 0.3]
PROBES = """
accelerated_sgd risk 4 50:400 1:1
accelerated_sgd risk_ratio 4 50:400 1:1
accelerated_sgd risk_share 4 50:400 1:1
adversarial_error adversarial_error 1 0:0 1:1
adversarial_error changed 1 0:0 1:1
associative_memory capacity 1 0:0 1:1
attention_network dispersion 40 0:0 1:40
attention_network dispersion_factor 40 0:0 1:40
batch_hessian batch_outlier 1 0:0 1:1
batch_hessian outlier_excess 1 0:0 1:1
cluster_hessian eigenvalue 16 0:0 1:16
cluster_hessian large 1 0:0 1:1
cluster_hessian loss 1 0:0 1:1
dag_kernel chain_least 1 0:0 1:1
deep_bayes effective_draws 1 0:0 1:1
deep_bayes scale_share 1 0:0 1:1
deep_linear half_time 4 0:0 1:4
deep_linear learning_time 1 0:0 1:1
deep_linear mode_strength 76 100:1900 1:4
free_embedding critical_documents 1 0:0 1:1
frozen_weights best_rate 1 0:0 4:4
frozen_weights test_loss 1 0:0 4:4
gaussian_flow flow_distance 1 0:0 1:1
gaussian_flow modified_distance 1 0:0 1:1
gaussian_flow reversed_distance 1 0:0 1:1
graph_jacobian one_path_ratio 1 0:0 4:4
graph_jacobian path_ratio 1 0:0 4:4
graph_jacobian sensitivity 1 0:0 4:4
graph_jacobian spectral_norm 1 0:0 4:4
graph_kernel eigenvalue_error 3 0:0 1:3
graph_kernel kernel_error 1 0:0 1:1
graph_network dispersion 24 0:0 1:24
graph_network dispersion_factor 24 0:0 1:24
graph_network final_dispersion 1 0:0 24:24
graph_network gap_factor 24 0:0 1:24
graph_network size 24 0:0 1:24
graph_network size_factor 24 0:0 1:24
graph_sensitivity distance_rank 1 0:0 1:1
graph_sensitivity resistance_rank 1 0:0 1:1
graph_sensitivity resistance_rank_at_two 1 0:0 1:1
graph_sensitivity rewired 1 0:0 1:1
hinge_perceptron duration 1 0:0 1:1
hinge_perceptron informative 1 0:0 1:1
hinge_perceptron uninformative 1 0:0 1:1
interpolant risk 4 0:0 1:4
interpolation_hessian early_eigenvalue 104 0:0 1:104
interpolation_hessian early_large 1 0:0 1:1
interpolation_hessian early_nonzero 1 0:0 1:1
interpolation_hessian eigenvalue 104 0:0 1:104
interpolation_hessian gap 1 0:0 1:1
interpolation_hessian nonzero 1 0:0 1:1
kaplan_counting closed_form_exponent 6 0:0 1:6
kernel_classifier excess_risk 6 0:0 1:8
kernel_classifier worst_excess 1 0:0 1:1
kernel_ridge cost 1 0:0 1:1
kernel_ridge noise_cost 1 0:0 1:1
kernel_sensitivity sensitivity 1 0:0 1:1
label_chain excess_risk 4 0:0 1:4
label_chain pollution 4 0:0 1:4
learned_updates change 8 1:4 1:4
lp_regression updates 1 0:0 1:1
majority_vote accuracy 32 0:0 1:63
majority_vote best_calls 1 0:0 1:1
majority_vote regret 1 0:0 1:1
matrix_product ks_limit 1 0:0 1:1
matrix_product ks_uniform 1 0:0 1:1
matrix_product lyapunov 8 0:0 1:8
matrix_sensing decay_rate 40 2:4096 1:1
matrix_sensing final_decay_rate 1 4096:4096 1:1
matrix_sensing squared_error 44 1:4096 1:1
matrix_step change 8 1:4 1:4
matrix_step own_change 4 1:1 1:4
memory_updates force 1 0:0 1:1
memory_updates overlap_change 1 0:0 1:1
memory_updates state_change 1 0:0 1:1
modular_grokking best_accuracy 1 0:0 1:1
modular_grokking collapse_steps 1 0:0 1:1
modular_grokking heldout_accuracy 1 0:0 1:1
modular_grokking train_accuracy 1 0:0 1:1
modular_grokking zero_losses 1 0:0 1:1
multitasking_memory balance 1 0:0 1:1
multitasking_memory signal 3 0:0 1:3
one_step squared_update 1 0:0 4:4
output_law ks 2 0:0 1:2
output_law ks_derivative 2 0:0 1:2
output_law ks_joint 2 0:0 1:2
output_law norm_var_relative 2 0:0 1:2
output_law wasserstein 2 0:0 1:2
pruned_perceptron easy_error 1 0:0 1:1
pruned_perceptron easy_over_hard 1 0:0 1:1
pruned_perceptron frontier_error 1 0:0 1:1
pruned_perceptron hard_error 1 0:0 1:1
pruning_depth critical_sparsity 1 0:0 1:1
random_features excess 1 0:0 1:1
random_features inflation 1 0:0 1:1
random_features loss 1 0:0 1:1
rank_sequence growth 3 0:0 1:3
rank_sequence rank_error 2 0:0 1:2
rank_start kernel_angle 1 0:0 1:1
rank_start kernel_change 1 0:0 1:1
relu_chain alive_share 16 0:0 1:16
relu_chain kurtosis_ratio 16 0:0 1:16
relu_chain log_norm_mean 16 0:0 1:16
relu_chain log_norm_var 16 0:0 1:16
relu_chain norm_var_relative 16 0:0 1:16
robust_interpolation lipschitz 1 0:0 1:1
robust_sensing final_error 1 0:0 1:1
robust_sensing growth 1 0:0 1:1
scale_mixture hill 1 0:0 1:1
scale_mixture ks 1 0:0 1:1
scaled_descent updates 1 0:0 1:1
search_maximum coverage 1 0:0 1:1
search_maximum plug_in_bias 1 0:0 1:1
search_maximum plug_in_mean 1 0:0 1:1
search_maximum rmse_ratio 1 0:0 1:1
search_maximum unbiased_bias 1 0:0 1:1
signal_propagation kernel 64 0:0 1:64
signal_propagation kernel_factor 64 0:0 1:64
signal_propagation tangent_factor 64 0:0 1:64
signal_propagation tangent_kernel 64 0:0 1:64
siren ks_arcsine 4 0:0 1:8
siren ks_normal 4 0:0 1:8
siren preactivation_var 8 0:0 1:8
siren sine_var 8 0:0 1:8
sketched_regression risk 1 0:0 1:1
softmax_collapse collapse_margin 1 0:0 32:32
softmax_collapse collapse_steps 1 0:0 32:32
subset_sum single_error 1 0:0 16:16
subset_sum subset_error 1 0:0 16:16
task_pair forgetting 1 0:0 1:1
teacher_student excess_error 12 1:64 1:1
teacher_student init_error 12 1:64 1:1
teacher_student noise_error 12 1:64 1:1
teacher_student overtraining 1 64:64 1:1
temporal_difference bellman_error 15 0:0 4:160
temporal_difference peak_height 1 0:0 1:1
temporal_difference peak_ratio 1 0:0 1:1
torus_regression distance 1 0:0 1:1
torus_regression error 1 0:0 1:1
verified_sampling accuracy 6 0:0 1:32
verified_sampling below_ten 1 0:0 1:1
verified_sampling best_calls 1 0:0 1:1
xor_clusters test_accuracy 7 1:64 1:1
xor_clusters train_accuracy 7 1:64 1:1
"""


@pytest.fixture(scope="module")
def quick():
    return {name: EVERY[name].run(SMOKE[name], Context(progress=lambda line: None)) for name in QUICK}


@pytest.mark.parametrize("name", QUICK)
def test_tables_of_a_few_draws(name, quick):
    """Layers count from 1, or are 0; no probe is told twice; errors are not negative; FLOPs are those reckoned; what
    trains nothing takes no step and has no time and no training loss."""
    found = quick[name]
    assert len(found.curves) == 0
    assert not found.runs["diverged"].any()
    assert (found.runs["steps"] == 0).all()
    assert found.runs[["seconds", "final_train_loss"]].isna().all(axis=None)
    if name != "kaplan_counting":  # whose runs are not its own
        assert found.runs["flops"].item() == EVERY[name].cost(SMOKE[name]).flops
        assert found.runs["final_eval_loss"].isna().all()
    probes = found.probes
    keys = ["step", "probe", "layer"] if name != "kaplan_counting" else ["run", "step", "probe", "layer"]
    assert not probes.duplicated(keys).any()
    assert probes[["step", "layer"]].min().min() >= 0
    assert np.isfinite(probes["value"]).mean() > 0.5
    assert not (probes["se"] < 0).any()


def test_where_the_probes_of_the_examples_stand(quick):
    """Studies select probes by step and layer: whoever changes these sees here which. rows, first:last step, layer."""
    told = []
    for name, found in quick.items():
        for probe, rows in found.probes.groupby("probe"):
            ends = (f"{rows[axis].min()}:{rows[axis].max()}" for axis in ("step", "layer"))
            told.append(f"{name} {probe} {len(rows)} {' '.join(ends)}")
    assert sorted(told) == PROBES.split("\n")[1:-1]


def test_the_cost_of_random_features_in_the_limits_by_hand():
    """Each draw: 4 n² m of products, 2.7 n³ of factorisations and n m normal numbers for both sizes n."""
    entry = EVERY["random_features"]
    cell = entry.cell(width=20, samples=50, latent=100, quantity="limits", draws=7, seed=0)
    products, factorisations, numbers = 400 * (20**2 + 50**2), 2.7 * (20**3 + 50**3), 100 * 70
    found = entry.cost(cell)
    assert found.flops == pytest.approx(7 * (products + factorisations))
    assert found.seconds == pytest.approx(7 * (products / 2e10 + factorisations / 4e9 + 1.5e-8 * numbers))
