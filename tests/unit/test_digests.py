"""Records that tell whether they are still what was written."""

import pytest

from muster.digests import parse_json, sealed, unsealed

RECORD = {"code": "0123", "seconds": 1.5, "notes": {"1": [1, None, float("nan")]}, "umlaut": "µ"}


def test_a_sealed_record_is_read_as_it_was_written() -> None:
    assert repr(unsealed(sealed(RECORD))) == repr(dict(sorted(RECORD.items())))
    assert sealed(dict(reversed(RECORD.items()))) == sealed(RECORD)


def test_one_of_an_earlier_version_is_taken_as_it_is() -> None:
    assert unsealed('{"code": "0123"}') == {"code": "0123"}


@pytest.mark.parametrize("text", ["[]", "3", "", "{", "[" * 100_000, '{"a": 1, "sha256": "00"}', '{"sha256": ""}'])
def test_whatever_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unsealed(text)


def test_any_changed_value_is_refused() -> None:
    with pytest.raises(ValueError, match="its checksum does not match"):
        unsealed(sealed(RECORD).replace("1.5", "1.6"))


def test_json_that_is_nested_without_end_is_no_crash() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 1_000_000)
