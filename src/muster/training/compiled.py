"""Which stacks the compiled kernels train: the decision, and the way from a stack to its network."""

from typing import Any

from muster import native
from muster.native.dtypes import KERNELS
from muster.native.network import Network
from muster.native.program import Loss


def network(stack: Any) -> Network | None:
    """The kernels on the tensors of a `muster.training.engine.Stack`; None where torch has to do: another device or
    dtype, a family that does not describe itself to them, no compiler, MUSTER_NATIVE=0.

    Its rule is `gradient` where clipping or the optimizer itself come between gradient and step.
    """
    cell, data = stack.cell, stack.data
    describe = getattr(stack.model, "native", None)
    if not stack.members or describe is None or stack.context.dtype not in KERNELS or stack.device.type != "cpu":
        return None
    graph = describe(stack.multiplier)
    if (
        graph is None
        or graph.sequences != (not data.x.is_floating_point())
        or (library := native.load(stack.context.dtype)) is None
    ):
        return None
    fused = stack.optimizer.fused() if cell.clip is None else None
    rule, state = fused or ("gradient", [])
    return Network(
        library,
        graph,
        stack.weights,
        batch=stack.batches.batch_size,
        context=data.x.shape[1] if graph.sequences else 1,
        loss=Loss(cell.loss, cell.z_loss or 0.0),
        evaluation_loss=Loss(cell.loss),
        rule=rule,
        state=state,
    )
