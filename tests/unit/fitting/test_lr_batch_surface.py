"""Surfaces and power laws whose answer is known: exact quadratics, their vertices, and what is no minimum."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.optimum.surface import coordinate, find_surface

SIZES, TOKENS = (1e8, 2e8, 4e8), (1e9, 4e9, 16e9)
EXPONENTS = {"lr_parameters": -0.6, "lr_tokens": 0.3, "batch_parameters": -0.2, "batch_tokens": 0.5}
RATES, BATCHES = np.arange(-14, -3.9, 0.5), np.arange(3, 14.1, 0.5)


def vertex(n, d):
    log_n, log_d = np.log2(n / 2e8), np.log2(d / 4e9)
    return -9.2 - 0.6 * log_n + 0.3 * log_d, 8.3 - 0.2 * log_n + 0.5 * log_d


def surface(u, v, curvature=(0.01, 0.006, 0.02)):
    """ln loss above the minimum at (u, v) octaves from it: a u² + b uv + c v²."""
    a, b, c = curvature
    return a * u**2 + b * u * v + c * v**2


def runs(sizes=SIZES, tokens=TOKENS, noise=0.0, seeds=1, curvature=(0.01, 0.006, 0.02), rng=None):
    rng = rng or np.random.default_rng(0)
    cells = [(n, d) for n in sizes for d in tokens]
    rows = []
    for n, d in cells:
        lr, batch = vertex(n, d)
        u, v, seed = (each.ravel() for each in np.meshgrid(RATES, BATCHES, range(seeds), indexing="ij"))
        y = 1.0 + surface(u - lr, v - batch, curvature) + 0.02 * seed + noise * rng.standard_normal(len(u))
        rows.append(
            pd.DataFrame(
                {
                    "parameters": n,
                    "tokens": d,
                    "log2_lr": u,
                    "log2_batch": v,
                    "seed": seed,
                    "final_eval_loss": np.exp(y),
                }
            )
        )
    return pd.concat(rows, ignore_index=True).assign(diverged=False)


def run(table, along="parameters", by=(), primary=None, **options):
    fit = FitConfig(
        estimator="lr_batch_surface",
        response="final_eval_loss",
        along=along,
        by=list(by),
        primary=primary,
        options=options,
    )
    return ESTIMATORS["lr_batch_surface"].function(table, fit)


def estimates(result, variant="surface_t"):
    rows = result.fits[result.fits["variant"] == variant]
    return rows.set_index("parameter")["estimate"].to_dict()


class TestOneCell:
    def grid(self):
        u, v = (each.ravel() for each in np.meshgrid(np.arange(-3, 3.1, 0.5), np.arange(-3, 3.1, 0.5)))
        return u, v

    def test_the_vertex_of_an_exact_quadratic(self):
        u, v = self.grid()
        found = find_surface(u, v, 2 + surface(u - 0.3, v + 0.4), window=5, min_side=1)
        assert found.status == "interior"
        np.testing.assert_allclose(found.vertex, (0.3, -0.4), atol=1e-9)
        np.testing.assert_allclose(found.loss, np.exp(2), rtol=1e-9)
        assert (found.best, found.n_points) == ((0.5, -0.5), 25)

    def test_the_basin_lets_the_batch_size_follow(self):
        u, v = self.grid()
        steep = (0.1, 0.06, 0.2)
        found = find_surface(u, v, surface(u, v, steep), window=9, min_side=1)
        rates = np.linspace(0, 1, 20001)
        lowest = rates**2 * (steep[0] - steep[1] ** 2 / (4 * steep[2]))  # min over v of the surface
        half = rates[lowest <= np.log(1.0025)].max()
        np.testing.assert_allclose(found.basin, (-half, half), atol=1e-4)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_delta_error_and_fieller_against_simulation(self, axis):
        rng = np.random.default_rng(3)
        u, v = (each.ravel() for each in np.meshgrid(np.arange(-1, 1.1, 0.5), np.arange(-1, 1.1, 0.5)))
        design = np.column_stack([np.ones_like(u), u, v, u**2, u * v, v**2])
        unscaled = np.linalg.inv(design.T @ design)
        truth = np.array([0.25, -0.35])
        beta = unscaled @ design.T @ surface(u - truth[0], v - truth[1])
        sd = 4e-4
        draws = rng.multivariate_normal(beta, unscaled * sd**2, 4000)
        hessians = np.array([[2 * draws[:, 3], draws[:, 4]], [draws[:, 4], 2 * draws[:, 5]]]).transpose(2, 0, 1)
        vertices = -np.linalg.solve(hessians, draws[:, 1:3, None])[:, axis, 0]
        middle, se, ci = coordinate(beta, unscaled * sd**2, axis, 1.96)
        assert middle == pytest.approx(truth[axis], abs=1e-9)
        assert se == pytest.approx(vertices.std(), rel=0.05)
        hits = 0
        for draw in draws[:1500]:
            low, high = coordinate(draw, unscaled * sd**2, axis, 1.96)[2]
            hits += low <= truth[axis] <= high
        assert 0.935 <= hits / 1500 <= 0.965
        np.testing.assert_allclose(ci, np.quantile(vertices, [0.025, 0.975]), atol=0.15 * se)

    def test_edge_names_the_neighbours(self):
        u, v = self.grid()
        found = find_surface(u, v, surface(u - 5, v), window=5, min_side=1)
        assert found.status == "edge"
        assert found.ci == ((2.5, np.inf), (0.0, 1.0))
        assert np.isnan(found.vertex).all()

    def test_a_saddle_is_no_optimum(self):
        u, v = self.grid()
        y = 0.02 * u**2 - 0.01 * v**2
        y[(u == 0) & (v == 0)] = -0.1  # a lucky run, without which the best point would lie at the rim
        assert find_surface(u, v, y, window=13, min_side=1).status == "saddle"

    def test_noise_alone_is_flat(self):
        u, v = self.grid()
        statuses = {
            find_surface(u, v, 0.01 * np.random.default_rng(seed).standard_normal(len(u)), 5, 1).status
            for seed in range(30)
        }
        assert "flat" in statuses

    @pytest.mark.parametrize("side", [1, -1])
    @pytest.mark.parametrize("of_rates", [True, False])
    def test_a_vertex_outside_the_window_is_flat(self, side, of_rates):
        u, v = (each.ravel() for each in np.meshgrid(np.arange(-3, 1.1, 0.5), np.arange(-3, 3.1, 0.5)))
        y = surface(u - 1.5, v, (0.01, 0, 0.01))
        y[(u == 0.5) & (v == 0)] = 0.002  # a lucky run, one step inside the rim
        axes = (side * u, v) if of_rates else (v, side * u)
        assert find_surface(*axes, y, window=5, min_side=1).status == "flat"

    def test_too_few_points(self):
        u, v = np.array([-1.0, 0, 1, 0, 0]), np.array([0.0, 0, 0, -1, 1])
        assert find_surface(u, v, u**2 + v**2, window=5, min_side=1).status == "too_few"


class TestLaws:
    def test_exponents_are_recovered_without_noise(self):
        found = estimates(run(runs()))
        assert found == pytest.approx(EXPONENTS, abs=1e-8)

    def test_the_intercept_is_the_law_at_one(self):
        rows = run(runs()).fits.set_index(["parameter", "variant"])
        lr = rows.loc[("lr_tokens", "surface_t"), "intercept"]
        predicted = lr + EXPONENTS["lr_parameters"] * np.log(2e8) + EXPONENTS["lr_tokens"] * np.log(4e9)
        assert predicted == pytest.approx(-9.2 * np.log(2), abs=1e-6)

    def test_rows_near_the_best_follow_the_law_of_a_fine_grid_to_its_spacing(self):
        found = estimates(run(runs(), near_best=0.01), "near_best_t")
        assert found == pytest.approx(EXPONENTS, abs=0.05)

    def test_near_best_takes_rows_within_the_share_alone(self):
        table = runs(sizes=(1e8, 2e8), tokens=(1e9, 4e9))
        result = run(table, near_best=0.004)
        lowest = table.groupby(["parameters", "tokens"])["final_eval_loss"].transform("min")
        expected = int((table["final_eval_loss"] <= lowest * 1.004).sum())
        row = result.fits[result.fits["variant"] == "near_best_t"].iloc[0]
        assert json.loads(row["diagnostics"])["rows"] == expected

    def test_seeds_are_averaged(self):
        many = run(runs(seeds=3, noise=1e-3))
        assert estimates(many) == pytest.approx(EXPONENTS, abs=0.05)
        assert many.optima["n_points"].iloc[0] == 25

    def test_cluster_errors_count_clusters(self):
        fits = run(runs(sizes=(1e8, 2e8, 4e8, 8e8, 16e8), noise=1e-3)).fits.set_index(["parameter", "variant"])
        assert fits.loc[("lr_tokens", "surface_cluster_t"), "dof"] == 4
        assert fits.loc[("lr_tokens", "near_best_cluster_t"), "dof"] == 14
        assert fits.loc[("lr_tokens", "surface_t"), "dof"] == 12
        assert np.isfinite(fits["se"]).all()

    def test_optima_name_their_cell(self):
        optima = run(runs()).optima
        assert len(optima) == 9
        first = optima.iloc[0]
        assert (first["group"], first["along"], first["x"]) == ('{"tokens": 1000000000}', "parameters", 1e8)
        assert first["log2_lr_opt"] == pytest.approx(vertex(1e8, 1e9)[0], abs=1e-8)

    def test_optima_hold_the_rates_side_of_the_surface(self):
        row = run(runs(sizes=(1e8, 2e8, 4e8), noise=1e-3)).optima.iloc[1]
        assert row["ci_low"] < row["log2_lr_opt"] < row["ci_high"]
        assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * stats.t.ppf(0.975, 25 - 6) * row["se"], rel=0.05)
        half = np.sqrt(np.log(1.0025) / (0.01 - 0.006**2 / 0.08))
        basin = row["log2_lr_opt"] - half, row["log2_lr_opt"] + half
        assert (row["basin_low"], row["basin_high"]) == pytest.approx(basin, abs=0.2)
        assert row["loss_at_opt"] == pytest.approx(np.e, rel=1e-3)
        assert abs(row["grid_best"] - row["log2_lr_opt"]) < 0.6
        assert row[["status", "n_points", "n_runs"]].tolist() == ["interior", 25, 25]

    def test_one_variable_of_two(self):
        fits = run(runs(), batch_on=["tokens"]).fits
        assert set(fits["parameter"]) == {"lr_parameters", "lr_tokens", "batch_tokens"}

    def test_edge_cells_are_left_out_and_named(self):
        table = runs()
        cut = (table["parameters"] == 1e8) & (table["tokens"] == 16e9) & (table["log2_lr"] > -9.3)
        result = run(table[~cut])
        assert estimates(result) == pytest.approx(EXPONENTS, abs=1e-8)
        row = result.fits.iloc[0]
        assert (row["n_cells"], "8 of 9 cells interior, edge at parameters 100000000" in row["note"]) == (8, True)


class TestWrongInput:
    def test_constant_tokens_per_parameter_are_collinear(self):
        table = runs(sizes=(1e8, 2e8, 4e8, 8e8, 16e8), tokens=(2e9,))
        table["tokens"] = 20 * table["parameters"]
        fits = run(table).fits
        assert set(fits["status"]) == {"collinear"}
        assert fits[["estimate", "se"]].isna().all(axis=None)

    def test_one_value_of_a_variable_is_collinear(self):
        fits = run(runs(sizes=(1e8,), tokens=(1e9, 2e9, 4e9, 8e9, 16e9))).fits
        assert set(fits["status"]) == {"collinear"}

    def test_as_many_cells_as_coefficients_are_too_few(self):
        fits = run(runs(sizes=(1e8, 2e8, 4e8), tokens=(1e9,))).fits
        assert set(fits["status"]) == {"too_few"}

    def test_everything_lost(self):
        fits = run(runs().assign(final_eval_loss=np.nan)).fits
        assert set(fits["status"]) == {"too_few"}
        assert f"{len(runs())} rows left out" in fits["note"].iloc[0]

    def test_diverged_rows_are_dropped_and_counted(self):
        table = runs()
        far = table["log2_lr"] > -5
        table.loc[far, ["final_eval_loss", "diverged"]] = [1e9, True]
        result = run(table)
        assert estimates(result) == pytest.approx(EXPONENTS, abs=1e-8)
        assert f"{far.sum()} rows left out" in result.fits["note"].iloc[0]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.drop(columns="log2_batch"), "no column 'log2_batch'"),
            (lambda t: t.drop(columns="tokens"), "no column 'tokens'"),
            (lambda t: t.assign(final_eval_loss=-1.0), "final_eval_loss takes the value -1"),
            (lambda t: t.assign(tokens="many"), "tokens holds 'many'"),
            (lambda t: pd.concat([t, t.iloc[[3]]]), "occurs 2 times"),
        ],
    )
    def test_clear_errors(self, change, message):
        with pytest.raises(MusterError, match=message):
            run(change(runs()))

    def test_options_that_tell_no_cells_apart(self):
        with pytest.raises(MusterError, match=r"options.batch_on: 'depth' tells no cells apart"):
            run(runs(), batch_on=["depth"])
        with pytest.raises(MusterError, match=r"along: 'seed' is not in `cells`"):
            run(runs(), along="seed")
