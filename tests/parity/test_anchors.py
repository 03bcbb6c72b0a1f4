"""Which test holds each row of ANCHORS.csv: published digits, and the numbers that were recovered from the tables."""

import importlib

import pandas as pd
import pytest

HELD = {
    "chinchilla": {
        "test_published_point_is_the_fit_of_absolute_residuals": ["chin_alpha", "chin_beta"],
        "test_published_error_of_a_holds_the_optimizers_early_stops": ["chin_seA"],
        "test_published_interval_of_b": ["chin_ciB"],
        "test_hoffmann_is_refuted_on_these_runs": ["chin_hoff_beta"],
        "test_beta_is_sensitive_to_five_rows": ["chin_all245"],
    },
    "steplaw": {
        "test_step_lr_N": ["step_lr_N"],
        "test_step_lr_D_is_not_reproduced": ["step_lr_D"],
        "test_step_bs_D": ["step_bs_D"],
        "test_step_bs_N_is_refuted": ["step_bs_N"],
    },
    "datablations": {
        "test_the_estimator_says_that_the_constant_of_repetition_is_not_identified": ["db_RD"],
        "test_r2_with_and_without_decay_is_the_published_one": ["db_R2"],
    },
    "gadre": {"test_the_held_out_loss_errors_are_the_published_ones": ["gadre_rpj_1b", "gadre_rpj_7b"]},
    "misfitting": {"test_exponents_agree_to_the_digits_that_the_valley_fixes": ["mis_all"]},
    "rates": {
        "test_the_best_rate_of_standard_networks_falls_with_width": [
            "fc_w_parkinsons", "fc_w_protein", "fc_w_naval", "fc_w_slice",
        ],
        "test_means_over_four_regressions": ["fc_w_mean", "fc_b_mean"],
        "test_the_hidden_matrix_carries_the_shift": ["fc_w1_rel"],
        "test_width_exponents_over_four_tasks": ["hb_w_d1", "hb_w_d2", "hb_w_d3"],
        "test_one_group_and_what_its_leaning_valleys_add": ["hb_w_kc1_d3_b64"],
        "test_deeper_networks_shift_more": ["hb_depth"],
        "test_the_rate_rises_as_the_root_of_the_batch": ["hb_batch"],
    },
    "xlstm": {
        "test_llama": [
            "xl_N_2048", "xl_D_2048", "xl_N_8192", "xl_D_8192",
            "xl_N_8192_4", "xl_D_8192_4", "xl_N_16384", "xl_D_16384",
        ],
        "test_mlstm_by_nominal_budgets": ["xl_N_m16384", "xl_D_m16384"],
    },
    "groups": {
        "test_means_of_a_leaderboard": ["ob_means"],
        "test_the_scatter_of_a_leaderboard": ["ob_sigma"],
        "test_what_a_hundred_steps_are_worth": ["ob_rate"],
        "test_one_result_of_four_runs_is_not_shown_by_its_own_scatter": ["ob_21"],
        "test_published_exponents_of_spectral_ranks": ["sr_all58"],
        "test_one_exponent_of_a_rank_is_exact_and_says_little": ["sr_muon_hard", "sr_adamw_hard"],
        "test_two_optimizers_at_the_same_width_are_a_pair": ["sr_tail_gap", "sr_tail_soft"],
        "test_four_sizes_do_not_fix_the_exponent_of_a_rate": ["ms_lr_mult"],
        "test_the_ratio_of_two_optimizers_at_equal_compute": ["ms_ratio"],
        "test_deduplication_moves_no_score": ["py_dedup"],
    },
    "schedules": {"test_published_parameters_predict_held_out_schedules": ["mpl_25"]},
}  # fmt: skip
ROWS = [(module, test, row) for module, tests in HELD.items() for test, rows in tests.items() for row in rows]


def test_every_row_is_held_by_one_test(shared_data):
    rows = pd.read_csv(shared_data / "ANCHORS.csv")["id"]
    assert sorted(row for _, _, row in ROWS) == sorted(rows)


@pytest.mark.parametrize("module", HELD)
def test_the_tests_that_are_named_exist(module):
    found = importlib.import_module(f"tests.parity.test_anchors_{module}")
    assert [name for name in HELD[module] if not callable(getattr(found, name, None))] == []
