"""What nobody meant, at random: a few of each kind with the tests, a thousand with `make drill`."""

from pathlib import Path

from tests.fuzz import flip_bits, fuzz_readers, fuzz_tables, fuzz_yaml

FEW = 30


def test_changed_texts_of_studies(tmp_path: Path) -> None:
    assert fuzz_yaml(tmp_path, FEW)["refused"] > FEW / 2


def test_changed_tables_of_runs(tmp_path: Path) -> None:
    assert fuzz_tables(tmp_path, FEW)["refused"] > FEW / 2


def test_changed_files_of_other_people() -> None:
    assert fuzz_readers(FEW)["refused"] > FEW / 2


def test_flipped_bits_of_results_change_no_value(tmp_path: Path) -> None:
    assert flip_bits(tmp_path, 4 * FEW)["refused"] > FEW
