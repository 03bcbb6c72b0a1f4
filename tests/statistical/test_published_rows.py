"""Today's code gives the published fits: every row of every fit of the published tables, in all of its fields.

A helper may be right and its number be used wrongly one call later; these are the rows as the ledger reads them. They
change on purpose only together with a publication. `make replay` compares the ledger, and the one study left out here.
"""

import csv
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from muster.claims.conditions import check_regimes
from muster.claims.ledger import judge, write_ledger
from muster.config.load import load_studies, load_study
from muster.fitting.study import fit_and_predict
from muster.jobs.tracking import first_declared
from muster.tables.io import read_frame

ROOT = Path(__file__).parents[2]
PUBLISHED, OBJECTS = ROOT / "results/published", ROOT / "results/artifacts/files/md5"
LONG = {"hpobench-mlp"}  # its fits take as long as those of thirty others
STUDIES = sorted({path.stem for path in (PUBLISHED / "tables").glob("*.dvc")} - LONG)
NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")


@cache
def published(kind: str, study: str) -> dict[str, Path]:
    """Files of a published folder by their stems, where DVC's remote keeps them."""
    (digest,) = re.findall(r"md5: (\w+\.dir)", (PUBLISHED / kind / f"{study}.dvc").read_text())
    files = json.loads((OBJECTS / digest[:2] / digest[2:]).read_text())
    return {Path(each["relpath"]).stem: OBJECTS / each["md5"][:2] / each["md5"][2:] for each in files
            if each["relpath"].endswith(".parquet")}  # fmt: skip


def assert_alike(found: pd.DataFrame, expected: pd.DataFrame, words: str) -> None:
    """Numbers to another processor's rounding, texts word by word and with their numbers to fewer digits."""
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected)
    for column in expected:
        ours, theirs = found[column].to_list(), expected[column].to_list()
        for row, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            where = f"{words}, row {row}, {column}: {one!r} and {other!r}"
            if column == "diagnostics":  # what is told beside a fit grows
                known = json.loads(other)
                one, other = json.dumps({key: json.loads(one).get(key) for key in known}), json.dumps(known)
            if isinstance(one, str) and isinstance(other, str):
                assert NUMBER.sub("#", one) == NUMBER.sub("#", other), where
                numbers = (np.array(NUMBER.findall(text), float) for text in (one, other))
                np.testing.assert_allclose(*numbers, rtol=0.02, atol=1e-6, err_msg=where)
            elif pd.isna(one) or pd.isna(other):
                assert pd.isna(one) == pd.isna(other), where
            else:
                assert one == pytest.approx(other, rel=1e-4, abs=1e-9), where


@pytest.mark.parametrize("study", STUDIES)
def test_fits_and_regimes_are_the_published_ones(study):
    config = load_study(ROOT / f"config/studies/{study}.yaml")
    tables = {kind: read_frame(path) for kind, path in published("tables", study).items()}
    made = fit_and_predict(config, tables)
    kept = published("fits", study)
    assert_alike(made.fits, read_frame(kept["fits"]), f"{study}: fits")
    assert_alike(made.optima, read_frame(kept["optima"]), f"{study}: optima")
    assert_alike(made.predictions, read_frame(kept["predictions"]), f"{study}: predictions")
    regime = check_regimes(config, tables, made.optima, made.fits)
    assert_alike(regime, read_frame(kept["regime"]), f"{study}: regime")


def test_the_ledger_of_the_published_fits_is_the_published_one(tmp_path):
    """Every field of every row of a study with tables; where the paper has rows that were kept from before, without
    tables of their own, all but what is corrected for these."""
    known = load_studies(ROOT / "config/config.yaml").known
    kept = {study: published("fits", study) for study in (*STUDIES, *LONG)}
    fits, regimes = ({study: read_frame(files[part]) for study, files in kept.items()} for part in ("fits", "regime"))
    first = {study: said for study in kept if (said := first_declared(tmp_path, PUBLISHED, study))}
    write_ledger(judge(list(known.values()), fits, "laptop", regimes=regimes, first=first), tmp_path)
    made, told = (
        {row["claim"]: row for row in csv.DictReader((folder / "claims.csv").read_text(encoding="utf-8").splitlines())}
        for folder in (tmp_path, PUBLISHED / "ledger")
    )
    others = {row["family"] for row in told.values() if row["study"] not in fits}
    for claim, row in told.items():
        if row["study"] in fits:
            left = ("p_adjusted", "reason") if row["family"] in others else ()
            assert {**made[claim], **{field: row[field] for field in left}} == row, claim
