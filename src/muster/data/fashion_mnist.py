"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): from Debian's package, a folder, or the official addresses."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from muster.data.base import DATASETS, Arrays, Dataset, Dimensions, Options, Origin, Places, Raw, stamp
from muster.download import download
from muster.errors import Unavailable
from muster.files import write_bytes

PACKAGE = "dataset-fashion-mnist"
PACKAGE_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
)
FOLDER = "fashion-mnist"  # below a folder of sources
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

    train: int = Field(60000, ge=10, le=SIZES["train"], description="Training images, of 60000")
    heldout: int = Field(
        10000, ge=1, le=SIZES["t10k"], description="Held-out images, of the official 10000 test images"
    )
    pool: Literal[1, 2, 4, 7] = Field(1, description="Average-pooling factor of the 28×28 images; 2 gives 14×14")
    path: str | None = Field(None, description="Folder that holds the four official .gz files, looked at first")


def _folders(options: FashionOptions, folders: Iterable[Path]) -> list[Path]:
    own = [Path(options.path).expanduser()] if options.path else []
    return [*own, *(folder / FOLDER for folder in folders), PACKAGE_DIRECTORY]


def obtain(options: FashionOptions, places: Places) -> dict[str, bytes]:
    """The four official files, uncompressed, by name; each is taken where its bytes have the published checksum."""
    return {name: _obtain_file(name, _folders(options, places.all), places) for name in SHA256}


def _obtain_file(name: str, folders: list[Path], places: Places) -> bytes:
    problems = []
    for path in (folder / name for folder in folders):
        if not path.is_file():
            continue
        try:
            return _uncompressed(path.read_bytes(), name)
        except (OSError, Unavailable) as error:
            problems.append(f"{path} is refused: {error}")
    refused: dict[str, list[str]] = {}
    for address in ADDRESSES:
        try:
            compressed = download(f"{address}/{name}", timeout=places.timeout, deadline=places.deadline)
            content = _uncompressed(compressed, name)
        except Unavailable as error:
            refused.setdefault(str(error), []).append(str(urlsplit(address).hostname))
            continue
        if places.kept:
            write_bytes(places.kept / FOLDER / name, compressed)
        return content
    problems = problems or [f"no {name} on this machine"]
    raise Unavailable("; ".join([*problems, *(f"{why} ({', '.join(hosts)})" for why, hosts in refused.items())]))


def _uncompressed(compressed: bytes, name: str) -> bytes:
    """Raises Unavailable unless it is the published file, whatever its compression."""
    try:
        content = gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise Unavailable(f"not readable as gzip ({error})") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise Unavailable(f"its uncompressed bytes have checksum {found[:12]}…, expected {SHA256[name][:12]}…")
    return content


def state(options: FashionOptions, folders: tuple[Path, ...]) -> str:
    """Changes when a file appears in one of the folders, or changes there."""
    return stamp(folder / name for folder in _folders(options, folders) for name in SHA256)


def by_hand(options: FashionOptions, folder: Path) -> str:
    """The package that holds the files, and where they may be put."""
    return (
        f"install Debian's package (apt-get install {PACKAGE}), or put the four .gz files of "
        f"https://github.com/zalandoresearch/fashion-mnist into {folder / FOLDER}"
    )


def _split(
    files: Mapping[str, bytes], part: str, count: int, pool: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` images of one official split in random order: [count, (28/pool)²] grey levels 0 ... 255, and labels."""
    chosen = rng.permutation(SIZES[part])[:count]
    images = np.frombuffer(files[f"{part}-images-idx3-ubyte.gz"], np.uint8, offset=16)
    labels = np.frombuffer(files[f"{part}-labels-idx1-ubyte.gz"], np.uint8, offset=8)
    pooled_side = SIDE // pool
    blocks = images.reshape(-1, pooled_side, pool, pooled_side, pool)[chosen]
    pooled = blocks.mean(axis=(2, 4), dtype=np.float32)
    return pooled.reshape(count, pooled_side**2), labels[chosen].astype(np.int64)


def build(options: FashionOptions, files: Mapping[str, bytes]) -> Raw:
    """Training images from the official training set, held-out images from the official test set.

    files: the four official files by name, uncompressed, in the IDX format.
    """
    rng = np.random.default_rng(options.seed)
    train = _split(files, "train", options.train, options.pool, rng)
    heldout = _split(files, "t10k", options.heldout, options.pool, rng)
    return Raw(Arrays(*train, *heldout))


DATASETS.register("fashion_mnist")(
    Dataset(
        summary="Fashion-MNIST: 70,000 grey images of clothing, pooled on request (pool: 2 gives 14×14)",
        options=FashionOptions,
        dimensions=lambda options: Dimensions((SIDE // options.pool) ** 2, 10, "classification"),
        build=build,
        origin=Origin(obtain, state, by_hand, "run `muster fetch fashion_mnist`"),
        licence="MIT (Zalando SE)",
        source=f"Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747; Debian package {PACKAGE} or {ADDRESSES[0]}",
        local=frozenset({"path"}),
    )
)
