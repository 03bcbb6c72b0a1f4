"""The experiment `command`: a cell calls somebody's training script once per learning rate.

Planning imports this file, so it imports neither torch nor pandas.
"""

from muster.experiments import EXPERIMENTS, Context, Cost, Example, Experiment, Files, Outcome
from muster.script.cell import CommandCell, arguments
from muster.script.files import followed

MEMORY_BYTES = 2e9


def files(cell: CommandCell) -> Files:
    """The script, its local imports and `code`: an edited one makes the cell run again."""
    return followed(arguments(cell, cell.log2_lr[0], "{output}", "{device}"), cell.code)


def cost(cell: CommandCell) -> Cost:
    """Nobody knows what a script costs. A scheduler grants ten times the seconds: the time-out of every run."""
    return Cost(0.0, len(cell.log2_lr) * cell.timeout / 10, MEMORY_BYTES)


def run(cell: CommandCell, context: Context) -> Outcome:
    """Call the command once per member; see `muster.script.run`."""
    from muster.script.run import run_members

    return run_members(cell, context)


EXPERIMENTS.register("command")(
    Experiment(
        summary="Call your own training script, once per learning rate, and read back its metrics",
        stage="command",
        cell=CommandCell,
        cost=cost,
        run=run,
        files=files,
        example=Example(
            {
                "command": "python examples/own_trainer/train.py --width {width} --lr {learning_rate} --seed {seed} "
                "--steps {steps} --device {device} --output {output}",
                "options": {"steps": 500},
                "timeout": 600,
                "code": ["examples/own_trainer/train.py"],
            },
            [{"width": [64, 128, 256, 512], "seeds": 3, "log2_lr": {"from": -11, "to": -4, "step": 1}}],
            {"estimator": "lr_transfer", "table": "runs", "response": "final_train_loss", "along": "width"},
            smoke={"options": {"steps": 5}},
            smoke_grid=[{"width": [16, 32], "seeds": 1, "log2_lr": [-9, -7]}],
            figure={"plot": "lr_sweep"},
        ),
    )
)
