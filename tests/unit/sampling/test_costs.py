"""Every sampling experiment at the size of its example: its tables, and what a cell is reckoned to need, by which
plans, progress and the column `flops` go."""

from typing import Literal, get_args, get_origin

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
model_scaling 4.49e+08 2.575 500000000
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


def others(annotation, value):
    """What else a switch or a choice may be."""
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    return [not value] if annotation is bool else [choice for choice in choices if choice != value]


SMOKE = {name: example(name, **EVERY[name].example.smoke) for name in EVERY if name != "planted_sweep"}
# Takes seconds; has no Cholesky factor at so small a width; trained for long, follows another processor's rounding.
LEFT_OUT = {("torus_regression", "learner"), ("kernel_sensitivity", "infinite"), ("adversarial_error", "model")}
SMOKE |= {
    f"{name}:{field}={choice}": example(name, **EVERY[name].example.smoke | {field: choice})
    for name, cell in SMOKE.items()
    for field, info in type(cell).model_fields.items()
    for choice in others(info.annotation, getattr(cell, field))
    if (name, field) not in LEFT_OUT
}
PROBES = """
accelerated_sgd risk 4 50:400 1:1 0.06797 0.001289
accelerated_sgd risk_ratio 4 50:400 1:1 0.7171 0.004067
accelerated_sgd risk_share 4 50:400 1:1 1.683 0.01664
adversarial_error adversarial_error 1 0:0 1:1 0.06484 0.0008517
adversarial_error changed 1 0:0 1:1 0.08929 0.001689
adversarial_error:inputs=clusters adversarial_error 1 0:0 1:1 0.06974 0.004624
adversarial_error:inputs=clusters changed 1 0:0 1:1 0.1 0.005089
adversarial_error:points=learned adversarial_error 1 0:0 1:1 0 0
adversarial_error:points=learned changed 1 0:0 1:1 0 0
associative_memory capacity 1 0:0 1:1 20.38 0.8115
attention_network dispersion 40 0:0 1:40 0.8997 0.0203
attention_network dispersion_factor 40 0:0 1:40 0.9948 0.004815
attention_network:centered=True dispersion 40 0:0 1:40 0.9616 0.004159
attention_network:centered=True dispersion_factor 40 0:0 1:40 1 0.0004901
batch_hessian batch_outlier 1 0:0 1:1 1.092 0.01702
batch_hessian outlier_excess 1 0:0 1:1 0.1267 0.007196
batch_hessian:noise=examples batch_outlier 1 0:0 1:1 1.199 0.1225
batch_hessian:noise=examples outlier_excess 1 0:0 1:1 0.1162 0.009961
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
dag_kernel:chains=False chain_least 1 0:0 1:1 0.01945 0.0005101
dag_kernel:chains=False depth_bend 1 0:0 1:1 0.09561 0.0363
dag_kernel:chains=False depth_rank 1 0:0 1:1 0.05076 0.07627
dag_kernel:chains=False width_rank 1 0:0 1:1 0.1009 0.01492
deep_bayes effective_draws 1 0:0 1:1 6065 nan
deep_bayes scale_share 1 0:0 1:1 0.3689 0.003352
deep_linear half_time 4 0:0 1:4 5.079 4.021e-15
deep_linear learning_time 1 0:0 1:1 2.338 6.489e-16
deep_linear mode_strength 76 100:1900 1:4 0.8091 4.013e-16
deep_linear:initialization=gaussian half_time 4 0:0 1:4 1.223 0.5767
deep_linear:initialization=gaussian learning_time 1 0:0 1:1 1.862 0.2626
deep_linear:initialization=gaussian mode_strength 8 100:200 1:4 0.5801 0.2412
deep_linear:initialization=orthogonal half_time 4 0:0 1:4 0.9368 0.9306
deep_linear:initialization=orthogonal learning_time 1 0:0 1:1 2.253 0.266
deep_linear:initialization=orthogonal mode_strength 8 100:200 1:4 0.7426 0.4739
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
graph_jacobian:activation=identity one_path_ratio 1 0:0 4:4 0.9586 0.2637
graph_jacobian:activation=identity path_ratio 1 0:0 4:4 0.9586 0.2637
graph_jacobian:activation=identity sensitivity 1 0:0 4:4 0.04485 0.007652
graph_jacobian:activation=identity spectral_norm 1 0:0 4:4 0.1022 0.01824
graph_jacobian:weights=fixed one_path_ratio 1 0:0 4:4 0.2273 0.1345
graph_jacobian:weights=fixed path_ratio 1 0:0 4:4 0.2273 0.1345
graph_jacobian:weights=fixed sensitivity 1 0:0 4:4 0.0002228 0.0001066
graph_jacobian:weights=fixed spectral_norm 1 0:0 4:4 0.0005555 0.0002783
graph_kernel eigenvalue_error 3 0:0 1:3 0.06585 0.03253
graph_kernel kernel_error 1 0:0 1:1 0.1485 0.05415
graph_kernel:edges=sparse eigenvalue_error 3 0:0 1:3 0.1029 0.04904
graph_kernel:edges=sparse kernel_error 1 0:0 1:1 0.2737 0.07996
graph_kernel:edges=weighted eigenvalue_error 3 0:0 1:3 0.001163 0
graph_kernel:edges=weighted kernel_error 1 0:0 1:1 0.0003137 0
graph_kernel:graphon=blocks eigenvalue_error 3 0:0 1:3 0.008916 0.004312
graph_kernel:graphon=blocks kernel_error 1 0:0 1:1 0.1022 0.01282
graph_kernel:positions=endpoint eigenvalue_error 3 0:0 1:3 0.09779 0.003863
graph_kernel:positions=endpoint kernel_error 1 0:0 1:1 0.1154 0.001136
graph_kernel:positions=random eigenvalue_error 3 0:0 1:3 0.3807 0.1483
graph_kernel:positions=random kernel_error 1 0:0 1:1 0.3271 0.1458
graph_network dispersion 24 0:0 1:24 0.07091 0.004162
graph_network dispersion_factor 24 0:0 1:24 0.358 0.05672
graph_network final_dispersion 1 0:0 24:24 9.929e-12 4.194e-12
graph_network gap_factor 24 0:0 1:24 1.004 0.159
graph_network size 24 0:0 1:24 0.04293 0.002943
graph_network size_factor 24 0:0 1:24 0.9647 0.1333
graph_network:branch=True dispersion 24 0:0 1:24 0.9502 0.004798
graph_network:branch=True dispersion_factor 24 0:0 1:24 0.9979 0.001402
graph_network:branch=True final_dispersion 1 0:0 24:24 0.923 0.00755
graph_network:branch=True gap_factor 24 0:0 1:24 2.797 0.00393
graph_network:branch=True size 24 0:0 1:24 1.038 0.001543
graph_network:branch=True size_factor 24 0:0 1:24 1.003 0.0018
graph_network:graph=erdos dispersion 24 0:0 1:24 0.07657 0.002594
graph_network:graph=erdos dispersion_factor 24 0:0 1:24 0.1107 0.01467
graph_network:graph=erdos final_dispersion 1 0:0 24:24 9.737e-27 3.066e-27
graph_network:graph=erdos gap_factor 24 0:0 1:24 1.27 0.1682
graph_network:graph=erdos size 24 0:0 1:24 0.03167 0.001966
graph_network:graph=erdos size_factor 24 0:0 1:24 0.9993 0.17
graph_network:per_depth=True dispersion 24 0:0 1:24 0.2099 0.01593
graph_network:per_depth=True dispersion_factor 24 0:0 1:24 0.8542 0.09749
graph_network:per_depth=True final_dispersion 1 0:0 24:24 0.01432 0.003417
graph_network:per_depth=True gap_factor 24 0:0 1:24 0.8836 0.1008
graph_network:per_depth=True size 24 0:0 1:24 0.7379 0.01273
graph_network:per_depth=True size_factor 24 0:0 1:24 0.9801 0.1208
graph_sensitivity distance_rank 1 0:0 1:1 0.8284 0.04978
graph_sensitivity resistance_rank 1 0:0 1:1 0.6486 0.009143
graph_sensitivity resistance_rank_at_two 1 0:0 1:1 0.3743 0.05019
graph_sensitivity rewired 1 0:0 1:1 0.9862 0.004832
graph_sensitivity:normalized=False distance_rank 1 0:0 1:1 0.9253 0.01728
graph_sensitivity:normalized=False resistance_rank 1 0:0 1:1 0.7601 0.03143
graph_sensitivity:normalized=False resistance_rank_at_two 1 0:0 1:1 0.2212 0.0248
graph_sensitivity:normalized=False rewired 1 0:0 1:1 1.021 0.01979
hinge_perceptron duration 1 0:0 1:1 5995 1683
hinge_perceptron informative 1 0:0 1:1 299.9 24.15
hinge_perceptron uninformative 1 0:0 1:1 73.62 5.056
interpolant risk 4 0:0 1:4 6.003 1.528
interpolant:points=grid risk 4 0:0 1:4 0.9426 0.06276
interpolation_hessian early_eigenvalue 104 0:0 1:104 0.7395 0.08875
interpolation_hessian early_large 1 0:0 1:1 19.34 2.493
interpolation_hessian early_nonzero 1 0:0 1:1 64 0
interpolation_hessian eigenvalue 104 0:0 1:104 0.7415 0.09474
interpolation_hessian gap 1 0:0 1:1 7.753e+11 7.773e+11
interpolation_hessian nonzero 1 0:0 1:1 15 0
kaplan_counting closed_form_exponent 6 0:0 1:6 0.74 0
kaplan_counting:counting=total closed_form_exponent 6 0:0 1:6 0.5126 0
kaplan_counting:law=hoffmann closed_form_exponent 6 0:0 1:6 0.6983 0
kaplan_counting:regime=frontier closed_form_exponent 6 0:0 1:6 0.5144 0
kernel_classifier excess_risk 6 0:0 1:8 0.03649 0.003437
kernel_classifier worst_excess 1 0:0 1:1 0.04965 0.004484
kernel_classifier:interpolate=True excess_risk 6 0:0 1:8 0.05642 0.002593
kernel_classifier:interpolate=True worst_excess 1 0:0 1:1 0.07715 0.003331
kernel_ridge cost 1 0:0 1:1 1.195 0.01764
kernel_ridge noise_cost 1 0:0 1:1 1.972 0.04075
kernel_ridge:spectrum=exponential cost 1 0:0 1:1 4.469 0.1269
kernel_ridge:spectrum=exponential noise_cost 1 0:0 1:1 8.57 0.5586
kernel_ridge:spectrum=logarithmic cost 1 0:0 1:1 1.005 0.004519
kernel_ridge:spectrum=logarithmic noise_cost 1 0:0 1:1 1.414 0.01189
kernel_sensitivity sensitivity 1 0:0 1:1 1.992 0.0005627
kernel_sensitivity:model=ntk sensitivity 1 0:0 1:1 1.277 0.05742
kernel_sensitivity:parity=even sensitivity 1 0:0 1:1 2.137 0.009586
kernel_sensitivity:parity=odd sensitivity 1 0:0 1:1 2.564 0.005067
label_chain excess_risk 4 0:0 1:4 1.346 0.1086
label_chain pollution 4 0:0 1:4 1.027 0.07407
label_chain:last_fit=ridge excess_risk 4 0:0 1:4 1.289 0.1038
label_chain:last_fit=ridge pollution 4 0:0 1:4 0.9861 0.07087
layer_alignment alignment 6 0:0 1:6 0.6862 0.03909
layer_alignment first_alignment 6 0:0 1:6 0.3553 0.05737
layer_alignment first_mean_alignment 1 0:0 1:1 0.03204 0.009375
layer_alignment least_rise 1 0:0 1:1 0.1418 0.04156
layer_alignment mean_alignment 1 0:0 1:1 0.5884 0.03913
learned_updates change 8 1:4 1:4 0.002384 0.0004616
learned_updates:rates=one change 8 1:4 1:4 0.007764 0.002408
lp_regression updates 1 0:0 1:1 1790 777.8
lp_regression:method=adagrad updates 1 0:0 1:1 93 49.16
majority_vote accuracy 32 0:0 1:63 0.4915 0.0001891
majority_vote best_calls 1 0:0 1:1 3 0
majority_vote regret 1 0:0 1:1 0.002247 0.0008704
matrix_product ks_limit 1 0:0 1:1 0.2697 0.07896
matrix_product ks_uniform 1 0:0 1:1 0.2319 0.01486
matrix_product lyapunov 8 0:0 1:8 0.8053 0.1216
matrix_product:entries=rademacher ks_limit 1 0:0 1:1 0.1717 0.05204
matrix_product:entries=rademacher ks_uniform 1 0:0 1:1 0.2514 0.02781
matrix_product:entries=rademacher lyapunov 8 0:0 1:8 0.7788 0.09829
matrix_product:entries=student5 ks_limit 1 0:0 1:1 0.2428 0.01895
matrix_product:entries=student5 ks_uniform 1 0:0 1:1 0.2435 0.03903
matrix_product:entries=student5 lyapunov 8 0:0 1:8 0.9281 0.1571
matrix_product:entries=uniform ks_limit 1 0:0 1:1 0.142 0.03071
matrix_product:entries=uniform ks_uniform 1 0:0 1:1 0.2192 0.03081
matrix_product:entries=uniform lyapunov 8 0:0 1:8 0.8555 0.1048
matrix_sensing decay_rate 40 2:4096 1:1 0.7194 0.1872
matrix_sensing final_decay_rate 1 4096:4096 1:1 0.006744 1.295e-06
matrix_sensing squared_error 44 1:4096 1:1 1.068 0.173
matrix_sensing:symmetric=False decay_rate 40 2:4096 1:1 0.8786 0.1388
matrix_sensing:symmetric=False final_decay_rate 1 4096:4096 1:1 0 0
matrix_sensing:symmetric=False squared_error 44 1:4096 1:1 0.9082 0.1391
matrix_step change 8 1:4 1:4 0.005461 0.0001741
matrix_step own_change 4 1:1 1:4 0.001377 1.95e-05
matrix_step:damping_rule=constant change 8 1:4 1:4 0.004886 8.456e-05
matrix_step:damping_rule=constant own_change 4 1:1 1:4 0.001288 3.027e-06
matrix_step:damping_rule=pi change 8 1:4 1:4 0.005254 0.000317
matrix_step:damping_rule=pi own_change 4 1:1 1:4 0.001342 3.351e-05
matrix_step:damping_rule=traces change 8 1:4 1:4 0.00496 0.0001447
matrix_step:damping_rule=traces own_change 4 1:1 1:4 0.001269 2.973e-05
matrix_step:optimizer=foof change 8 1:4 1:4 0.001174 6.511e-05
matrix_step:optimizer=foof own_change 4 1:1 1:4 0.0004152 3.105e-05
matrix_step:optimizer=kfac change 8 1:4 1:4 0.003195 0.0002222
matrix_step:optimizer=kfac own_change 4 1:1 1:4 0.001317 3.122e-05
matrix_step:optimizer=sgd change 8 1:4 1:4 0.000777 7.366e-05
matrix_step:optimizer=sgd own_change 4 1:1 1:4 0.0003182 1.055e-05
matrix_step:optimizer=shampoo change 8 1:4 1:4 0.004424 0.0001258
matrix_step:optimizer=shampoo own_change 4 1:1 1:4 0.001424 9.111e-06
matrix_step:optimizer=soap change 8 1:4 1:4 0.07335 0.01857
matrix_step:optimizer=soap own_change 4 1:1 1:4 0.001419 3.333e-05
matrix_step:rule=constant change 8 1:4 1:4 0.00239 4.948e-05
matrix_step:rule=constant own_change 4 1:1 1:4 0.0008765 6.594e-05
matrix_step:rule=spectral_omega_out_1 change 8 1:4 1:4 0.005055 0.000162
matrix_step:rule=spectral_omega_out_1 own_change 4 1:1 1:4 0.001403 1.877e-05
matrix_step:scale=jordan change 8 1:4 1:4 0.002206 5.035e-05
matrix_step:scale=jordan own_change 4 1:1 1:4 0.0005834 2.199e-05
matrix_step:scale=moonshot change 8 1:4 1:4 0.0009404 3.775e-05
matrix_step:scale=moonshot own_change 4 1:1 1:4 0.0002552 1.566e-05
matrix_step:scale=spectral change 8 1:4 1:4 0.002401 8.848e-05
matrix_step:scale=spectral own_change 4 1:1 1:4 0.0005831 3.694e-05
memory_updates force 1 0:0 1:1 0.3464 0.004956
memory_updates overlap_change 1 0:0 1:1 0.0003301 4.353e-06
memory_updates state_change 1 0:0 1:1 0.0001509 3.466e-06
memory_updates:activation=relu2 force 1 0:0 1:1 0.5441 0.04052
memory_updates:activation=relu2 overlap_change 1 0:0 1:1 0.0003141 6.634e-06
memory_updates:activation=relu2 state_change 1 0:0 1:1 0.0003904 3.538e-05
memory_updates:memory=untied force 1 0:0 1:1 0.1537 0.004857
memory_updates:memory=untied overlap_change 1 0:0 1:1 0.0003264 6.099e-06
memory_updates:memory=untied state_change 1 0:0 1:1 0.0001928 3.787e-06
memory_updates:rule=sgd force 1 0:0 1:1 0.3341 0.006222
memory_updates:rule=sgd overlap_change 1 0:0 1:1 0.001158 5.107e-05
memory_updates:rule=sgd state_change 1 0:0 1:1 0.0005866 2.093e-05
model_scaling depth 3 0:0 2765440:12202624 4.335e+04 0
model_scaling fast 3 0:0 2765440:11165056 2.793e+04 0
model_scaling length 3 0:0 2765440:11059840 4.335e+04 0
model_scaling uniform 3 0:0 2765440:11775680 3.62e+04 0
model_scaling width 3 0:0 2765440:11035904 2.499e+04 0
modular_grokking best_accuracy 1 0:0 1:1 0.04167 nan
modular_grokking collapse_steps 1 0:0 1:1 100 nan
modular_grokking heldout_accuracy 1 0:0 1:1 0 nan
modular_grokking train_accuracy 1 0:0 1:1 0.6575 nan
modular_grokking zero_losses 1 0:0 1:1 0 nan
modular_grokking:normalizer=stablemax best_accuracy 1 0:0 1:1 0.02083 nan
modular_grokking:normalizer=stablemax collapse_steps 1 0:0 1:1 100 nan
modular_grokking:normalizer=stablemax heldout_accuracy 1 0:0 1:1 0 nan
modular_grokking:normalizer=stablemax train_accuracy 1 0:0 1:1 0.4932 nan
modular_grokking:normalizer=stablemax zero_losses 1 0:0 1:1 0 nan
modular_grokking:precision=float16 best_accuracy 1 0:0 1:1 0.02083 nan
modular_grokking:precision=float16 collapse_steps 1 0:0 1:1 100 nan
modular_grokking:precision=float16 heldout_accuracy 1 0:0 1:1 0.02083 nan
modular_grokking:precision=float16 train_accuracy 1 0:0 1:1 0.6849 nan
modular_grokking:precision=float16 zero_losses 1 0:0 1:1 0 nan
modular_grokking:precision=float64 best_accuracy 1 0:0 1:1 0.04167 nan
modular_grokking:precision=float64 collapse_steps 1 0:0 1:1 100 nan
modular_grokking:precision=float64 heldout_accuracy 1 0:0 1:1 0 nan
modular_grokking:precision=float64 train_accuracy 1 0:0 1:1 0.6438 nan
modular_grokking:precision=float64 zero_losses 1 0:0 1:1 0 nan
modular_training critical_pairs 3 150:600 1:1 89.02 5.775
modular_training critical_ratio 3 150:600 1:1 3.375 0.219
modular_training heldout_accuracy 9 150:600 160:400 0.4253 0.06514
modular_training:table=random critical_pairs 3 150:600 1:1 nan nan
modular_training:table=random critical_ratio 3 150:600 1:1 nan nan
modular_training:table=random heldout_accuracy 9 150:600 160:400 0.1046 0.03429
multiplicative_sgd noise_threshold 1 0:0 1:1 6.035 0.05173
multiplicative_sgd:landscape=minimum noise_threshold 1 0:0 1:1 32.36 0.4007
multiplicative_sgd:quantity=lyapunov lyapunov_factor 1 0:0 1:1 1.05 0.01079
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
output_law:activation=tanh ks 2 0:0 1:2 0.002115 0.0001355
output_law:activation=tanh ks_derivative 2 0:0 1:2 0.01098 0.0006552
output_law:activation=tanh ks_joint 2 0:0 1:2 0.00693 0.0004659
output_law:activation=tanh norm_var_relative 2 0:0 1:2 0.03058 0.002006
output_law:activation=tanh wasserstein 2 0:0 1:2 0.005722 0.0003644
pruned_perceptron easy_error 1 0:0 1:1 0.09522 0.007796
pruned_perceptron easy_over_hard 1 0:0 1:1 0.908 0.09004
pruned_perceptron frontier_error 1 0:0 1:1 0.1049 0.01263
pruned_perceptron hard_error 1 0:0 1:1 0.1049 0.01263
pruning_depth critical_sparsity 1 0:0 1:1 0.4505 0.03552
random_features excess 1 0:0 1:1 0.08289 0.008868
random_features inflation 1 0:0 1:1 1.151 0.01856
random_features loss 1 0:0 1:1 0.6331 0.06295
random_features:quantity=limits data_limited 1 0:0 1:1 0.07714 0.0008827
random_features:quantity=limits width_limited 1 0:0 1:1 0.5246 0.03582
random_subspace accuracy 6 0:0 16:91 0.3047 0.04998
random_subspace full_accuracy 1 0:0 1:1 0.5377 0.03518
random_subspace intrinsic_dimension 1 0:0 1:1 82.66 4.541
random_subspace:directions=first accuracy 10 0:0 16:362 0.3138 0.07769
random_subspace:directions=first full_accuracy 1 0:0 1:1 0.5921 0.09799
random_subspace:directions=first intrinsic_dimension 1 0:0 1:1 294.9 10.04
random_subspace:labels=shuffled accuracy 4 0:0 16:45 0.1359 0.01335
random_subspace:labels=shuffled full_accuracy 1 0:0 1:1 0.165 0.02
random_subspace:labels=shuffled intrinsic_dimension 1 0:0 1:1 nan nan
rank_sequence growth 3 0:0 1:3 96.14 11.42
rank_sequence rank_error 2 0:0 1:2 0.07062 0.01006
rank_start kernel_angle 1 0:0 1:1 0.2522 0.05203
rank_start kernel_change 1 0:0 1:1 1.489 0.2117
rank_start:activation=relu kernel_angle 1 0:0 1:1 0.4098 0.07147
rank_start:activation=relu kernel_change 1 0:0 1:1 3.937 0.1898
rank_start:activation=tanh kernel_angle 1 0:0 1:1 0.3494 0.008333
rank_start:activation=tanh kernel_change 1 0:0 1:1 2.136 0.1832
rank_start:aligned=True kernel_angle 1 0:0 1:1 0.04851 0.02316
rank_start:aligned=True kernel_change 1 0:0 1:1 0.62 0.1325
rank_start:norm=spectral kernel_angle 1 0:0 1:1 0.213 0.02666
rank_start:norm=spectral kernel_change 1 0:0 1:1 7.984 1.156
relu_chain alive_share 16 0:0 1:16 1 0
relu_chain kurtosis_ratio 16 0:0 1:16 2.125 0.02444
relu_chain log_norm_mean 16 0:0 1:16 0.3872 0.02667
relu_chain log_norm_var 16 0:0 1:16 0.8117 0.03385
relu_chain norm_var_relative 16 0:0 1:16 1.223 0.02444
relu_chain:activation=tanh alive_share 16 0:0 1:16 1 0
relu_chain:activation=tanh kurtosis_ratio 16 0:0 1:16 1.085 0.00448
relu_chain:activation=tanh log_norm_mean 16 0:0 1:16 2.766 0.009373
relu_chain:activation=tanh log_norm_var 16 0:0 1:16 0.1015 0.004803
relu_chain:activation=tanh norm_var_relative 16 0:0 1:16 0.09621 0.00448
robust_interpolation lipschitz 1 0:0 1:1 125.2 15.11
robust_interpolation:labels=smooth lipschitz 1 0:0 1:1 3.07 0.01057
robust_sensing final_error 1 0:0 1:1 0.01304 0.005688
robust_sensing growth 1 0:0 1:1 10.89 1.403
robust_sensing:residuals=squared final_error 1 0:0 1:1 0.7816 0.05296
scale_mixture hill 1 0:0 1:1 5.376 2.404
scale_mixture ks 1 0:0 1:1 0.01907 0.0006119
scale_mixture:readout=gaussian hill 1 0:0 1:1 11.75 5.256
scale_mixture:readout=gaussian ks 1 0:0 1:1 0.05396 0.0003684
scaled_descent updates 1 0:0 1:1 123 4
scaled_descent:method=scaled updates 1 0:0 1:1 36.5 1.5
search_maximum coverage 1 0:0 1:1 0.32 0.04688
search_maximum plug_in_bias 1 0:0 1:1 0.3801 0.05
search_maximum plug_in_mean 1 0:0 1:1 4.548 0.1412
search_maximum rmse_ratio 1 0:0 1:1 1.281 0.04711
search_maximum unbiased_bias 1 0:0 1:1 0.03335 0.05
search_maximum:law=normal coverage 1 0:0 1:1 0.49 0.05024
search_maximum:law=normal plug_in_bias 1 0:0 1:1 0.4718 0.05
search_maximum:law=normal plug_in_mean 1 0:0 1:1 1.294 0.02589
search_maximum:law=normal rmse_ratio 1 0:0 1:1 1.095 0.03112
search_maximum:law=normal unbiased_bias 1 0:0 1:1 0.01823 0.05
search_maximum:law=uniform coverage 1 0:0 1:1 0.55 0.05
search_maximum:law=uniform plug_in_bias 1 0:0 1:1 0.5235 0.05
search_maximum:law=uniform plug_in_mean 1 0:0 1:1 0.8618 0.004514
search_maximum:law=uniform rmse_ratio 1 0:0 1:1 0.8539 0.01636
search_maximum:law=uniform unbiased_bias 1 0:0 1:1 0.04493 0.05
signal_propagation kernel 64 0:0 1:64 0.06921 0.0006546
signal_propagation kernel_factor 64 0:0 1:64 0.9371 0.008212
signal_propagation tangent_factor 64 0:0 1:64 0.9429 0.01047
signal_propagation tangent_kernel 64 0:0 1:64 0.08746 0.00211
signal_propagation:activation=relu kernel 64 0:0 1:64 0.07179 0.001104
signal_propagation:activation=relu kernel_factor 64 0:0 1:64 0.4992 0.008465
signal_propagation:activation=relu tangent_factor 64 0:0 1:64 0.5015 0.009241
signal_propagation:activation=relu tangent_kernel 64 0:0 1:64 0.07209 0.001241
signal_propagation:quantity=ntk ntk_log_var 11 0:0 2:64 0.07011 0.009884
signal_propagation:quantity=ntk ntk_mean 11 0:0 2:64 0.648 0.01314
siren ks_arcsine 4 0:0 1:8 0.06724 0.009395
siren ks_normal 4 0:0 1:8 0.03222 0.00727
siren preactivation_var 8 0:0 1:8 0.8205 0.0304
siren sine_var 8 0:0 1:8 0.4018 0.008014
sketched_regression risk 1 0:0 1:1 1.782 0.261
sketched_regression:method=full risk 1 0:0 1:1 1.079 0.09099
sketched_regression:method=gaussian risk 1 0:0 1:1 1.575 0.1405
softmax_collapse collapse_margin 1 0:0 32:32 4.557 0
softmax_collapse collapse_steps 1 0:0 32:32 90.95 2.999
softmax_collapse:method=adam collapse_margin 1 0:0 32:32 4.557 0
softmax_collapse:method=adam collapse_steps 1 0:0 32:32 6.481 0.4995
subset_sum single_error 1 0:0 16:16 0.1267 0.01467
subset_sum subset_error 1 0:0 16:16 0.02535 0.003761
subset_sum:weights=product single_error 1 0:0 16:16 0.07942 0.008068
subset_sum:weights=product subset_error 1 0:0 16:16 0.02059 0.00249
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
    experiment = EVERY[name.partition(":")[0]]
    found = experiment.run(SMOKE[name], Context(progress=lambda line: None))
    assert len(found.curves) == 0
    assert not found.runs["diverged"].any()
    assert (found.runs["steps"] == 0).all()
    assert found.runs[["seconds", "final_train_loss"]].isna().all(axis=None)
    counted = name.startswith("kaplan_counting")  # whose runs are not its own
    if not counted:
        assert found.runs["flops"].item() == experiment.cost(SMOKE[name]).flops
        assert found.runs["final_eval_loss"].isna().all()
    probes = found.probes
    keys = ["step", "probe", "layer"] if not counted else ["run", "step", "probe", "layer"]
    assert not probes.duplicated(keys).any()
    assert probes[["step", "layer"]].min().min() >= 0
    assert np.isfinite(probes["value"]).mean() > 0.5
    assert not (probes["se"] < 0).any()
    expected = [line.split() for line in PROBES.split("\n") if line.split()[:1] == [name]]
    told = [line.split() for line in sorted(stands(name, probes))]
    assert [line[:5] for line in told] == [line[:5] for line in expected]
    for line, before in zip(
        told, expected if experiment.stored else told, strict=True
    ):  # else the text is Python's own
        numbers, others = (np.array(each[5:], float) for each in (line, before))
        assert numbers == pytest.approx(others, rel=0.05, abs=1e-6, nan_ok=True), line


def test_every_kept_line_is_of_an_example():
    assert {line.split()[0] for line in PROBES.split("\n")[1:-1]} == set(SMOKE)


def test_the_cost_of_random_features_in_the_limits_by_hand():
    """Each draw: 4 n² m of products, 2.7 n³ of factorisations and n m normal numbers for both sizes n."""
    entry = EVERY["random_features"]
    cell = entry.cell(width=20, samples=50, latent=100, quantity="limits", draws=7, seed=0)
    products, factorisations, numbers = 400 * (20**2 + 50**2), 2.7 * (20**3 + 50**3), 100 * 70
    found = entry.cost(cell)
    assert found.flops == pytest.approx(7 * (products + factorisations))
    assert found.seconds == pytest.approx(7 * (products / 2e10 + factorisations / 4e9 + 1.5e-8 * numbers))
