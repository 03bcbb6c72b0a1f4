"""Whatever a YAML file holds ends in a mapping or in one line that names the file: no traceback, no hang, no crash."""

import itertools
import os
import time
from pathlib import Path

import pytest
import yaml

from muster.config.load import MOST_BYTES, MOST_DEPTH, MOST_NODES, load_config, parse_yaml, read_yaml, reserved
from muster.errors import MusterError

LETTERS = "abcdefghij"
REFUSED = {
    "a thirteenth month": ("title: 2026-13-45", "'2026-13-45' is no timestamp"),
    "a year 0": ("title: 0000-00-00", "is no timestamp"),
    "a zone of four days": ("title: 2001-12-14t21:59:43.10+99:99", "is no timestamp"),
    "a tag for another value": ("title: !!int abc", "'abc' is no int"),
    "a float of letters": ("title: !!float abc", "'abc' is no float"),
    "a bool of letters": ("title: !!bool abc", "'abc' is no bool"),
    "a mapping of letters": ("title: !!map abc", "expected a mapping node"),
    "a list as key": ("? [a]\n: b", "a key is a list or a mapping"),
    "a mapping as key": ("{{a: 1}: 2}: 3", "a key is a list or a mapping"),
    "5,000 digits": (f"seeds: {'9' * 5000}", "is no int"),
    "6,000 hexadecimal digits": (f"seeds: 0x{'f' * 6000}", "64 bits at most"),
    "100,000 lists in lists": (f"title: {'[' * 100_000}{']' * 100_000}", f"{MOST_DEPTH} levels deep at most"),
    "100,000 open mappings": ("{a: " * 100_000, f"{MOST_DEPTH} levels deep at most"),
    "100,000 dashes": ("- " * 100_000, f"{MOST_DEPTH} levels deep at most"),
    "a bomb of aliases": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise(LETTERS)),
        f"{MOST_NODES} values long at most",
    ),
    "a bomb of merges": (
        "a: &a {x: 1}\n"
        + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in itertools.pairwise(LETTERS)),
        f"{MOST_NODES} values long at most",
    ),
    "an alias within itself": ("a: &a [*a]", "within its own value"),
    "endless values": ("title: [" + "x," * MOST_NODES + "]", f"{MOST_NODES} values long at most"),
    "an endless comment": ("#" * (MOST_BYTES + 1), "larger than 1 MB"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_yaml_allows_and_nobody_writes_is_one_line(tmp_path: Path, what: str) -> None:
    text, found = REFUSED[what]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    start = time.monotonic()
    with pytest.raises(MusterError, match=found) as error:
        load_config(path)
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()
    assert time.monotonic() - start < 10


def test_thousands_of_unknown_fields_are_told_in_time(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("".join(f"unknown{i}: 1\n" for i in range(1000)))
    start = time.monotonic()
    with pytest.raises(MusterError, match=r"unknown field 'unknown0'.*and 99 more"):
        load_config(path)
    assert time.monotonic() - start < 10


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(MusterError, match="no regular file"):
        read_yaml(tmp_path / "config.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="Is a directory"):
        read_yaml(tmp_path)


def test_aliases_in_measure_are_read() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]\nc: {<<: {d: 1}}") == {"a": [1, 2], "b": [[1, 2]] * 2, "c": {"d": 1}}


@pytest.mark.parametrize("name", ["2026-13-45", "1e999", "12"])
def test_a_name_that_yaml_reads_otherwise_is_reserved(name: str) -> None:
    assert bool(reserved(name)) == (name != "1e999")


def test_the_studies_of_this_repository_are_far_from_the_limits() -> None:
    paths = [*Path(__file__).parents[3].glob("config/studies/*.yaml")]
    assert len(paths) > 10
    for path in paths:
        assert 10 * path.stat().st_size < MOST_BYTES
        assert (
            5 * sum(isinstance(event, yaml.NodeEvent) for event in yaml.parse(path.read_text(), yaml.CSafeLoader))
            < MOST_NODES
        )
