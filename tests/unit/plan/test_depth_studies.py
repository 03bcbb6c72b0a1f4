"""The studies of depth: what they share is trained once, and their figure names blocks, not layers."""

from muster.config.load import load_study
from muster.config.models import FigureConfig
from muster.plan.grid import plan_study
from muster.plots import PlotData, render
from tests.conftest import ROOT
from tests.unit.plots.test_plots import make_optima, make_runs, make_study


def cells(study: str, scale: str) -> dict[str, tuple[str, str, int, int]]:
    """Name of each cell, which store and trainer know it by, with what tells the cells of both studies apart."""
    path = ROOT / "config" / "studies" / f"{study}.yaml"
    planned = plan_study(load_study(path), scale, path=path).cells
    return {
        each.key.split("/")[1]: (each.cell.optimizer, each.cell.parameterization, each.cell.width, each.cell.depth)
        for each in planned
    }


def test_cells_of_sgd_are_the_same_in_both_studies_of_depth():
    depth, transfer = cells("completep-depth-sgd", "laptop"), cells("depthwise-resnet-transfer", "laptop")
    own = {name for name, (_, _, width, _) in transfer.items() if width != 64}
    wanted = {name for name, (_, rule, _, _) in depth.items() if rule != "completep"}
    assert len(wanted) == 20 * 3  # depths and rules, seeds
    assert set(transfer) - own == wanted
    assert not own & set(depth)


def test_the_hue_of_a_sweep_takes_a_name_of_its_own():
    study = make_study()
    spec = study.figures["sweep_adam"]
    named = FigureConfig.model_validate({**spec.model_dump(), "options": {"hue_label": "depth (blocks)"}})
    study = study.model_copy(update={"figures": {"plain": spec, "named": named}})
    data = PlotData(study=study, scale="laptop", runs=make_runs(), optima=make_optima())

    def words(name: str) -> list[str]:
        return [text.get_text() for legend in render(name, data).legends for text in legend.get_texts()]

    assert words("plain")[0] == "width (units per layer)"
    assert words("named") == ["depth (blocks)", *words("plain")[1:]]
