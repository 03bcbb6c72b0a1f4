"""The cell of the experiment `train`: what every run reads, and what the owners it chooses declare beside it.

An optimizer's hyperparameters stand with the optimizer, a family's settings with the family, and so on: here they join
in one flat cell. Planning imports this file, so it imports no torch.
"""

from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from muster.data import DATASETS, dimensions
from muster.experiments import Cell
from muster.models import SHAPES, trained_tensors
from muster.models.activations import ACTIVATIONS
from muster.models.shapes.base import Shape
from muster.numbers import check_numbers
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import DECAY_RULES, EPSILON_RULES, PARAMETERIZATIONS, RULES, Factor, Tensor, usual_rule
from muster.registry import Registry
from muster.settings import check_disjoint, check_settings, fields_of, known_names, with_defaults
from muster.training.losses import LOSSES
from muster.training.probes import PROBES
from muster.training.schedules import SCHEDULES

# Fields that choose an entry of a registry → that registry, whose entries bring settings of their own.
OWNERS: dict[str, Registry[Any]] = {
    "family": SHAPES,
    "data": DATASETS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "probes": PROBES,
}


def _named(default: str, registry: Registry[Any], description: str) -> Any:
    """A field whose value is a name in a registry; editors offer the names."""
    return Field(default, description=description, json_schema_extra={"enum": list(registry)})


class NetworkFields(BaseModel):
    """Size, initialization and learning rates of the network."""

    parameterization: str = _named("sp", PARAMETERIZATIONS, "Table of exponents: `muster list parameterizations`")
    log2_lr: list[float] = Field(min_length=1, description="Members: log2 of the learning rate at the base shape")

    family: str = _named("mlp", SHAPES, "Family of networks: `muster list families`")
    activation: str = _named("relu", ACTIVATIONS, "`muster list activations`")
    bias: bool = Field(False, description="Biases in every layer")
    norm: Literal["none", "layer", "rms"] = Field(
        "none", description="Normalization before each activation, of a transformer before each branch; rms there only"
    )
    base_width: int = Field(64, ge=1, description="Width at which every parameterization equals sp")
    base_depth: int = Field(3, ge=1, description="Depth at which every parameterization equals sp")
    init_gain: float = Field(1.0, gt=0, description="Factor on every initial standard deviation")
    readout_gain: float = Field(
        1.0, ge=0, description="Readout's initial standard deviation times √fan_in; 0: zero readout"
    )
    branch_exponent: float | None = Field(
        None, ge=0, description="α of the residual branches' multiplier depth^(−α); the parameterization's if absent"
    )


class ExampleFields(BaseModel):
    """Where the network's examples come from."""

    data: str = _named("mnist1d", DATASETS, "`muster list datasets`")
    data_options: dict[str, Any] = Field(default_factory=dict, description="Options of the data set")


class ObjectiveFields(BaseModel):
    """What the network learns from them."""

    examples: int | None = Field(
        None, ge=2, description="Training examples, drawn from the data set's by the seed; all of them if absent"
    )
    loss: str = _named("cross_entropy", LOSSES, "Training loss: `muster list losses`")


class OptimizationFields(BaseModel):
    """How the network learns, and how its learning rates follow its size."""

    clip: float | None = Field(None, gt=0, description="Largest norm of a member's gradient; longer ones are shortened")

    optimizer: str = _named("adam", OPTIMIZERS, "`muster list optimizers`")
    rule: str = _named(
        "full_alignment",
        RULES,
        "Learning-rate rule: `muster list rules`; spectral where matrices are stepped, if absent",
    )
    epsilon_rule: str = _named(
        "constant", EPSILON_RULES, "`muster list epsilon_rules`; the parameterization's own if absent: `muster show`"
    )
    weight_decay: float = Field(
        0.0, description="λ at the base shape; what a negative one means, if anything, the optimizer says"
    )
    decay_rule: str = _named(
        "constant_product", DECAY_RULES, "`muster list decay_rules`; the parameterization's own if absent"
    )


class DurationFields(BaseModel):
    """How long the network learns."""

    batch_size: int = Field(64, ge=1, description="Examples a step; the whole training set if larger")
    steps: int = Field(ge=1, description="Optimizer steps")
    schedule: str = _named("linear", SCHEDULES, "`muster list schedules`")
    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="Linear warm-up")
    divergence_ratio: float = Field(3.0, gt=1, description="Diverged: loss above this multiple of the initial loss")


class MeasurementFields(BaseModel):
    """What is measured on the way."""

    evaluations: int = Field(
        8, ge=1, description="Evaluations after the initial one, evenly spaced, the last at the end"
    )
    evaluation_examples: int = Field(2048, ge=1, description="Examples of each split in an evaluation")
    probes: list[str] = Field(default_factory=list, description="`muster list probes`")
    probe_steps: list[int] = Field(
        default_factory=list, description="Steps at which probes are taken; step 0 always is"
    )
    probe_examples: int = Field(16, ge=1, description="Examples of the fixed batch that probes see")


FAMILY_SETTINGS: Any = fields_of(SHAPES)
DATA_AXES: Any = fields_of(DATASETS)
LOSS_SETTINGS: Any = fields_of(LOSSES)
OPTIMIZER_SETTINGS: Any = fields_of(OPTIMIZERS)
SCHEDULE_SETTINGS: Any = fields_of(SCHEDULES)
PROBE_SETTINGS: Any = fields_of(PROBES)
check_disjoint(
    (FAMILY_SETTINGS, DATA_AXES, LOSS_SETTINGS, OPTIMIZER_SETTINGS, SCHEDULE_SETTINGS, PROBE_SETTINGS),
    *(Cell, NetworkFields, ExampleFields, ObjectiveFields, OptimizationFields, DurationFields, MeasurementFields),
)


class TrainCell(
    PROBE_SETTINGS, MeasurementFields,
    SCHEDULE_SETTINGS, DurationFields,
    OPTIMIZER_SETTINGS, OptimizationFields,
    LOSS_SETTINGS, ObjectiveFields,
    DATA_AXES, ExampleFields,
    FAMILY_SETTINGS, NetworkFields,
    Cell,
):  # fmt: skip
    """All settings of one stack of members. Fractions are of the number of steps.

    The last base has the first fields. The engine reads nothing but fields: this module is no part of a cell's
    fingerprint, the resolved fields are.
    """

    member_axes: ClassVar[tuple[str, ...]] = ("log2_lr",)

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, values: Any) -> Any:
        """Defaults of what is chosen, and axes of the data written into its options."""
        if not isinstance(values, dict):
            return values
        chosen = {name: values.get(name, default) for name, default in _usual_choices().items()}
        found = with_defaults(values, chosen, OWNERS)
        for name in known_names(chosen["optimizer"], OPTIMIZERS):
            found = {"rule": usual_rule(OPTIMIZERS[name].update), **found}
        for name in known_names(values.get("parameterization"), PARAMETERIZATIONS):
            table = PARAMETERIZATIONS[name]
            found = {"epsilon_rule": table.epsilon_rule, "decay_rule": table.decay_rule, **found}
        for name in known_names(chosen["data"], DATASETS):
            axes = {axis: values[axis] for axis in DATASETS[name].axes if values.get(axis) is not None}
            if axes and isinstance(options := found.get("data_options", {}), dict):
                found["data_options"] = {**options, **axes}
        return found

    @model_validator(mode="after")
    def _consistent(self) -> "TrainCell":
        if self.data in DATASETS:
            check_numbers(DATASETS[self.data].options, self.data_options, ("data_options",))
        if len(set(self.log2_lr)) != len(self.log2_lr):
            raise ValueError("log2_lr holds a learning rate twice")
        beyond = [step for step in self.probe_steps if not 0 <= step <= self.steps]
        if beyond:
            raise ValueError(f"probe_steps {beyond} lie outside 0 … steps = {self.steps}")
        check_settings(self, OWNERS)
        if self.optimizer in OPTIMIZERS:
            self._check_optimizer()
        if self.family in SHAPES:
            self._check_family(SHAPES[self.family])
        return self

    def _check_optimizer(self) -> None:
        optimizer = OPTIMIZERS[self.optimizer]
        if self.weight_decay < 0 and not optimizer.negative_decay:
            takers = " and ".join(name for name in OPTIMIZERS if OPTIMIZERS[name].negative_decay)
            raise ValueError(f"weight_decay {self.weight_decay:g} is negative: only the optimizer {takers} takes it so")
        unit = self.parameterization in PARAMETERIZATIONS and PARAMETERIZATIONS[self.parameterization].unit
        if unit and not optimizer.update.scale_free:
            takers = ", ".join(name for name in OPTIMIZERS if OPTIMIZERS[name].update.scale_free)
            raise ValueError(f"{self.parameterization} has no rates for {self.optimizer}, but for {takers}")

    def _check_family(self, shape: Shape) -> None:
        if self.norm not in ("none", *shape.norms):
            known = " or ".join(("none", *shape.norms))
            raise ValueError(f"norm {self.norm!r} is unknown to family {self.family!r}: it takes {known}")
        if self.bias and not shape.biases:
            raise ValueError(f"family {self.family!r} has no biases")
        if shape.tokens != (dimensions(self.data, self.data_options).task == "next_token"):
            reads = "tokens" if shape.tokens else "no tokens"
            remedy = "ask for" if shape.tokens else "do not ask for"
            raise ValueError(f"family {self.family!r} reads {reads}: {remedy} data with encoding: tokens")
        shape.check(self)
        for name in (name for name in self.probes if name in PROBES):
            for need in set(PROBES[name].needs) - set(shape.traits(self)):
                raise ValueError(f"the probe {name} needs {need}, which this network of family {self.family!r} lacks")


@cache
def _usual_choices() -> dict[str, Any]:
    """What a cell chooses that names nothing."""
    return {name: TrainCell.model_fields[name].get_default(call_default_factory=True) for name in OWNERS}


def dataset(cell: TrainCell) -> tuple[str, dict[str, Any]]:
    """Name and options of the data set that the cell trains on."""
    return cell.data, cell.data_options


def factors(cell: TrainCell) -> list[Factor]:
    """What else multiplies in a forward pass of the cell's network."""
    shape = dimensions(cell.data, cell.data_options)
    return SHAPES[cell.family].factors(cell, shape.features, shape.outputs)


def tensors(cell: TrainCell) -> list[Tensor]:
    """What the cell's network trains."""
    return trained_tensors(cell)
