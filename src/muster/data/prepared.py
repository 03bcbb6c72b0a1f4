"""Making, checking, writing and reading data sets: `data.npz` and `manifest.json` in a folder named by content."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from muster.data.base import DATASETS, Arrays, Dimensions, Options, Places, Raw, validate
from muster.errors import DamagedError, MusterError, Unavailable
from muster.experiments import absent_fields
from muster.files import write_bytes, write_text

DATA_FILE, MANIFEST_FILE = "data.npz", "manifest.json"
STREAM_SAMPLE = 256  # fresh examples whose hash stands in the manifest
NOWHERE = Places()
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: equal arrays give equal bytes


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _identity(name: str, options: dict[str, Any] | None) -> dict[str, Any]:
    """Validated options that decide the bytes: all but those that say where the bytes lie, or that are absent."""
    chosen = validate(name, options)
    exclude = {**absent_fields(chosen), **dict.fromkeys(DATASETS[name].local, True)}
    return chosen.model_dump(mode="json", exclude=exclude)


def dataset_key(name: str, options: dict[str, Any] | None = None) -> str:
    """Folder name `<name>-<8 hex of sha256(options with defaults)>`. Raises MusterError on unknown names or options."""
    return f"{name}-{hashlib.sha256(_canonical(_identity(name, options)).encode()).hexdigest()[:8]}"


def dimensions(name: str, options: dict[str, Any] | None = None) -> Dimensions:
    """Features, outputs and task without making the data."""
    return DATASETS[name].dimensions(validate(name, options))


def describe(name: str) -> dict[str, Any]:
    """Summary, licence, source, default shapes, and each option with its default and meaning."""
    entry = DATASETS[name]
    default = dimensions(name)
    return {
        "name": name,
        "summary": entry.summary,
        "licence": entry.licence,
        "source": entry.source,
        **default._asdict(),
        "options": {
            field: {"default": info.default, "meaning": info.description}
            for field, info in entry.options.model_fields.items()
        },
    }


def _check_finite(name: str, arrays: Arrays) -> None:
    for part, array in arrays._asdict().items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            place, found = f"data {name}, {part}", f"{count} values are NaN or infinite"
            raise MusterError(place, found, "Remove or mend these examples")


def _digests(rows: np.ndarray) -> set[bytes]:
    """Digests of the examples; one of zeros alone, as sparse data have many, gives nothing away."""
    rows = rows[rows.any(axis=tuple(range(1, rows.ndim)))]
    return {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(rows)}


def _check_disjoint(name: str, arrays: Arrays) -> None:
    shared = _digests(arrays.train_x) & _digests(arrays.heldout_x)
    if shared:
        found = f"{len(shared)} distinct examples stand in both the training and the held-out split"
        raise MusterError(f"data {name}", found, "Remove duplicates at the source, or choose another data_options.seed")


def _check_shapes(name: str, arrays: Arrays, shape: Dimensions) -> None:
    for part, x, y in (("train", arrays.train_x, arrays.train_y), ("heldout", arrays.heldout_x, arrays.heldout_y)):
        if shape.task == "regression":
            fits = y.shape == (len(x), shape.outputs)
        else:
            fits = 0 <= y.min() <= y.max() < shape.outputs
        if x.shape != (len(y), shape.features) or not fits:
            found = f"{part}: inputs {x.shape}, targets {y.shape} do not fit {shape}"
            raise MusterError(f"data {name}", found, "This is a defect of the data set's module: report it")


def _standardise(name: str, train: np.ndarray, heldout: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Shift and scale by the mean and standard deviation of the TRAINING array, one number each.

    One number for all features, since a pixel that is almost always blank would otherwise blow up where it is not.
    """
    mean, std = float(train.mean(dtype=np.float64)), float(train.std(dtype=np.float64))
    if std == 0:
        raise MusterError(f"data {name}", "all training values are equal", "Choose options that leave some variation")
    scaled = ((array.astype(np.float64) - mean) / std for array in (train, heldout))
    train, heldout = (np.ascontiguousarray(array, np.float32) for array in scaled)
    return train, heldout, {"mean": mean, "std": std}


def state(name: str, options: dict[str, Any] | None, folders: tuple[Path, ...]) -> str:
    """What lies on this machine of a data set's origin, a word; `made here` for one without. Asks no network."""
    origin = DATASETS[name].origin
    return origin.state(validate(name, options), folders) if origin else "made here"


def prepare(
    name: str, options: dict[str, Any] | None = None, places: Places = NOWHERE
) -> tuple[Arrays, dict[str, Any]]:
    """Make a data set in memory, with its manifest.

    Inputs (and regression targets) are float32 with mean 0 and variance 1 over all entries of the training split,
    unless the data set has units of its own; the held-out split is shifted and scaled by the training split's numbers.
    Labels and tokens are int64.

    Raises MusterError on bad options, non-finite values, wrong shapes, an example that stands in both splits, or if
    its bytes cannot be had.
    """
    chosen = validate(name, options)
    try:
        raw = _raw(name, chosen, places)
    except Unavailable as error:
        remedy = _remedy(name, chosen, places)
        raise MusterError(f"data {name}", f"not available, {error}", remedy[0].upper() + remedy[1:]) from None
    return _checked(name, options, raw)


def _raw(name: str, chosen: Options, places: Places) -> Raw:
    """Arrays as the data set builds them. Raises Unavailable if what it builds them of cannot be had."""
    entry = DATASETS[name]
    return entry.build(chosen, entry.origin.obtain(chosen, places)) if entry.origin else entry.build(chosen)


def _remedy(name: str, chosen: Options, places: Places) -> str:
    origin = DATASETS[name].origin
    folder = places.folders[0] if places.folders else Path("results/sources")
    return origin.remedy(chosen, folder) if origin else ""


def _checked(name: str, options: dict[str, Any] | None, raw: Raw) -> tuple[Arrays, dict[str, Any]]:
    entry, chosen = DATASETS[name], validate(name, options)
    shape = entry.dimensions(chosen)
    arrays = raw.arrays
    _check_finite(name, arrays)
    _check_shapes(name, arrays, shape)
    _check_disjoint(name, arrays)
    standardised = {}
    if entry.standardise and shape.task != "next_token":
        train, heldout, standardised["inputs"] = _standardise(name, arrays.train_x, arrays.heldout_x)
        arrays = arrays._replace(train_x=train, heldout_x=heldout)
    if entry.standardise and shape.task == "regression":
        train, heldout, standardised["targets"] = _standardise(name, arrays.train_y, arrays.heldout_y)
        arrays = arrays._replace(train_y=train, heldout_y=heldout)
    manifest = {
        "name": name,
        "options": _identity(name, options),
        "task": shape.task,
        "features": shape.features,
        "outputs": shape.outputs,
        "train": len(arrays.train_x),
        "heldout": len(arrays.heldout_x),
        "standardised": standardised,
        "arrays": {part: _fingerprint(array) for part, array in arrays._asdict().items()},
        "licence": entry.licence,
        "source": entry.source,
        "numpy": np.__version__,
        **raw.facts,
    }
    if entry.stream is not None:  # a sample, so that data drawn by other code are other data
        manifest["stream"] = _fingerprint(entry.stream(chosen, np.random.default_rng(chosen.seed), STREAM_SAMPLE)[0])
    return arrays, manifest


def _fingerprint(array: np.ndarray) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}


def _npz_bytes(arrays: Arrays | None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, array in (arrays._asdict() if arrays else {}).items():
            with archive.open(zipfile.ZipInfo(f"{part}.npy", ZIP_EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def write_dataset(
    name: str, options: dict[str, Any] | None, directory: Path, places: Places = NOWHERE
) -> dict[str, Any]:
    """Make a data set and write data.npz (no pickle, deterministic bytes), then manifest.json; returns the manifest.

    Each file is replaced atomically, the manifest last. Where its bytes cannot be had, data.npz holds no array, and the
    manifest says why (`unavailable`) and how to get them (`remedy`). Raises MusterError as `prepare` does otherwise, or
    if the folder cannot be written.
    """
    chosen = validate(name, options)
    arrays: Arrays | None = None
    try:
        arrays, manifest = _checked(name, options, _raw(name, chosen, places))
    except Unavailable as error:
        why = {"unavailable": str(error), "remedy": _remedy(name, chosen, places)}
        manifest = {"name": name, "options": _identity(name, options), "arrays": {}, **why}
    write_bytes(directory / DATA_FILE, _npz_bytes(arrays))
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_text(directory / MANIFEST_FILE, text)
    return manifest


def load_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a written data set. Raises DamagedError if it is missing or no JSON object."""
    path = directory / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest["arrays"], dict):
            raise ValueError("`arrays` is no object")
    except FileNotFoundError:
        raise DamagedError(str(path), "the file is missing", directory) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(str(path), f"unreadable manifest ({error!r})", directory) from None
    return manifest


def load_dataset(directory: Path) -> Arrays:
    """Arrays of a written data set, after sizes, types and sha256 have been held against the manifest.

    Raises DamagedError if a file is missing, unreadable, or differs from the manifest; MusterError for a data set that
    could not be had.
    """
    manifest, path = load_manifest(directory), directory / DATA_FILE
    if "unavailable" in manifest:
        raise MusterError(str(directory), f"not available, {manifest['unavailable']}", f"Either {manifest['remedy']}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = Arrays(*(archive[part] for part in Arrays._fields))
    except FileNotFoundError:
        raise DamagedError(str(path), "the file is missing", directory) from None
    except Exception as error:  # a flipped bit may raise anything
        raise DamagedError(str(path), f"unreadable arrays ({error})", directory) from None
    for part, array in arrays._asdict().items():
        found, expected = _fingerprint(array), manifest["arrays"].get(part)
        if found != expected:
            raise DamagedError(str(path), f"{part} is {found}, the manifest says {expected}", directory)
    return arrays
