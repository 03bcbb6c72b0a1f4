"""scikit-learn's 8×8 handwritten digits: 1,797 real images that come with the package."""

import numpy as np
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw, check_size

TOTAL = 1797


class DigitsOptions(Options):
    """Options of `digits`."""

    train: int = Field(1437, ge=10, description="Training examples")
    heldout: int = Field(360, ge=1, description="Held-out examples; train + heldout is at most 1797")


def build(options: DigitsOptions) -> Raw:
    """A random split of the 1,797 images, [examples, 64] in units of ink 0 ... 16."""
    from sklearn.datasets import load_digits

    check_size("train", options.train + options.heldout, TOTAL, "digits (train + heldout)")
    bunch = load_digits()
    order = np.random.default_rng(options.seed).permutation(TOTAL)[: options.train + options.heldout]
    train, heldout = order[: options.train], order[options.train :]
    x, y = bunch.data.astype(np.float32), bunch.target.astype(np.int64)
    return Raw(Arrays(x[train], y[train], x[heldout], y[heldout]))


DATASETS.register("digits")(
    Dataset(
        summary="scikit-learn's 8×8 handwritten digits: 1,797 real images, no network",
        options=DigitsOptions,
        dimensions=lambda options: Dimensions(64, 10, "classification"),
        build=build,
        licence="CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)",
        source="sklearn.datasets.load_digits; Alpaydin and Kaynak 1998, UCI Machine Learning Repository",
    )
)
