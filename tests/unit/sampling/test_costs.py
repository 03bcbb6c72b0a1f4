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
PROBES = """
accelerated_sgd risk 4 50:400 1:1 0.06797 0.001289
accelerated_sgd risk_ratio 4 50:400 1:1 0.7171 0.004067
accelerated_sgd risk_share 4 50:400 1:1 1.683 0.01664
adversarial_error adversarial_error 1 0:0 1:1 0.06484 0.0008517
adversarial_error changed 1 0:0 1:1 0.08929 0.001689
associative_memory capacity 1 0:0 1:1 20.38 0.8115
attention_network dispersion 40 0:0 1:40 0.8997 0.0203
attention_network dispersion_factor 40 0:0 1:40 0.9948 0.004815
batch_hessian batch_outlier 1 0:0 1:1 1.092 0.01702
batch_hessian outlier_excess 1 0:0 1:1 0.1267 0.007196
class_collapse bound_ratio 1 0:0 1:1 0.04652 0.003492
class_collapse error 1 0:0 1:1 0.3688 0.01479
class_collapse error_change 1 0:0 1:1 0.401 0.008581
class_collapse rank_correlation 1 0:0 1:1 0.9661 0.006086
class_collapse relative_variance 1 0:0 1:1 0.114 0.002616
class_collapse train_accuracy 1 0:0 1:1 1 0
class_collapse variance 1 0:0 1:1 0.3484 0.04019
cluster_hessian eigenvalue 16 0:0 1:16 0.2599 0.02053
cluster_hessian large 1 0:0 1:1 2.449 0.2867
cluster_hessian loss 1 0:0 1:1 0.07178 0.006311
dag_kernel chain_least 1 0:0 1:1 0.01943 0.0001915
deep_bayes effective_draws 1 0:0 1:1 6065 nan
deep_bayes scale_share 1 0:0 1:1 0.3689 0.003352
deep_linear half_time 4 0:0 1:4 5.079 4.021e-15
deep_linear learning_time 1 0:0 1:1 2.338 6.489e-16
deep_linear mode_strength 76 100:1900 1:4 0.8091 4.013e-16
free_embedding critical_documents 1 0:0 1:1 2 nan
frozen_weights best_rate 1 0:0 4:4 4 nan
frozen_weights test_loss 1 0:0 4:4 0.2109 0.001856
gaussian_flow flow_distance 1 0:0 1:1 0.0106 0.0012
gaussian_flow modified_distance 1 0:0 1:1 0.001987 0.0002967
gaussian_flow reversed_distance 1 0:0 1:1 0.02021 0.002319
graph_jacobian one_path_ratio 1 0:0 4:4 0.3993 0.132
graph_jacobian path_ratio 1 0:0 4:4 0.3993 0.132
graph_jacobian sensitivity 1 0:0 4:4 0.007061 0.001373
graph_jacobian spectral_norm 1 0:0 4:4 0.01779 0.004
graph_kernel eigenvalue_error 3 0:0 1:3 0.06585 0.03253
graph_kernel kernel_error 1 0:0 1:1 0.1485 0.05415
graph_network dispersion 24 0:0 1:24 0.07091 0.004162
graph_network dispersion_factor 24 0:0 1:24 0.358 0.05672
graph_network final_dispersion 1 0:0 24:24 9.929e-12 4.194e-12
graph_network gap_factor 24 0:0 1:24 1.004 0.159
graph_network size 24 0:0 1:24 0.04293 0.002943
graph_network size_factor 24 0:0 1:24 0.9647 0.1333
graph_sensitivity distance_rank 1 0:0 1:1 0.8284 0.04978
graph_sensitivity resistance_rank 1 0:0 1:1 0.6486 0.009143
graph_sensitivity resistance_rank_at_two 1 0:0 1:1 0.3743 0.05019
graph_sensitivity rewired 1 0:0 1:1 0.9862 0.004832
hinge_perceptron duration 1 0:0 1:1 5995 1683
hinge_perceptron informative 1 0:0 1:1 299.9 24.15
hinge_perceptron uninformative 1 0:0 1:1 73.62 5.056
interpolant risk 4 0:0 1:4 6.003 1.528
interpolation_hessian early_eigenvalue 104 0:0 1:104 0.7395 0.08875
interpolation_hessian early_large 1 0:0 1:1 19.34 2.493
interpolation_hessian early_nonzero 1 0:0 1:1 64 0
interpolation_hessian eigenvalue 104 0:0 1:104 0.7415 0.09474
interpolation_hessian gap 1 0:0 1:1 7.753e+11 7.773e+11
interpolation_hessian nonzero 1 0:0 1:1 15 0
kaplan_counting closed_form_exponent 6 0:0 1:6 0.74 0
kernel_classifier excess_risk 6 0:0 1:8 0.03649 0.003437
kernel_classifier worst_excess 1 0:0 1:1 0.04965 0.004484
kernel_ridge cost 1 0:0 1:1 1.195 0.01764
kernel_ridge noise_cost 1 0:0 1:1 1.972 0.04075
kernel_sensitivity sensitivity 1 0:0 1:1 1.992 0.0005627
label_chain excess_risk 4 0:0 1:4 1.346 0.1086
label_chain pollution 4 0:0 1:4 1.027 0.07407
layer_alignment alignment 6 0:0 1:6 0.6862 0.03909
layer_alignment first_alignment 6 0:0 1:6 0.3553 0.05737
layer_alignment first_mean_alignment 1 0:0 1:1 0.03204 0.009375
layer_alignment least_rise 1 0:0 1:1 0.1418 0.04156
layer_alignment mean_alignment 1 0:0 1:1 0.5884 0.03913
learned_updates change 8 1:4 1:4 0.002384 0.0004616
lp_regression updates 1 0:0 1:1 1790 777.8
majority_vote accuracy 32 0:0 1:63 0.4915 0.0001891
majority_vote best_calls 1 0:0 1:1 3 0
majority_vote regret 1 0:0 1:1 0.002247 0.0008704
matrix_product ks_limit 1 0:0 1:1 0.2697 0.07896
matrix_product ks_uniform 1 0:0 1:1 0.2319 0.01486
matrix_product lyapunov 8 0:0 1:8 0.8053 0.1216
matrix_sensing decay_rate 40 2:4096 1:1 0.7194 0.1872
matrix_sensing final_decay_rate 1 4096:4096 1:1 0.006744 1.295e-06
matrix_sensing squared_error 44 1:4096 1:1 1.068 0.173
matrix_step change 8 1:4 1:4 0.005461 0.0001741
matrix_step own_change 4 1:1 1:4 0.001377 1.95e-05
memory_updates force 1 0:0 1:1 0.3464 0.004956
memory_updates overlap_change 1 0:0 1:1 0.0003301 4.353e-06
memory_updates state_change 1 0:0 1:1 0.0001509 3.466e-06
modular_grokking best_accuracy 1 0:0 1:1 0.04167 nan
modular_grokking collapse_steps 1 0:0 1:1 100 nan
modular_grokking heldout_accuracy 1 0:0 1:1 0 nan
modular_grokking train_accuracy 1 0:0 1:1 0.6575 nan
modular_grokking zero_losses 1 0:0 1:1 0 nan
modular_training critical_pairs 3 150:600 1:1 89.02 5.775
modular_training critical_ratio 3 150:600 1:1 3.375 0.219
modular_training heldout_accuracy 9 150:600 160:400 0.4253 0.06514
multiplicative_sgd noise_threshold 1 0:0 1:1 6.035 0.05173
multitasking_memory balance 1 0:0 1:1 0.02888 0.001384
multitasking_memory signal 3 0:0 1:3 0.5256 0.009971
ngram_emergence exact_match 20 50:400 1:16 0.2569 0.01531
ngram_emergence extra_late_rise 5 0:0 1:16 0.2919 nan
ngram_emergence late_rise 5 0:0 1:16 0.8508 nan
ngram_emergence log_ratio 16 50:400 2:16 0.5427 nan
ngram_emergence sharpness 5 0:0 1:16 1.016 nan
one_step squared_update 1 0:0 4:4 10.24 2.627
output_law ks 2 0:0 1:2 0.01649 0.001016
output_law ks_derivative 2 0:0 1:2 0.01619 0.00104
output_law ks_joint 2 0:0 1:2 0.01931 0.001089
output_law norm_var_relative 2 0:0 1:2 0.2582 0.02113
output_law wasserstein 2 0:0 1:2 0.0424 0.002641
pruned_perceptron easy_error 1 0:0 1:1 0.09522 0.007796
pruned_perceptron easy_over_hard 1 0:0 1:1 0.908 0.09004
pruned_perceptron frontier_error 1 0:0 1:1 0.1049 0.01263
pruned_perceptron hard_error 1 0:0 1:1 0.1049 0.01263
pruning_depth critical_sparsity 1 0:0 1:1 0.4505 0.03552
random_features excess 1 0:0 1:1 0.08289 0.008868
random_features inflation 1 0:0 1:1 1.151 0.01856
random_features loss 1 0:0 1:1 0.6331 0.06295
random_subspace accuracy 6 0:0 16:91 0.3047 0.04998
random_subspace full_accuracy 1 0:0 1:1 0.5377 0.03518
random_subspace intrinsic_dimension 1 0:0 1:1 82.66 4.541
rank_sequence growth 3 0:0 1:3 96.14 11.42
rank_sequence rank_error 2 0:0 1:2 0.07062 0.01006
rank_start kernel_angle 1 0:0 1:1 0.2522 0.05203
rank_start kernel_change 1 0:0 1:1 1.489 0.2117
relu_chain alive_share 16 0:0 1:16 1 0
relu_chain kurtosis_ratio 16 0:0 1:16 2.125 0.02444
relu_chain log_norm_mean 16 0:0 1:16 0.3872 0.02667
relu_chain log_norm_var 16 0:0 1:16 0.8117 0.03385
relu_chain norm_var_relative 16 0:0 1:16 1.223 0.02444
robust_interpolation lipschitz 1 0:0 1:1 125.2 15.11
robust_sensing final_error 1 0:0 1:1 0.01304 0.005688
robust_sensing growth 1 0:0 1:1 10.89 1.403
scale_mixture hill 1 0:0 1:1 5.376 2.404
scale_mixture ks 1 0:0 1:1 0.01907 0.0006119
scaled_descent updates 1 0:0 1:1 123 4
search_maximum coverage 1 0:0 1:1 0.32 0.04688
search_maximum plug_in_bias 1 0:0 1:1 0.3801 0.05
search_maximum plug_in_mean 1 0:0 1:1 4.548 0.1412
search_maximum rmse_ratio 1 0:0 1:1 1.281 0.04711
search_maximum unbiased_bias 1 0:0 1:1 0.03335 0.05
signal_propagation kernel 64 0:0 1:64 0.06921 0.0006546
signal_propagation kernel_factor 64 0:0 1:64 0.9371 0.008212
signal_propagation tangent_factor 64 0:0 1:64 0.9429 0.01047
signal_propagation tangent_kernel 64 0:0 1:64 0.08746 0.00211
siren ks_arcsine 4 0:0 1:8 0.06724 0.009395
siren ks_normal 4 0:0 1:8 0.03222 0.00727
siren preactivation_var 8 0:0 1:8 0.8205 0.0304
siren sine_var 8 0:0 1:8 0.4018 0.008014
sketched_regression risk 1 0:0 1:1 1.782 0.261
softmax_collapse collapse_margin 1 0:0 32:32 4.557 0
softmax_collapse collapse_steps 1 0:0 32:32 90.95 2.999
subset_sum single_error 1 0:0 16:16 0.1267 0.01467
subset_sum subset_error 1 0:0 16:16 0.02535 0.003761
task_pair forgetting 1 0:0 1:1 0.5199 0.07342
teacher_student excess_error 12 1:64 1:1 2.581 0.08384
teacher_student init_error 12 1:64 1:1 0.1951 0.008113
teacher_student noise_error 12 1:64 1:1 2.488 0.08503
teacher_student overtraining 1 64:64 1:1 7.829 0.3098
temporal_difference bellman_error 15 0:0 4:160 29.72 18.29
temporal_difference peak_height 1 0:0 1:1 8.742 4.382
temporal_difference peak_ratio 1 0:0 1:1 0.9875 0.05806
torus_regression distance 1 0:0 1:1 0.01578 0.0001182
torus_regression error 1 0:0 1:1 0.0612 0.0004578
verified_sampling accuracy 6 0:0 1:32 0.4339 0.00103
verified_sampling below_ten 1 0:0 1:1 1 0
verified_sampling best_calls 1 0:0 1:1 6.875 0.125
xor_clusters test_accuracy 7 1:64 1:1 0.9068 0.04987
xor_clusters train_accuracy 7 1:64 1:1 0.9733 0.01336
"""


def stands(name, probes):
    """For each probe: rows, first:last step, layer; then numbers, root mean squares of the values and their errors."""
    for probe, rows in probes.groupby("probe"):
        ends = (f"{rows[axis].min()}:{rows[axis].max()}" for axis in ("step", "layer"))
        sizes = (np.sqrt(np.square(rows[column].astype(float)).mean()) for column in ("value", "se"))
        yield f"{name} {probe} {len(rows)} {' '.join(ends)} {' '.join(f'{size:.4g}' for size in sizes)}"


@pytest.mark.parametrize("name", SMOKE)
def test_tables_of_a_few_draws(name):
    """Layers count from 1, or are 0; no probe is told twice; errors are not negative; FLOPs are those reckoned; what
    trains nothing takes no step and has no time and no training loss. And the numbers are what they were: whoever
    changes a formula, a draw or an error sees here whose, and another machine's rounding moves none by 5 %."""
    found = EVERY[name].run(SMOKE[name], Context(progress=lambda line: None))
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
    expected = [line.split() for line in PROBES.split("\n") if line.split()[:1] == [name]]
    told = [line.split() for line in sorted(stands(name, probes))]
    assert [line[:5] for line in told] == [line[:5] for line in expected]
    for line, before in zip(told, expected, strict=True):
        numbers, others = (np.array(each[5:], float) for each in (line, before))
        assert numbers == pytest.approx(others, rel=0.05, abs=1e-6, nan_ok=True), line


def test_the_cost_of_random_features_in_the_limits_by_hand():
    """Each draw: 4 n² m of products, 2.7 n³ of factorisations and n m normal numbers for both sizes n."""
    entry = EVERY["random_features"]
    cell = entry.cell(width=20, samples=50, latent=100, quantity="limits", draws=7, seed=0)
    products, factorisations, numbers = 400 * (20**2 + 50**2), 2.7 * (20**3 + 50**3), 100 * 70
    found = entry.cost(cell)
    assert found.flops == pytest.approx(7 * (products + factorisations))
    assert found.seconds == pytest.approx(7 * (products / 2e10 + factorisations / 4e9 + 1.5e-8 * numbers))
