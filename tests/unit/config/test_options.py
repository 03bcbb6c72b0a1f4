"""Defaults and bounds of the numbers that estimators and regime checks take as options: the schema leaves them open."""

import numpy as np
from pydantic import BaseModel

from muster.claims.regime.base import REGIME_CHECKS
from muster.fitting.base import ESTIMATORS
from muster.fitting.laws.base import LAWS

BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "at least"}
EXPECTED = """
AdjustedOptions.adjust required, at least 1
AdjustedOptions.min_side 2, >= 1
BasinOptions.most None, > 0
CapacityOptions.max_change required, > 0
ClosedFormOptions.max_ratio inf, > 0
ClosedFormOptions.min_layer 1, >= 1
CollapseOptions.overlap 0.5, > 0, <= 1
CollapseOptions.permutations 200, >= 20
ConvergingOptions.drift 0.5, > 0
ConvergingOptions.power 0.5, > 0
CurveDistanceOptions.first 0, >= 0
CurveDistanceOptions.last None, >= 1
CurveDistanceOptions.product required, at least 2
DeclaredOptions.form required, at least 1
ExpectedMaxOptions.draws required, >= 1
FirstPassageOptions.unit 1.0, > 0
FormsOptions.horizon 1, >= 1
FormsOptions.rivals None, at least 1
InteriorOptions.share 1.0, > 0, <= 1
IsoflopOptions.budgets None, at least 1
LawOptions.drop_largest_losses 0, >= 0
LawOptions.replicates 1000, >= 100
LawOptions.thorough True
LimitOptions.power 0.5, > 0
PairOptions.a required, at least 1
PairOptions.b required, at least 1
PooledOptions.across required, at least 1
ProbeOptions.within required, > 0
RatioOptions.most required, > 0
SensitivityOptions.initial 5.545177444479562, > 0
SlopeOptions.paired False
StationaryOptions.times 3.0, > 0
SteadyOptions.factor 4.0, > 1
SteadyOptions.most None, > 0
SurfaceOptions.cells ['parameters', 'tokens'], at least 1
SurfaceOptions.min_side 1, >= 1
SurfaceOptions.near_best 0.0025, >= 0
SurfaceOptions.window 5, >= 3
TelescopeOptions.spacing 1.0, > 0
TrainedOptions.below None, > 0
TrainedOptions.late_change None, > 0
TrainedOptions.trivial None, > 0
TrendOptions.factor 1.0
TrendOptions.power 1.0
WindowOptions.min_side 2, >= 1
WindowOptions.octaves 4.0, > 0
WindowOptions.window 5, >= 4
WorstCaseOptions.least_draws required, >= 3
"""


def numbers(options: type[BaseModel]) -> set[str]:
    """A line for each option with a number or a switch as its default, or with bounds, under the class that has it."""
    lines = set()
    for name, option in options.model_fields.items():
        owner = next(each for each in reversed(options.__mro__) if name in getattr(each, "model_fields", {}))
        default = "required" if option.is_required() else option.get_default(call_default_factory=True)
        bounds = [
            f"{BOUNDS[key]} {getattr(each, key)}" for each in option.metadata for key in BOUNDS if hasattr(each, key)
        ]
        if bounds or isinstance(default, float | int):
            lines.add(f"{owner.__name__}.{name} {', '.join([str(default), *bounds])}")
    return lines


def test_defaults_and_bounds_of_options():
    entries = [*map(ESTIMATORS.__getitem__, ESTIMATORS), *map(REGIME_CHECKS.__getitem__, REGIME_CHECKS)]
    assert sorted(set().union(*(numbers(entry.options) for entry in entries))) == EXPECTED.split("\n")[1:-1]


def test_bounds_of_laws():
    """What a fit cannot leave: estimates at these are not identified."""
    exponent, some, positive, offset = (1e-3, 10.0), (1e-4, 100.0), (1e-12, np.inf), (1e-8, np.inf)
    parallel = {"k": some, "alpha": exponent, "e": offset}
    assert {name: dict(LAWS[name].bounds) for name in LAWS} == {
        "annealing": {"alpha": exponent, "l0": offset, "a": positive},
        "data_constrained": {"r_d": (1e-2, 1e4), "r_n": (1e-2, 1e4), "alpha": exponent, "beta": exponent},
        "error_law": {"gamma": (1e-3, 100.0), "k": (1e-9, 1e12), "epsilon": (1e-9, np.inf)},
        "joint_law": {"alpha": exponent, "beta": exponent, "e": (0.0, np.inf), "a": positive, "b": positive},
        "overtraining": {"eta": (1e-3, 5.0), "e": offset, "a": positive, "b": positive},
        "parallel": parallel,
        "parallel_power": parallel,
        "parallel_shape": {"shape": (-5.0, 5.0), **parallel},
        "power_offset": {"alpha": exponent, "e": (0.0, np.inf), "a": positive},
        "routed": {"e_start": (0.1, 1e3), "e_max": (1.0, 1e6)},
    }
