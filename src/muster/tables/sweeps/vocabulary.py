"""The words of W&B, Optuna, MLflow, Ray Tune, Lightning, Keras and Hydra: for run, step, state, loss, size.

The one place where they stand. Words are compared as `plain_word` spells them.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

# Before a name: where a tracker keeps what was set, and what was measured.
SETTINGS = ("config", "params", "param", "hparams", "hyperparameters", "hyper_parameters", "user_attrs", "tags")
RESULTS = ("summary", "metrics", "metric", "values", "summary_metrics")

RUNS = ("run_id", "trial_id", "run", "trial", "id", "experiment_id", "run_uuid", "number", "run_name", "name")
# The finest first: a row a step that also has its epoch is a row a step.
STEPS = ("_step", "global_step", "trainer/global_step", "step", "training_iteration", "iteration", "iter", "update",
         "updates", "epoch")  # fmt: skip
# Of a history, or how long a run was to be: a row a run may have them, so that they are asked about.
COUNTS = ("steps", "epochs", "iterations", "iters", "num_steps", "n_steps", "batches")
STATES = ("state", "status", "trial_status", "run_status", "run_state")
DONE = ("done",)  # Ray Tune: a column of true and false

FINISHED = frozenset({"finished", "complete", "completed", "terminated", "success", "succeeded", "done", "ok"})
UNFINISHED = frozenset(
    {"crashed", "failed", "fail", "failure", "killed", "running", "pending", "preempting", "preempted", "pruned",
     "waiting", "error", "errored", "scheduled", "paused", "queued", "aborted", "canceled", "cancelled", "timeout",
     "oom", "out_of_memory", "interrupted", "unfinished"}
)  # fmt: skip

# What the options stand for where they are left open, the plainest first.
RATES = ("lr", "learning_rate", "learningrate", "base_lr", "max_lr", "peak_lr", "lr_max", "init_lr", "initial_lr",
         "optimizer_lr", "optim_lr", "optimizer_learning_rate", "optim_learning_rate")  # fmt: skip
LOGARITHMS = {"log2": 2.0, "log10": 10.0, "ln": math.e}  # before a rate's name; `log` alone may be either
LOSSES = ("loss", "val_loss", "eval_loss", "valid_loss", "validation_loss", "dev_loss", "heldout_loss", "test_loss",
          "final_eval_loss", "final_loss", "objective", "value", "value_0", "train_loss", "training_loss",
          "final_train_loss")  # fmt: skip
PARAMETERS = ("n_params", "params", "num_params", "parameters", "model_size")
SIZES = ("width", "n_embd", "d_model", "hidden_size", "hidden_dim", "embed_dim", "embedding_dim", "model_dim",
         "n_hidden", "hidden", "dim", *PARAMETERS)  # fmt: skip
TOKENS = ("tokens", "n_tokens", "num_tokens", "train_tokens", "training_tokens", "tokens_seen", "total_tokens",
          "dataset_size")  # fmt: skip
SEEDS = ("seed", "random_seed", "rng_seed")

# Numbers of a network that follow from its size: that they go with the axis confounds nothing.
OF_SIZE = frozenset({*SIZES, "depth", "n_layer", "n_layers", "num_layers", "heads", "n_head", "n_heads", "num_heads",
                     "head_dim", "d_head", "d_ff", "ffn_dim", "flops", "n_non_embedding", "memory"})  # fmt: skip
# Words within a name that say: better is higher; it is a number that was measured; it was kept, not set.
HIGHER = frozenset({"acc", "accuracy", "acc1", "acc5", "top1", "top5", "f1", "auc", "auroc", "bleu", "rouge", "reward",
                    "return", "score", "map", "iou", "miou", "dice", "precision", "recall", "r2", "psnr",
                    "ssim"})  # fmt: skip
MEASURED = frozenset({"loss", "time", "runtime", "duration", "seconds", "grad", "norm", "perplexity", "ppl",
                      "throughput", "elapsed"})  # fmt: skip
KEPT = frozenset({"date", "datetime", "timestamp", "created", "hostname", "host", "node", "pid", "url", "path",
                  "logdir"})  # fmt: skip
_SET_AS_WELL = frozenset({"precision", "map", "return"})  # scores whose names may be those of a setting


def plain_word(name: str) -> str:
    """A name as the vocabulary spells it: small letters, every separator an underscore, no spaces around."""
    return re.sub(r"[\s./:·|\-]+", "_", str(name).strip()).lower()


def without_prefix(name: str) -> str:
    """A name without the tracker's prefix: `params_lr`, `config.lr` and `config/lr` are `lr`."""
    for prefix in (*SETTINGS, *RESULTS):
        head = name[: len(prefix) + 1].lower()
        if len(name) > len(prefix) + 1 and head[:-1] == prefix and head[-1] in "._/·:":
            return name[len(prefix) + 1 :]
    return name


def last_part(name: str) -> str:
    """The last part of a name with dots or slashes: `optimizer.lr` ends in `lr`."""
    return re.split(r"[./·]", name)[-1]


def of_settings(name: str) -> bool:
    """Whether a tracker's prefix says that a column was set before the run."""
    return without_prefix(name) != name and re.split(r"[._/·:]", name.lower())[0] in SETTINGS


def find_word(words: Iterable[str], names: Iterable[str]) -> str | None:
    """The column that the first word of a list names, with a tracker's prefix or without; else as its last part."""
    names, words = list(names), [plain_word(word) for word in words]
    whole = {plain_word(form(name)): name for form in (without_prefix, str) for name in reversed(names)}
    last = {plain_word(last_part(name)): name for name in reversed(names)}
    return next((form[word] for form in (whole, last) for word in words if word in form), None)


def higher_is_better(name: str) -> bool:
    """Whether a name sounds like something to maximize."""
    words = set(plain_word(name).split("_"))
    return bool(words & HIGHER) and not words & {"loss", "error", "err"}


def is_measured(name: str, numbers: bool = True) -> bool:
    """Whether a column holds what a run came to, or when and where it ran: nothing that somebody chose.

    numbers: whether it holds numbers. A column `norm` of words is a kind of normalization.
    """
    if of_settings(name):
        return False
    if name.startswith("_") or without_prefix(name) != name:
        return True
    words = set(plain_word(name).split("_"))
    return bool(words & KEPT) or (numbers and bool(words & (MEASURED | (HIGHER - _SET_AS_WELL))))


def state_word(cell: Any) -> str:
    """A state as the vocabulary spells it: `TrialState.COMPLETE` is `complete`."""
    return plain_word(str(cell).rsplit(".", 1)[-1])
