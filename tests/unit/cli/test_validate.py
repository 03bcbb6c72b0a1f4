"""`muster validate`: all mistakes of all files at once, also those that only a table at hand can tell."""

import hashlib
from pathlib import Path

import pytest

from muster.cli import main
from muster.cli.at_hand import tables_at_hand
from muster.cli.declared import underpowered
from muster.config.load import load_study
from muster.plan.grid import plan_study
from muster.plan.plan import load_plan
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, imported_table, write_config


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUSTER_SOURCES", raising=False)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], status: int, *words: str) -> list[str]:
    assert main(["validate", *words]) == status
    return capsys.readouterr().err.splitlines()


def test_every_mistake_of_every_file_is_a_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(
        project,
        "scale: lptop\ndevice: gpu\n",
        tiny_train=TINY.replace(" depth: 2,", " depth: two,").replace("batch_size: 16", "batch_size: 0"),
        tiny_sample=SAMPLED.replace("width: [4", "widht: [4").replace("draws: 4", "drwas: 4"),
        tiny_import=IMPORTED,
    )
    lines = said(capsys, 2)
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "scale", "device", "settings.drwas", "scales.smoke.grid[0].widht", "settings.depth", "settings.batch_size",
    ]  # fmt: skip
    assert all("config/" in line for line in lines)


def test_every_mistake_of_a_planned_study_is_a_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = TINY.replace("by: [parameterization", "by: [parametrization").replace("plot: lr_sweep", "plot: lr_sweeps")
    text = text.replace("fits:\n", "fits:\n  other: {estimator: lr_transfr, response: final_train_loss}\n")
    write_config(project, tiny_train=text)
    lines = said(capsys, 2)
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "fits.other.estimator",
        "fits.lr.by",
        "figures.sweep.plot",
    ]


def test_a_rule_without_rates_for_an_optimizer_is_a_mistake(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(project, tiny_train=TINY.replace("optimizer: adam,", "optimizer: [adam, muon], rule: full_alignment,"))
    (line,) = {line.partition(": ")[2] for line in said(capsys, 2)}
    assert "rule full_alignment knows steps of single weights" in line
    for chosen in ("optimizer: [adam, muon], rule: spectral,", "optimizer: [adam, muon],"):  # none: each has its own
        write_config(project, tiny_train=TINY.replace("optimizer: adam,", chosen))
        assert said(capsys, 0) == []


def test_one_study_is_checked_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(project, tiny_train="[", tiny_sample=SAMPLED)
    assert said(capsys, 0, "tiny-sample") == []
    assert len(said(capsys, 2, "tiny-train")) == 1
    assert said(capsys, 2, "tiny-trian")[0].startswith("STUDY: unknown study or group 'tiny-trian'. Did you mean")
    assert len(said(capsys, 2)) == 1


def test_strays_are_told_and_no_mistake(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(project, tiny_sample=SAMPLED)
    (project / "config/studies/._tiny-sample.yaml").write_bytes(b"\x00")
    assert main(["validate"]) == 0
    assert "._tiny-sample.yaml: no study: its name begins with a dot" in capsys.readouterr().out


def test_names_that_a_group_or_two_studies_share(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(project, "groups: {tiny-sample: [tiny-train, nobody]}\n", tiny_sample=SAMPLED, tiny_train=TINY)
    lines = said(capsys, 2)
    assert len(lines) == 2
    assert "groups.tiny-sample[1]: unknown study 'nobody'" in lines[0]
    assert "'tiny-sample' is a study and a group" in lines[1]


PAPER = "Hanin, Jiang 2025, Global Universality of Singular Values"
CITED = {
    "arXiv": ("arXiv:2503.07872", "Hanin 2025, https://arxiv.org/abs/2503.07872v2", "arXiv:2503.07872"),
    "arXiv's DOI": ("arXiv 2503.07872", "doi.org/10.48550/arXiv.2503.07872.", "arXiv:2503.07872"),
    "before 2007": ("arXiv:math.PR/0211159", "arxiv.org/abs/math.PR/0211159", "arXiv:math.pr/0211159"),
    "DOI": (f"{PAPER}, doi:10.1000/AB.12", "Somebody 2020, https://doi.org/10.1000/ab.12", "doi:10.1000/ab.12"),
    "title": (PAPER, "Global universality of singular values (2025)", '"Global Universality of Singular Values"'),
    "title of two": (f"{PAPER}; A 2020, B", f"C 2021, D; {PAPER}.", '"Global Universality of Singular Values"'),
    "another title": (PAPER, "Hanin, Jiang 2025, Local Universality of Singular Values", ""),
    "another identifier": ("A 2025, arXiv:2503.07872", "B 2025, arXiv:2503.07873", ""),
    "a short title": ("A 2025, On Singular Values", "B 2025, More on Singular Values", ""),
    "no paper": ("Our own", "Our own", ""),
}


@pytest.mark.parametrize("cited", CITED)
def test_two_families_of_one_paper_are_told_and_no_mistake(
    cited: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, shared = CITED[cited]
    papers = {"tiny_train": TINY.replace("Nobody 2000, Nothing", one),
              "tiny_sample": SAMPLED.replace('"Nobody 2001, Nothing"', f"'{other}'")}  # fmt: skip
    write_config(project, **papers)
    assert main(["validate", "tiny-sample"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == ([f"  {shared} is cited by study tiny-train, too, whose slug is tiny-train: claims of one slug "
                          "are decided as one family (docs/verdicts.md), those of tiny-sample apart from them. "
                          "For one family, write slug: tiny-train"]
                         if shared else [])  # fmt: skip
    papers["tiny_sample"] = papers["tiny_sample"].replace("slug: tiny-sample", "slug: tiny-train")
    write_config(project, **papers)
    assert main(["validate", "tiny-sample"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


JUDGED = SAMPLED.replace("  smoke:\n", "  laptop:\n")
AT_HAND = {
    "select": ("select: {probe: ks_uniform},\n", "select: {probe: ks_unifrom},\n", "fits.uniform.select.probe",
        "has probe 'ks_unifrom'. Did you mean 'ks_uniform'?"),
    "layer": ("select: {probe: ks_uniform},\n", "select: {probe: ks_uniform, layer: 9},\n", "fits.uniform.select.layer",
        "has layer 9. It has: 1, 2, 3, 4, 5, 6, 7, 8"),
    "together": ("select: {probe: ks_uniform},\n", "select: {probe: ks_uniform, layer: 2},\n", "fits.uniform.select",
        "has all of these"),
    "where": ("fit: uniform,\n", "fit: uniform, where: {probe: lyapunv},\n", "claims[0].where.probe",
        "has probe 'lyapunv'. Did you mean 'lyapunov'?"),
    "group": ("fit: uniform,\n", "fit: uniform, where: {probe: lyapunov},\n", "claims[0].where",
        "has {'probe': 'lyapunov'}. Groups: {'probe': 'ks_uniform'}"),
    "figure": ("select: {probe: ks_uniform}}", "select: {probe: ks_unifrom}}", "figures.scaling.select.probe",
        "Did you mean 'ks_uniform'?"),
    "empty": ("response: value", "response: se", "fits.uniform.response", "'se' is empty in all rows"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", AT_HAND)
def test_tables_of_the_study_tell_what_no_plan_knows(
    mistake: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(project, "scale: laptop\nstore: false\n", tiny_sample=JUDGED)
    for cell in load_plan(path).cells.values():
        assert main(["sample", "--cell", cell.text, "--results", "results"]) == 0
    assert main(["collect", "tiny-sample"]) == 0
    capsys.readouterr()
    assert main(["validate"]) == 0
    assert "ok, checked against results/tables/tiny-sample" in capsys.readouterr().out
    old, new, field, found = AT_HAND[mistake]
    text = JUDGED.replace(old, new)
    if mistake in ("where", "group"):
        text = text.replace("response: value,", "response: value, by: [probe],")
    if mistake == "empty":
        blank_se(project / "results/tables/tiny-sample/probes.parquet")
    assert text != JUDGED
    write_config(project, "scale: laptop\n", tiny_sample=text)
    (line,) = said(capsys, 2)
    assert line.split(": ")[0].endswith(f" {field}"), line
    assert found in line
    write_config(project, "scale: laptop\n", tiny_sample=text.replace("draws: 4", "draws: 5"))
    assert said(capsys, 0) == [], "tables of another plan tell nothing"


@pytest.mark.parametrize(
    ("selected", "found"),
    [
        ("width: [4, 6, 8, 16]", ""),
        ("width: [4, 6, 8, 17]", "has width 17. It has: 4, 6, 8"),
        ("layer: [1, 9]", ""),
        ("layer: 9", "has layer 9. It has: 1, 2, 3"),
    ],
)
def test_a_value_beside_others_may_be_meant_for_another_scale(
    selected: str, found: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = JUDGED.replace("fits:\n", "  paper:\n    grid:\n      - {width: [6, 8, 16], seeds: 2}\nfits:\n")
    text = text.replace("{probe: ks_uniform},", f"{{{selected}}},", 1)
    path = write_config(project, "scale: laptop\nstore: false\n", tiny_sample=text)
    for cell in load_plan(path).cells.values():
        assert main(["sample", "--cell", cell.text, "--results", "results"]) == 0
    assert main(["collect", "tiny-sample"]) == 0
    capsys.readouterr()
    lines = said(capsys, 2 if found else 0)
    assert bool(lines) == bool(found)
    assert found in "".join(lines)


STEADY = {
    "four widths": ("width: [4, 8, 16, 32]", "width", "", "never pass at scale 'laptop': 4 of width. Give it 5"),
    "five widths": ("width: [4, 8, 16, 32, 64]", "width", "", ""),
    "widths that the fit leaves out": ("width: [4, 8, 16, 32, 64]", "width", "width: [4, 8, 16, 32]", "4 of width"),
    "layers that the fit selects": ("width: [4, 8]", "layer", "layer: [1, 2, 4]", "3 of layer"),
    "layers that no grid tells": ("width: [4, 8]", "layer", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", STEADY)
def test_a_check_that_a_grid_can_never_pass_is_a_mistake(
    case: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is it one at scale smoke, which is never judged."""
    widths, along, selected, found = STEADY[case]
    text = JUDGED.replace("headline: false,", f"headline: false, regime: [{{check: steady, axis: {along}}}],")
    text = text.replace("width: [4, 6, 8]", widths).replace("along: width", f"along: {along}")
    text = text.replace("select: {probe: ks_uniform},", f"select: {{probe: ks_uniform{selected and f', {selected}'}}},")
    write_config(project, "scale: laptop\n", tiny_sample=text)
    lines = said(capsys, 2 if found else 0)
    assert len(lines) == bool(found)
    assert all(found in line and "claims[0].regime[0]" in line for line in lines)
    write_config(project, "scale: laptop\n", tiny_sample=text.replace("  laptop:\n", "  smoke:\n"))
    assert said(capsys, 0) == []


def test_a_cubic_needs_seven_rates(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`same_basin` at widths of which too few are run at seven rates."""
    text = TINY.replace("headline: false,", "headline: false, regime: [{check: same_basin}],")
    write_config(project, tiny_train=text)
    assert said(capsys, 0) == []
    write_config(project, tiny_train=text.replace("from: -10", "from: -9"))
    (line,) = said(capsys, 2)
    assert "same_basin can never pass at scale 'laptop': 0 of width with 7 learning rates. Give it 3 values" in line


@pytest.mark.parametrize(
    ("pilot", "reason", "found"),
    [
        ("{noise: 0.01, tau: 0.1, curvature: 0.02}", "", "at its own prediction, at scale 'laptop'"),
        ("{noise: 0.01, tau: 0.1, curvature: 0.02}", "underpowered: three widths are what a test has time for,", ""),
        ("{noise: 0.00001, tau: 0.0001, curvature: 0.02}", "", ""),
        (None, "", ""),
    ],
)
def test_a_headline_that_cannot_be_supported_says_why_it_stays(
    pilot: str | None, reason: str, found: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known from pilots; without them, and without a run, nothing is."""
    text = TINY.replace("headline: false,", f"regime: [{{check: interior}}], {reason}")
    text = text.replace("  laptop:\n", f"  laptop:\n    pilot: {pilot}\n") if pilot else text
    write_config(project, tiny_train=text)
    lines = said(capsys, 2 if found else 0)
    assert len(lines) == bool(found)
    assert all(found in line and "claims[0]: power " in line for line in lines)


@pytest.mark.parametrize(("se", "right"), [(0.02, False), (0.002, True)])
def test_errors_of_a_finished_run_tell_the_power(se: float, right: bool, project: Path) -> None:
    """t(1) at ±.1 and 5 %: 6.31 · .002 is far inside, 6.31 · .02 is not."""
    import pandas as pd

    from muster.tables.io import write_frame

    text = JUDGED.replace("headline: false,", "regime: [{check: inside, column: width, range: [4, 8]}],")
    path = write_config(project, "scale: laptop\n", tiny_sample=text)
    plan = load_plan(path).studies["tiny-sample"]
    row = {"fit": "uniform", "primary": True, "parameter": "exponent", "group": "{}", "se": se, "dof": 1.0}
    folder = project / "results/fits/tiny-sample"
    folder.mkdir(parents=True)
    write_frame(pd.DataFrame([row]), folder / "fits.parquet")
    assert not list(underpowered(plan, [plan.study], None)), "no run, no power"
    wrong = list(underpowered(plan, [plan.study], project / "results"))
    assert len(wrong) == (not right)
    assert all("power" in error.found and error.field == ("claims", 0) for error in wrong)


def blank_se(path: Path) -> None:
    import pandas as pd

    from muster.tables.io import write_table

    write_table(pd.read_parquet(path).assign(se=float("nan")), path, "probes")


def test_published_tables_on_disk_are_read(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(project, tiny_import=IMPORTED)
    assert main(["validate"]) == 0
    assert "ok\n" in capsys.readouterr().out, "without the table there is nothing to check against"
    (project / "mine/a").mkdir(parents=True)
    (project / "mine/a/runs.csv").write_bytes(imported_table())
    assert main(["validate", "--sources", "mine"]) == 0
    assert "checked against its published tables" in capsys.readouterr().out
    wrong = IMPORTED.replace("along: parameters,", "along: parameters, select: {parameters: 5},")
    write_config(project, tiny_import=wrong)
    (line,) = said(capsys, 2, "--sources", "mine")
    assert "fits.slope.select.parameters: no row in its published tables has parameters 5. It has: 4, 16, 64" in line
    write_config(project, tiny_import=IMPORTED.replace("{parameters: N,", "{parameters: Q,"))
    (line,) = said(capsys, 2, "--sources", "mine")
    assert "settings.sources.runs.columns.parameters: mine/a/runs.csv" in line
    assert "'Q'" in line


def test_a_table_that_was_not_looked_at_is_said_to_be_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where somebody names a folder that lacks it, or holds another one; nowhere else is it news."""
    table = project / "mine/a/runs.csv"
    table.parent.mkdir(parents=True)
    write_config(project, tiny_import=IMPORTED)
    assert main(["validate", "--sources", "mine"]) == 0
    told = "settings.sources.runs: not checked against its table: "
    assert f"{told}no a/runs.csv in mine, results/sources" in capsys.readouterr().out
    table.write_bytes(imported_table() + b"1,2\n")
    assert main(["validate", "--sources", "mine"]) == 0
    out = capsys.readouterr().out
    assert f"{told}a/runs.csv has checksum " in out
    assert f"…, expected {hashlib.sha256(imported_table()).hexdigest()[:12]}…" in out
    table.write_bytes(imported_table())
    for arguments in (["--sources", "mine"], []):
        assert main(["validate", *arguments]) == 0
        assert "not checked" not in capsys.readouterr().out


def test_of_two_tables_the_one_that_is_downloaded_is_not_said_to_lack(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, _, rest = IMPORTED.partition("    runs:\n")
    body = rest[: rest.index("scales:")]
    checksum = hashlib.sha256(imported_table()).hexdigest()
    elsewhere = body.replace("a/runs.csv", "b/runs.csv").replace(checksum, "ab" * 32)
    both = head + "    runs:\n" + body + "    more:\n" + elsewhere + rest[rest.index("scales:") :]
    write_config(project, tiny_import=both.replace("source: runs", "source: [runs, more]"))
    kept = project / "results/sources/downloaded" / checksum
    kept.parent.mkdir(parents=True)
    kept.write_bytes(imported_table())
    assert main(["validate", "--sources", "mine"]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "settings.sources.more: not checked against its table: no b/runs.csv in mine" in out
    assert "settings.sources.runs" not in out


def test_all_that_a_mapping_names_and_a_published_table_lacks_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "mine/a").mkdir(parents=True)
    (project / "mine/a/runs.csv").write_bytes(imported_table())
    wrong = IMPORTED.replace("{parameters: N,", "{parameters: Q, tokens: {product: [6, M]},")
    write_config(project, tiny_import=wrong)
    lines = said(capsys, 2, "--sources", "mine")
    assert len(lines) == 2
    there = "14 settings.sources.runs.columns.parameters: mine/a/runs.csv"
    assert f"{there}: the source has no column 'Q'. Known: N, loss" in lines[0]
    assert "14 settings.sources.runs.columns.tokens" in lines[1]
    documented = IMPORTED.replace("tuned_per_size: unknown", "tuned_per_size: no")
    write_config(project, tiny_import=documented)
    (line,) = said(capsys, 2, "--sources", "mine")
    assert "tuned_per_size: found False. It should be a text: put it in quotes, since YAML takes yes, no" in line


def test_a_copy_of_a_published_table_that_is_another_one_is_not_read(project: Path) -> None:
    write_config(project, tiny_import=IMPORTED)
    path = project / "config/studies/tiny-import.yaml"
    plan = plan_study(load_study(path), "laptop", path=path)
    (project / "mine/a").mkdir(parents=True)
    (project / "mine/a/runs.csv").write_text("N,loss\n1,2\n")
    assert tables_at_hand(plan, project / "results", [project / "mine"]) is None


class TestDeclarations:
    """What a claim declares about itself."""

    OWN = "test: equivalence, predicted: 0, margin: 0.1, headline: false, figure: sweep"

    def claims(self, *fields: str) -> str:
        """The tiny study with a claim for each text of fields, the first named a, then b, c …"""
        head, _, tail = TINY.partition("  - {claim: tiny-flat")
        figures = tail[tail.index("figures:") :]
        rows = [
            f"  - {{claim: {name}, statement: Flat, source: Fig. 1, provenance: abstract, fit: lr,\n"
            f"     where: {{parameterization: mup, optimizer: adam}}, {text}}}\n"
            for name, text in zip("abcdefgh", fields, strict=False)
        ]
        return head + "".join(rows) + figures

    def mistakes(self, project: Path, capsys: pytest.CaptureFixture[str], *fields: str) -> list[str]:
        write_config(project, tiny_train=self.claims(*fields))
        main(["validate"])
        return capsys.readouterr().err.splitlines()

    @pytest.mark.parametrize(
        ("text", "field", "told"),
        [
            ("test: equivalence, predicted: 0, margin: 0.1", "claims[0].regime", "`muster list checks`"),
            ("test: less, predicted: .inf", "claims[0].predicted", "finite number"),
            ("test: less, predicted: .nan", "claims[0].predicted", "finite number"),
            ("test: less, predicted: 0, margin: .inf", "claims[0].margin", "finite number"),
            ("test: less, predicted: 0, prediction_se: .inf", "claims[0].prediction_se", "finite number"),
            ("test: less, predicted: 0, stance: own", "claims[0].headline", "Write headline: false"),
            ("test: less, predicted: 0, stance: identity", "claims[0].headline", "Write headline: false"),
            ("test: less, predicted: 0, stance: ours", "claims[0].stance", "'holds', 'fails', 'own'"),
            ("test: less, predicted: 0, controls: [nobody]", "claims[0].controls[0]", "unknown claim 'nobody'"),
            ("test: less, predicted: 0, controls: [a]", "claims[0].controls[0]", "a waits for a itself"),
            ("test: less, predicted: 0, same_as: nobody", "claims[0].same_as", "unknown claim 'nobody'"),
            ("test: less, predicted: 0, same_as: a", "claims[0].same_as", "a is the claim itself"),
            ("test: less, predicted: 0, regime: [{check: stedy}]", "claims[0].regime[0].check", "unknown name 'stedy'"),
        ],
    )
    def test_a_mistake_is_one_line_with_its_place(
        self, project: Path, capsys: pytest.CaptureFixture[str], text: str, field: str, told: str
    ) -> None:
        (line,) = self.mistakes(project, capsys, text)
        assert line.startswith("config/studies/tiny-train.yaml:")
        assert f" {field}: " in line
        assert told in line

    def test_what_is_rightly_declared_is_no_mistake(self, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
        own = [
            self.OWN,
            "test: less, predicted: 0",
            f"{self.OWN}, stance: own, controls: [a]",
            f"{self.OWN}, same_as: a",
        ]
        assert self.mistakes(project, capsys, *own) == []

    def test_controls_that_wait_for_each_other(self, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lines = self.mistakes(
            project, capsys, f"{self.OWN}, controls: [b]", f"{self.OWN}, controls: [c]", f"{self.OWN}, controls: [a]"
        )
        assert [line.split(": ")[1] for line in lines] == [
            "b waits for a itself. Remove one of the two", "c waits for b itself. Remove one of the two",
            "a waits for c itself. Remove one of the two",
        ]  # fmt: skip

    def test_a_fact_is_stated_first_by_one_claim_of_the_same_stance(
        self, project: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = self.mistakes(
            project, capsys, self.OWN, f"{self.OWN}, same_as: a", f"{self.OWN}, same_as: b",
            f"{self.OWN}, same_as: a, stance: fails",
        )  # fmt: skip
        assert [line.split(": ", 1)[1] for line in lines] == [
            "b is itself the same as a. Name the one claim that states the fact first",
            "a has the stance 'holds', this claim 'fails'. The same fact is counted once: give both the same stance",
        ]

    def test_the_same_fact_is_of_the_same_runs(self, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = self.claims(self.OWN, f"{self.OWN}, same_as: a").replace(
            "optimizer: adam}, test: equivalence, predicted: 0, margin: 0.1, headline: false, figure: sweep, same_as",
            "optimizer: sgd}, test: equivalence, predicted: 0, margin: 0.1, headline: false, figure: sweep, same_as",
        )
        write_config(project, tiny_train=text.replace("optimizer: adam, width", "optimizer: [adam, sgd], width"))
        lines = said(capsys, 2)
        assert [line.split(" ", 1)[1] for line in lines] == [
            f"claims[1].same_as: a is measured in none of the cells of b at scale {scale!r}. "
            "Other runs are another fact: remove same_as"
            for scale in ("smoke", "laptop")
        ]

    def test_a_control_of_another_paper_has_the_stance_control(
        self, project: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_config(project, tiny_train=self.claims(f"{self.OWN}, controls: [tiny-uniform]"), tiny_sample=SAMPLED)
        (line,) = said(capsys, 2)
        assert "tiny-uniform belongs to the family of another paper, tiny-sample" in line
        control = SAMPLED.replace("headline: false", "headline: false, stance: control")
        assert control != SAMPLED
        write_config(project, tiny_sample=control)
        assert said(capsys, 0) == []

    def test_a_region_that_holds_every_attainable_value(
        self, project: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = self.claims("test: greater, predicted: 0", "test: regret, predicted: 0, margin: 0.02")
        write_config(project, tiny_train=text.replace("estimator: lr_transfer", "estimator: regret"))
        (line,) = said(capsys, 2)
        assert "claims[0].margin: the region [0, inf] holds every value that regret can give, [0, inf]" in line

    def test_a_drift_that_may_go_either_way_needs_two_ends(
        self, project: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = self.claims(self.OWN, "test: less, predicted: 0.1, figure: null")
        write_config(project, tiny_train=text.replace("estimator: lr_transfer", "estimator: limit_rate"))
        assert [line.split("claims")[1] for line in said(capsys, 2) if "drift_left" in line] == [
            "[1].test: drift_left of limit_rate may lie on either side, and a test of one end lets the other pass. Use "
            "equivalence with a margin"
        ]
