"""Files are whole or absent, and what is damaged is named, set aside, and never read as data."""

import errno
import hashlib
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from muster.errors import DamagedError, MusterError
from muster.files import setting_aside, write_atomically, write_bytes, write_text
from muster.tables.collect import collect
from muster.tables.io import read_frame, write_frame
from muster.training import checkpoint
from tests.unit.tables.test_tables import folder, plan, results  # noqa: F401


def test_a_file_is_synced_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("sync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, target: (seen.append("rename"), replace(path, target)))
    write_text(tmp_path / "new" / "ü b.txt", "ü")
    assert seen == ["sync", "rename", "sync"]  # the file, its name, the folder that holds the name
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ü b.txt"]
    assert (tmp_path / "new" / "ü b.txt").read_bytes() == "ü".encode()


def fails(temporary: Path) -> None:
    temporary.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails_again(temporary: Path) -> None:
    """As torch does, whose writer closes its archive over the refusal."""
    try:
        fails(temporary)
    finally:
        raise RuntimeError("unexpected pos 14976")


def dies(temporary: Path) -> None:
    temporary.write_text("half")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("write", "raised"), [(fails, MusterError), (fails_again, MusterError), (dies, KeyboardInterrupt)]
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, write: Callable[[Path], None], raised: type[BaseException]
) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(raised, match="a: cannot be written .No space left on device" if write is not dies else None):
        write_atomically(tmp_path / "a", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "log2_lr": np.repeat([-5.0, -4.0], 6),
            "step": np.tile(np.arange(6), 2),
            "probe": ["a", "bc"] * 6,
            "value": rng.standard_normal(12),
            "se": [np.nan, -0.0] * 6,
            "diverged": [True, False] * 6,
            "data": [None, "x"] * 6,
        }
    )


def test_no_flipped_bit_and_no_truncation_of_a_table_is_read_as_data(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_frame(frame(), path)
    whole, expected = path.read_bytes(), read_frame(path)
    pd.testing.assert_frame_equal(expected, frame(), check_dtype=False)
    noticed = 0
    for bit in range(0, 8 * len(whole), 41):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        noticed += refused(path, bytes(content), expected)
    assert noticed > len(whole) / 8  # of 8/41 flips a byte; the rest lie in bytes that mean nothing
    assert all(refused(path, whole[:length], expected) for length in range(0, len(whole), 97))


def refused(path: Path, content: bytes, expected: pd.DataFrame) -> bool:
    """Whether a table is refused; if it is read, it must hold what was written."""
    path.write_bytes(content)
    try:
        pd.testing.assert_frame_equal(read_frame(path), expected)
    except DamagedError as error:
        return error.place == str(path) and error.paths == (path,)
    return False


def test_a_table_that_muster_did_not_write_is_no_table_of_a_run(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DamagedError, match="checksum does not match"):
        read_frame(tmp_path / "t.parquet")


def test_no_flipped_bit_and_no_truncation_of_a_checkpoint_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stack0.pt"
    checkpoint.save(path, "owner", {"step": 3, "weights": {"w": [1.0, 2.0]}})
    whole = path.read_bytes()
    assert checkpoint.load(path, "owner") == {"step": 3, "weights": {"w": [1.0, 2.0]}}
    for bit in range(0, 8 * len(whole), 37):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert checkpoint.load(path, "owner") is None
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        assert checkpoint.load(path, "owner") is None
    assert f"{path}: checkpoint is unreadable (its checksum does not match)" in capsys.readouterr().out


def test_a_full_disk_is_one_message_and_the_old_checkpoint_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stack0.pt"
    checkpoint.save(path, "owner", {"step": 3})
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r": opened(Path("/dev/full"), mode))
    with pytest.raises(MusterError, match=r"stack0.pt: cannot be written .No space left on device"):
        checkpoint.save(path, "owner", {"step": 4})
    monkeypatch.undo()
    assert checkpoint.load(path, "owner") == {"step": 3}
    assert [file.name for file in tmp_path.iterdir()] == ["stack0.pt"]


class Exploit:
    """Unpickled, it would write a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "ran")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, target = tmp_path / "stack0.pt", tmp_path / "ran"
    for content in (pickle.dumps(Exploit(target)), torch_file(Exploit(target), tmp_path / "saved")):
        path.write_bytes(content + hashlib.sha256(content).digest())
        assert checkpoint.load(path, "owner") is None
        assert not target.exists()


def torch_file(value: object, path: Path) -> bytes:
    torch.save({"owner": "owner", "state": value}, path)
    return path.read_bytes()


def test_all_damaged_cells_are_named_at_once_and_set_aside(plan, results: Path) -> None:  # noqa: F811
    first, second, third = (folder(results, cell) for cell in plan.cells[:3])
    (first / "runs.parquet").write_bytes(b"PAR1")
    (second / "curves.parquet").unlink()
    content = bytearray((third / "probes.parquet").read_bytes())
    content[40] ^= 4
    (third / "probes.parquet").write_bytes(content)
    with pytest.raises(MusterError, match=rf"{first.name}/runs.parquet: damaged: .* .and 2 more cells.*Run again"), \
            setting_aside():  # fmt: skip
        collect(plan, results)
    for cell in (first, second, third):
        assert not cell.exists()
        assert cell.with_name(f"{cell.name}.damaged").is_dir()
    with pytest.raises(MusterError, match="no such table"):
        collect(plan, results)


def test_what_cannot_be_set_aside_is_still_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(MusterError, match=r"Read-only file system.*Delete .*t and run again"), setting_aside():
        raise DamagedError("t", "damaged", tmp_path / "t")


def test_a_later_damage_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    for content in ("first", "second"):
        write_bytes(tmp_path / "cell" / "runs.parquet", content.encode())
        with pytest.raises(MusterError), setting_aside():
            raise DamagedError("cell", "damaged", tmp_path / "cell")
    assert (tmp_path / "cell.damaged" / "runs.parquet").read_text() == "second"


def test_errors_survive_the_way_between_processes() -> None:
    for error in (MusterError("a", "b", "c"), DamagedError("a", "b", Path("c"))):
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def test_nothing_is_unpickled() -> None:
    """torch.load and numpy.load are the two readers that can: both are told not to. Of pickled tables the names are
    answered by stand-ins, whoever asks."""
    sources = {path: path.read_text() for path in (Path(__file__).parents[2] / "src").rglob("*.py")}
    for path, text in sources.items():
        assert "pickle.load" not in text, path
        if "import pickle" in text:
            assert path.name == "pickles.py"
            assert (
                text.count("pickle.Unpickler") == text.count("(pickle.Unpickler):") == text.count("def find_class") == 1
            )
        assert text.count("torch.load(") == text.count("weights_only=True"), path
        assert text.count("np.load(") == len(re.findall(r"np\.load\([^\n]*, allow_pickle=False\)", text)), path
