"""muster.data: options, determinism, disjoint splits, standardisation, and the ways a stored data set can break."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest

from muster import data
from muster.data import prepared as store
from muster.data.base import Dataset, Dimensions, Options, Raw
from muster.errors import MusterError, Unavailable
from muster.experiments import Absent

SMALL = {
    "mnist1d": {"train": 400, "heldout": 100},
    "digits": {"train": 400, "heldout": 100},
    "teacher": {"train": 400, "heldout": 100},
    "python_text": {"train": 400, "heldout": 100},
}
FASHION_SIZES = {"train": 300, "t10k": 100}


@pytest.fixture
def toy(monkeypatch):
    """Register a data set made of given arrays, for one test."""

    def register(train_x, heldout_x):
        class ToyOptions(Options):
            train: int = 2
            heldout: int = 2

        labels = [np.arange(len(x)) % 2 for x in (train_x, heldout_x)]
        entry = Dataset(
            summary="toy",
            options=ToyOptions,
            dimensions=lambda options: Dimensions(2, 2, "classification"),
            build=lambda options: Raw(data.Arrays(train_x, labels[0], heldout_x, labels[1])),
            licence="none",
            source="test",
        )
        monkeypatch.setitem(data.DATASETS._entries, "toy", entry)

    return register


def test_import_pulls_in_no_heavy_package():
    probe = "import sys, muster.data; print([m for m in ('torch', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", SMALL)
def test_shapes_types_and_training_statistics(name):
    arrays, manifest = data.prepare(name, SMALL[name])
    shape = data.dimensions(name, SMALL[name])
    assert arrays.train_x.shape == (400, shape.features)
    assert arrays.heldout_x.shape == (100, shape.features)
    assert arrays.train_x.dtype == arrays.heldout_x.dtype == np.float32
    assert arrays.train_y.dtype == np.int64
    assert manifest["outputs"] == shape.outputs > arrays.train_y.max()
    assert arrays.train_x.mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert arrays.train_x.std(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    # The held-out split is moved by the training split's numbers: its own mean is near 0, never exactly 0.
    assert 1e-6 < abs(arrays.heldout_x.mean(dtype=np.float64)) < 0.3


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_data_other_seed_other_data(name):
    first, again = (data.prepare(name, SMALL[name])[0] for _ in range(2))
    other, _ = data.prepare(name, {**SMALL[name], "seed": 1})
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.train_x, other.train_x)


@pytest.mark.parametrize("name", SMALL)
def test_splits_share_no_example(name):
    arrays, _ = data.prepare(name, SMALL[name])
    train = {row.tobytes() for row in arrays.train_x}
    assert not any(row.tobytes() in train for row in arrays.heldout_x)


def test_an_example_in_both_splits_is_refused(toy):
    toy(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [3.0, 4.0]]))
    with pytest.raises(MusterError, match="1 distinct examples stand in both"):
        data.prepare("toy")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_values_are_refused(toy, bad):
    toy(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, bad], [7.0, 8.0]]))
    with pytest.raises(MusterError, match="heldout_x: 1 values are NaN or infinite"):
        data.prepare("toy")


def test_constant_inputs_are_refused(toy):
    toy(np.ones((2, 2)), np.array([[5.0, 6.0], [7.0, 8.0]]))
    with pytest.raises(MusterError, match="all training values are equal"):
        data.prepare("toy")


@pytest.mark.parametrize(
    ("name", "options", "place", "words"),
    [
        ("mnist1d", {"trian": 10}, "data_options.trian", "unknown option"),
        ("mnist1d", {"train": "many"}, "data_options.train", "many"),
        ("mnist1d", {"train": 3}, "data_options.train", "greater than or equal to 10"),
        ("digits", {"train": 1700, "heldout": 200}, "data_options.train", "1900 examples"),
        ("fashion_mnist", {"pool": 3}, "data_options.pool", "3"),
        ("fashion_mnist", {"train": 60001}, "data_options.train", "60001"),
        ("python_text", {"encoding": "words"}, "data_options.encoding", "words"),
    ],
)
def test_a_wrong_option_names_its_field(name, options, place, words):
    with pytest.raises(MusterError) as caught:
        data.prepare(name, options)
    assert caught.value.place == place
    assert words in caught.value.found
    assert caught.value.remedy


def test_an_unknown_data_set_suggests_the_nearest():
    with pytest.raises(MusterError, match="Did you mean 'mnist1d'"):
        data.dataset_key("mnist1")


def test_key_depends_on_resolved_options_only():
    assert data.dataset_key("mnist1d") == data.dataset_key("mnist1d", {"train": 40000})
    assert data.dataset_key("mnist1d") != data.dataset_key("mnist1d", {"train": 40001})
    assert data.dataset_key("fashion_mnist") == data.dataset_key("fashion_mnist", {"path": "/elsewhere"})
    assert len(data.dataset_key("digits").removeprefix("digits-")) == 8


@pytest.mark.parametrize("name", list(data.DATASETS))
def test_describe_names_licence_source_and_options(name):
    facts = data.describe(name)
    assert facts["licence"]
    assert facts["source"]
    assert {"train", "heldout", "seed"} <= set(facts["options"])
    assert all(option["meaning"] for option in facts["options"].values())


def test_mnist1d_classes_are_balanced_and_told_apart():
    arrays, _ = data.prepare("mnist1d", {"train": 4000, "heldout": 1000, "noise": 0.0, "correlated_noise": 0.0})
    np.testing.assert_array_equal(np.bincount(arrays.train_y), np.full(10, 400))
    nearest = ((arrays.heldout_x[:300, None] - arrays.train_x[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (arrays.train_y[nearest] == arrays.heldout_y[:300]).mean() > 0.8


def test_mnist1d_heldout_does_not_depend_on_the_size_of_training():
    few, many = (data.mnist1d.build(data.validate("mnist1d", {"train": n, "heldout": 50})) for n in (10, 300))
    np.testing.assert_array_equal(few.arrays.heldout_x, many.arrays.heldout_x)


def test_mnist1d_background_noise_has_the_stated_size():
    white = np.random.default_rng(0).standard_normal((4000, data.mnist1d.CANVAS))
    smooth = data.mnist1d._smooth(white)
    assert smooth.std() == pytest.approx(1, abs=0.02)
    neighbours = np.corrcoef(smooth[:, 10], smooth[:, 12])[0, 1]
    assert neighbours == pytest.approx(np.exp(-(2**2) / (4 * data.mnist1d.SMOOTHING**2)), abs=0.05)


def test_teacher_regression_and_noise():
    options = {"train": 2000, "heldout": 500, "task": "regression", "outputs": 3}
    clean, manifest = data.prepare("teacher", options)
    noisy, _ = data.prepare("teacher", {**options, "noise": 0.5})
    assert clean.train_y.shape == (2000, 3)
    assert clean.train_y.dtype == np.float32
    assert manifest["task"] == "regression"
    np.testing.assert_array_equal(clean.train_x, noisy.train_x)
    correlation = np.corrcoef(clean.train_y.ravel(), noisy.train_y.ravel())[0, 1]
    assert correlation == pytest.approx(1 / np.sqrt(1 + 0.5**2), abs=0.02)


def test_teacher_classes_are_all_used():
    arrays, _ = data.prepare("teacher", {"train": 5000, "activation": "relu"})
    assert np.bincount(arrays.train_y, minlength=10).min() > 100


def test_python_text_splits_by_file_and_records_its_corpus(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    contents = [rng.integers(32, 127, 400).astype(np.uint8).tobytes() for _ in range(12)]
    for i, content in enumerate([*contents, contents[0]]):
        (tmp_path / f"module_{i:02d}.py").write_bytes(content)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "other.py").write_bytes(b"x" * 1000)
    monkeypatch.setattr(data.python_text.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    options = {"train": 300, "heldout": 60, "encoding": "tokens"}
    arrays, manifest = data.prepare("python_text", options)
    assert manifest["files"] == {"train": 11, "heldout": 1}
    assert manifest["corpus_bytes"] == 12 * 400
    assert manifest["python"] == sys.version.split()[0]
    assert len(manifest["corpus_sha256"]) == 64
    files = [content for content in contents if bytes(arrays.heldout_x[0].astype(np.uint8)) in content]
    assert len(files) == 1
    assert all(bytes(row.astype(np.uint8)) in files[0] for row in arrays.heldout_x)
    assert not any(bytes(row.astype(np.uint8)) in files[0] for row in arrays.train_x)
    np.testing.assert_array_equal(arrays.train_x[:, 1:], arrays.train_y[:, :-1])


def test_python_text_drops_heldout_windows_that_occur_in_training(tmp_path, monkeypatch):
    for i in range(10):
        (tmp_path / f"m{i}.py").write_bytes(b"the same licence header in every single file" + bytes([65 + i]))
    monkeypatch.setattr(data.python_text.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(MusterError, match="after windows that occur in training are dropped"):
        data.prepare("python_text", {"train": 200, "heldout": 20, "context": 16})
    with pytest.raises(MusterError, match=r"1000 examples asked of python_text\. It holds"):
        data.prepare("python_text", {"train": 1000, "context": 16})


def test_bits_are_the_bytes_of_the_tokens():
    tokens, bits = (
        data.prepare("python_text", {**SMALL["python_text"], "encoding": encoding})[0]
        for encoding in ("tokens", "bits")
    )
    inputs = bits.train_x > 0  # standardised, two values
    np.testing.assert_array_equal(np.packbits(inputs, axis=1), tokens.train_x)
    np.testing.assert_array_equal(bits.train_y, tokens.train_y[:, -1])


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    """Small files in the official format and under the official names, with their checksums; no other copy, no network.

    Returns the folder of sources that holds them.
    """
    rng = np.random.default_rng(0)
    folder = tmp_path / "sources" / data.fashion_mnist.FOLDER
    folder.mkdir(parents=True)
    for part, size in FASHION_SIZES.items():
        images, labels = rng.integers(0, 256, size * 28**2, dtype=np.uint8), rng.integers(0, 10, size, dtype=np.uint8)
        for kind, header, values in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
            name, content = f"{part}-{kind}-ubyte.gz", b"\0" * header + values.tobytes()
            (folder / name).write_bytes(gzip.compress(content, mtime=0))
            monkeypatch.setitem(data.fashion_mnist.SHA256, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(data.fashion_mnist, "SIZES", FASHION_SIZES)
    monkeypatch.setattr(data.fashion_mnist, "PACKAGE_DIRECTORY", Path("/nowhere"))
    monkeypatch.setattr(data.fashion_mnist, "download", refuse)
    return folder.parent


def refuse(address, **limits):
    raise Unavailable("its address cannot be reached: no route to host")


def places(*folders, kept=None):
    return data.Places(folders, kept)


def test_fashion_mnist_pools_by_averaging_and_splits_officially(fashion):
    options = [data.validate("fashion_mnist", {"train": 50, "heldout": 20, "pool": pool}) for pool in (1, 2)]
    files = data.fashion_mnist.obtain(options[0], places(fashion))
    full, pooled = (data.fashion_mnist.build(chosen, files).arrays for chosen in options)
    assert pooled.train_x.shape == (50, 196)
    by_hand = full.train_x[0].reshape(28, 28)[4:6, 10:12].mean()
    assert pooled.train_x[0].reshape(14, 14)[2, 5] == pytest.approx(by_hand)
    np.testing.assert_array_equal(full.train_y, pooled.train_y)
    assert full.train_x.max() > 200
    for part, x, y in (("train", full.train_x, full.train_y), ("t10k", full.heldout_x, full.heldout_y)):
        images = np.frombuffer(files[f"{part}-images-idx3-ubyte.gz"], np.uint8)[16:].reshape(-1, 784)
        labels = np.frombuffer(files[f"{part}-labels-idx1-ubyte.gz"], np.uint8)[8:]
        place = {image.tobytes(): i for i, image in enumerate(images)}
        order = [place[image.astype(np.uint8).tobytes()] for image in x]
        np.testing.assert_array_equal(labels[order], y)


def test_fashion_mnist_is_taken_from_any_folder_that_holds_it(fashion, monkeypatch):
    options = {"train": 100, "heldout": 20}
    here, manifest = data.prepare("fashion_mnist", options, places(fashion))
    own = str(fashion / "fashion-mnist")
    there, same = data.prepare("fashion_mnist", {**options, "path": own})
    monkeypatch.setattr(data.fashion_mnist, "PACKAGE_DIRECTORY", fashion / "fashion-mnist")
    package, _ = data.prepare("fashion_mnist", options)
    for arrays in (there, package):
        np.testing.assert_array_equal(here.train_x, arrays.train_x)
    assert manifest == same
    assert own not in json.dumps(same)


def test_fashion_mnist_without_file_or_network_names_its_remedies(fashion):
    with pytest.raises(MusterError) as caught:
        data.prepare("fashion_mnist", {}, places(fashion / "empty"))
    assert "no route to host (fashion-mnist.s3-website" in caught.value.found
    assert caught.value.found.count("no route to host") == 1
    for part in (
        "muster fetch fashion_mnist",
        "apt-get install dataset-fashion-mnist",
        f"into {fashion}/empty/fashion",
    ):
        assert part in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [(gzip.compress(b"\0" * 100), "checksum cd00e292c597"), (b"no gzip", "not readable as gzip")],
    ids=["checksum", "gzip"],
)
def test_fashion_mnist_wrong_bytes_are_refused(fashion, tmp_path, content, said):
    name = "train-images-idx3-ubyte.gz"
    bad = tmp_path / "mine" / name
    bad.parent.mkdir()
    bad.write_bytes(content)
    with pytest.raises(MusterError, match=rf"mine/{name} is refused: .*{said}"):
        data.prepare("fashion_mnist", {"path": str(bad.parent)})
    arrays, _ = data.prepare("fashion_mnist", {"path": str(bad.parent), "train": 50, "heldout": 10}, places(fashion))
    assert len(arrays.train_x) == 50  # the next folder holds the right bytes


def test_fashion_mnist_is_downloaded_from_the_second_address_and_kept(fashion, tmp_path, monkeypatch):
    asked = []

    def answer(address, **limits):
        asked.append(address)
        if data.fashion_mnist.ADDRESSES[0] in address:
            raise Unavailable("down")
        return (fashion / "fashion-mnist" / address.rpartition("/")[2]).read_bytes()

    monkeypatch.setattr(data.fashion_mnist, "download", answer)
    options = {"train": 50, "heldout": 10}
    first, _ = data.prepare("fashion_mnist", options, places(kept=tmp_path / "kept"))
    assert len(asked) == 8
    again, _ = data.prepare("fashion_mnist", options, places(kept=tmp_path / "kept"))
    assert len(asked) == 8
    np.testing.assert_array_equal(first.train_x, again.train_x)


@pytest.fixture
def written(tmp_path):
    folder = tmp_path / "data"
    data.write_dataset("mnist1d", SMALL["mnist1d"], folder)
    return folder


def test_write_and_load_round_trip_with_equal_bytes(written, tmp_path):
    arrays, manifest = data.prepare("mnist1d", SMALL["mnist1d"])
    for stored, made in zip(data.load_dataset(written), arrays, strict=True):
        np.testing.assert_array_equal(stored, made)
    assert data.load_manifest(written) == manifest
    data.write_dataset("mnist1d", SMALL["mnist1d"], tmp_path / "again")
    for file in ("data.npz", "manifest.json"):
        assert (written / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    with zipfile.ZipFile(written / "data.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert sorted(path.name for path in written.iterdir()) == ["data.npz", "manifest.json"]


@pytest.mark.parametrize("file", ["data.npz", "manifest.json"])
def test_a_missing_file_is_named(written, file):
    (written / file).unlink()
    with pytest.raises(MusterError, match=f"{file}: the file is missing. Delete "):
        data.load_dataset(written)


def test_a_changed_number_is_noticed(written):
    arrays = data.load_dataset(written)
    changed = arrays.heldout_x.copy()
    changed[3, 5] += 1e-6
    (written / "data.npz").write_bytes(store._npz_bytes(arrays._replace(heldout_x=changed)))
    with pytest.raises(MusterError, match=r"heldout_x is .* the manifest says"):
        data.load_dataset(written)


def test_a_truncated_file_is_refused(written):
    content = (written / "data.npz").read_bytes()
    (written / "data.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(MusterError, match="unreadable arrays"):
        data.load_dataset(written)


def test_pickled_objects_are_refused(written):
    arrays = data.load_dataset(written)._asdict() | {"train_x": np.array([{"a": 1}], dtype=object)}
    np.savez(written / "data.npz", **arrays)
    with pytest.raises(MusterError, match="unreadable arrays"):
        data.load_dataset(written)


@pytest.mark.parametrize("text", ["not json", "[]", "{}"])
def test_a_broken_manifest_is_refused(written, text):
    (written / "manifest.json").write_text(text)
    with pytest.raises(MusterError, match="unreadable manifest"):
        data.load_dataset(written)


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MusterError, match="cannot be written"):
        data.write_dataset("mnist1d", SMALL["mnist1d"], tmp_path / "file" / "data")


def test_a_new_option_that_changes_nothing_renames_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(Options):
        train: int = 2
        heldout: int = 2

    class Later(Earlier):
        slope: Annotated[float, Absent(0.0)] = 0.0

    def key(options: type[Options], **given: float) -> str:
        arrays = data.Arrays(*[np.zeros((2, 2))] * 4)
        shape = Dimensions(2, 2, "classification")
        entry = Dataset("toy", options, lambda chosen: shape, lambda chosen: Raw(arrays), "none", "test")
        monkeypatch.setitem(data.DATASETS._entries, "toy", entry)
        return data.dataset_key("toy", given)

    assert key(Later) == key(Later, slope=0.0) == key(Earlier)
    assert key(Later, slope=1.0) != key(Earlier)


def test_modular_addition_holds_every_pair_once_and_adds():
    arrays, _ = data.prepare("modular_addition", {"modulus": 7, "train": 39, "heldout": 10})
    whole = data.Arrays(*arrays)
    x, y = np.concatenate([whole.train_x, whole.heldout_x]), np.concatenate([whole.train_y, whole.heldout_y])
    a, b = x[:, :7].argmax(1), x[:, 7:].argmax(1)
    assert len(set(zip(a, b, strict=True))) == 49
    assert (x.sum(1) == 2).all()
    assert ((a + b) % 7 == y).all()
    fewer, _ = data.prepare("modular_addition", {"modulus": 7, "train": 20, "heldout": 10})
    np.testing.assert_array_equal(fewer.train_x, whole.train_x[:20])
    np.testing.assert_array_equal(fewer.heldout_x, whole.heldout_x)


def test_modular_addition_refuses_more_pairs_than_there_are():
    with pytest.raises(MusterError, match="It holds 49"):
        data.prepare("modular_addition", {"modulus": 7, "train": 40, "heldout": 10})
