"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): from Debian's package, a folder, or the official addresses."""

import gzip
import hashlib
import http.client
import urllib.request
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Raw, check_size
from muster.errors import MusterError

PACKAGE = "dataset-fashion-mnist"
PACKAGE_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
)
TIMEOUT_SECONDS = 60
SIDE = 28
SIZES = {"train": 60000, "t10k": 10000}
# Checksums of the uncompressed bytes: Debian compresses the same bytes anew, so its .gz differ from the official ones.
SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


class FashionOptions(Options):
    """Options of `fashion_mnist`."""

    train: int = Field(60000, ge=10, description="Training images, of 60000")
    heldout: int = Field(10000, ge=1, description="Held-out images, of the official 10000 test images")
    pool: Literal[1, 2, 4, 7] = Field(1, description="Average-pooling factor of the 28×28 images; 2 gives 14×14")
    path: str | None = Field(None, description="Folder that holds the four official .gz files")


def _from_folder(folder: Path, name: str) -> bytes:
    try:
        content = gzip.decompress((folder / name).read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise MusterError(str(folder / name), f"unreadable ({error})", _remedy()) from None
    _check(content, name, str(folder / name))
    return content


def _download(name: str) -> bytes:
    failures = []
    for address in ADDRESSES:
        try:
            with urllib.request.urlopen(f"{address}/{name}", timeout=TIMEOUT_SECONDS) as response:
                content = gzip.decompress(response.read())
        except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
            failures.append(f"{address}: {error}")
            continue
        _check(content, name, f"{address}/{name}")
        return content
    raise MusterError("data fashion_mnist", f"not on this machine, and no download ({'; '.join(failures)})", _remedy())


def _remedy() -> str:
    return (
        f"Either install Debian's package (apt-get install {PACKAGE}), or put the four .gz files of "
        "https://github.com/zalandoresearch/fashion-mnist into a folder and name it in data_options.path"
    )


def _check(content: bytes, name: str, place: str) -> None:
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise MusterError(place, "wrong sha256 of the uncompressed file", _remedy())


def _fetch(options: FashionOptions, name: str) -> bytes:
    if options.path is not None:
        return _from_folder(Path(options.path), name)
    if PACKAGE_DIRECTORY.is_dir():
        return _from_folder(PACKAGE_DIRECTORY, name)
    return _download(name)


def _split(options: FashionOptions, part: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`count` images of one official split in random order: [count, (28/pool)²] grey levels 0 ... 255, and labels."""
    chosen = rng.permutation(SIZES[part])[:count]
    images = np.frombuffer(_fetch(options, f"{part}-images-idx3-ubyte.gz"), np.uint8, offset=16)
    labels = np.frombuffer(_fetch(options, f"{part}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    pooled_side = SIDE // options.pool
    blocks = images.reshape(-1, pooled_side, options.pool, pooled_side, options.pool)[chosen]
    pooled = blocks.mean(axis=(2, 4), dtype=np.float32)
    return pooled.reshape(count, pooled_side**2), labels[chosen].astype(np.int64)


def build(options: FashionOptions) -> Raw:
    """Training images from the official training set, held-out images from the official test set."""
    check_size("train", options.train, SIZES["train"], "fashion_mnist")
    check_size("heldout", options.heldout, SIZES["t10k"], "fashion_mnist")
    rng = np.random.default_rng(options.seed)
    train = _split(options, "train", options.train, rng)
    heldout = _split(options, "t10k", options.heldout, rng)
    return Raw(Arrays(*train, *heldout))


DATASETS.register("fashion_mnist")(
    Dataset(
        summary="Fashion-MNIST: 70,000 grey images of clothing, pooled on request (pool: 2 gives 14×14)",
        options=FashionOptions,
        dimensions=lambda options: Dimensions((SIDE // options.pool) ** 2, 10, "classification"),
        build=build,
        licence="MIT (Zalando SE)",
        source=f"Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747; Debian package {PACKAGE} or {ADDRESSES[0]}",
        local=frozenset({"path"}),
    )
)
