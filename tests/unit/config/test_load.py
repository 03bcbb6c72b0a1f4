"""Every mistake in a YAML file becomes one error that names file, line, field, what was found and what is allowed."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from muster.cli.check import checked_plan, plan_from
from muster.config.load import MANY, load_config, load_study, nearest, nearest_or_part, place, read_yaml
from muster.config.models import FigureConfig, FitConfig, Range
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.plots import PLOTS
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, planned, write_config

STUDY = "config/studies/tiny-train.yaml"

# name → (text, replaced by, line of the study file, parts of the message)
MISTAKES = {
    "brackets": ("grid:\n      - {para", "grid:\n      - [para", 13, ["malformed YAML"]),
    "twice": ("title: Tiny\n", "title: Tiny\ntitle: Other\n", 4, ["'title' stands twice"]),
    "field": ("title: Tiny\n", "titel: Tiny\n", 3, ["unknown field 'titel'", "Did you mean 'title'"]),
    "setting beside its section": ("title: Tiny\n", "title: Tiny\ndepth: 2\n", 4,
        ["'depth' is a setting of experiment train", "under `settings:`, or as an axis of `grid:`"]),
    "setting beside a scale's": ("settings: {steps: 10}", "steps: 10", 15,
        ["scales.laptop.steps: 'steps' is a setting", "under `settings:`"]),
    "seeds beside the grid": ("settings: {steps: 10}", "seeds: 10", 15, ["scales.laptop.seeds: 'seeds' is a setting"]),
    "experiment": ("experiment: train", "experiment: trian", 6, ["unknown name 'trian'", "Did you mean 'train'"]),
    "setting": ("depth: 2,", "depht: 2,", 7, ["settings.depht", "Did you mean 'depth'"]),
    "type": ("depth: 2,", "depth: two,", 7, ["settings.depth", "'two'. It must be a whole number"]),
    "out of range": ("batch_size: 16", "batch_size: 0", 7, ["settings.batch_size", "greater than or equal to 1"]),
    "data set": ("data: mnist1d", "data: mnist2d", 7, ["settings.data", "Did you mean 'mnist1d'"]),
    "data option": ("train: 400", "trian: 400", 7, ["trian", "Options of mnist1d: train"]),
    "optimizer": ("adam, width: [8, 16, 32]", "adma, width: [8, 16, 32]", 17,
        ["grid[0].optimizer", "Did you mean 'adam'"]),
    "parameterization": ("[sp, mup]", "[sp, mupp]", 17, ["grid[0].parameterization", "Did you mean 'mup'"]),
    "axis": ("width: [8, 16, 32]", "widht: [8, 16, 32]", 17, ["unknown axis 'widht'", "Did you mean 'width'"]),
    "empty axis": ("width: [8, 16, 32]", "width: []", 17, ["grid[0].width", "empty list"]),
    "no seeds": ("seeds: 2", "seeds: 0", 17, ["grid[0].seeds", "a whole number from 1"]),
    "range's field": ("to: -4, step: 1}", "to: -4, stp: 1}", 18, ["log2_lr.stp", "Did you mean 'step'"]),
    "range's end": ("to: -4, step: 1}", "to: -4.5, step: 1}", 18, ["log2_lr", "whole number of steps"]),
    "missing setting": ("settings: {steps: 10}", "settings: {}", 16, ["steps is missing", "settings or in the grid"]),
    "estimator": ("estimator: lr_transfer,", "estimator: lr_transfr,", 20,
        ["fits.lr.estimator", "Did you mean 'lr_transfer'"]),
    "option beside its section": ("estimator: lr_transfer,", "estimator: lr_transfer, window: 7,", 20,
        ["fits.lr.window: 'window' is an option of estimator lr_transfer. Write it under `options:` of this fit"]),
    "option of another": ("estimator: lr_transfer,", "estimator: lr_transfer, formula: f,", 20,
        ["fits.lr.formula: unknown field 'formula'"]),
    "response": ("response: final_train_loss", "response: final_loss", 20,
        ["fits.lr.response", "no column of the runs table"]),
    "by": ("by: [parameterization, optimizer]", "by: [parametrization, optimizer]", 20,
        ["fits.lr.by", "'parameterization'"]),
    "two widths": ("width: [8, 16, 32]", "width: [8, 16]", 20, ["2 value(s) of width: 8, 16", "at least 3"]),
    "few rates": ("{from: -10, to: -4, step: 1}", "[-9, -8, -7, -6]", 20, ["4 learning rate(s)", "at least 5"]),
    "not run": ("where: {parameterization: mup", "where: {parameterization: ntp", 23, ["never runs", "ntp", "mup, sp"]),
    "where": ("where: {parameterization: mup, optimizer: adam}", "where: {parameterization: mup}", 23,
        ["claims[0].where", "optimizer, parameterization"]),
    "claim's fit": ("fit: lr, headline", "fit: lrr, headline", 22, ["claims[0].fit", "Did you mean 'lr'"]),
    "claim's figure": ("figure: sweep}", "figure: swep}", 23, ["claims[0].figure", "Did you mean 'sweep'"]),
    "no margin": ("margin: 0.1", "margin: 0", 23, ["claims[0].margin", "can never support"]),
    "test": ("test: equivalence", "test: equal", 23, ["claims[0].test", "'equivalence'"]),
    "plot": ("plot: lr_sweep", "plot: lr_sweeps", 25, ["figures.sweep.plot", "Did you mean 'lr_sweep'"]),
    "figure's fit": ("sweep: {plot: lr_sweep, fit: lr}", "sweep: {plot: lr_sweep, fit: ll}", 25, ["figures.sweep.fit"]),
    "no fit": ("plot: lr_sweep, fit: lr}", "plot: specification_curve}", 25, ["figures.sweep.fit: missing", "lr"]),
    "one group": ("plot: lr_sweep, fit: lr}", "plot: specification_curve, fit: lr}", 25,
        ["figures.sweep.options.where: found nothing", "optimizer, parameterization"]),
    "a name joined otherwise": ("study: tiny-train", "study: tiny_train", 2,
        ["'tiny_train'. Allowed: lower-case letters and digits, parts joined by - alone"]),
    "a fit's name joined otherwise": ("lr: {estimator", "l-r: {estimator", 20,
        ["'l-r'. Allowed: lower-case letters and digits, parts joined by _ alone"]),
    "range of another kind": ("{from: -10, to: -4, step: 1}", "{from: 1, to: 8, factor: 2}", 18,
        ["factor: unknown field 'factor'", "a value, a list of values, or a range {from: -10, to: -4, step: 1/2}"]),
    "range without a step": ("{from: -10, to: -4, step: 1}", "{from: 1, to: 8}", 18,
        ["log2_lr.step: missing", "a value, a list of values, or a range {from: -10, to: -4, step: 1/2}"]),
    "dots": ("width: [8, 16, 32]", "width: 8..32", 17,
        ["'8..32'. It must be a whole number, or (in a grid) a list of them, such as [32, 64, 128]"]),
    "no commas": ("width: [8, 16, 32]", "width: [8 16 32]", 17,
        ["'8 16 32'. It must be a whole number, or (in a grid) a list of them, such as [32, 64, 128]"]),
    "half a width": ("width: [8, 16, 32]", "width: [8, 16.5, 32]", 17, ["16.5. It must be a whole number, or (in a"]),
    "no number": ("width: [8, 16, 32]", "warmup_fraction: tenth, width: [8, 16, 32]", 17,
        ["'tenth'. It must be a number, or (in a grid) a list of them, such as [0.1, 0.2, 0.4]"]),
    "value twice": ("width: [8, 16, 32]", "width: [8, 16, 8, 32]", 17, ["grid[0].width: 8 stands twice", "once"]),
    "fraction twice": ("{from: -10, to: -4, step: 1}", "[-9, -17/2, -8.5, -8, -7]", 18, ["-8.5 stands twice"]),
    "percent": ("margin: 0.1", "margin: 10%", 23,
        ["claims[0].margin: found '10%'. It must be a number, such as 0.1 or 1/10"]),
    "no denominator": ("margin: 0.1", "margin: 1/0", 23, ["margin: found '1/0'. It must be a number, such as"]),
    "check as a word": ("margin: 0.1", "margin: 0.1, regime: [steady, interior]", 23,
        ["claims[0].regime[0]: found 'steady'. It must be a section, such as {check: steady}"]),
    "check without a list": ("margin: 0.1", "margin: 0.1, regime: steady", 23,
        ["claims[0].regime: found 'steady'. It must be a list, such as [{check: steady}]"]),
    "no list of words": ("by: [parameterization, optimizer]", "by: optimizer", 20,
        ["fits.lr.by: found 'optimizer'. It must be a list, such as [optimizer]"]),
    "dots of rates": ("{from: -10, to: -4, step: 1}", "-10..-4", 18,
        ["'-10..-4'. It must be a number, or (in a grid) a list of them, such as [0.1, 0.2, 0.4]"]),
    "claims and groups that are none": ("where: {parameterization: mup, optimizer: adam}", "groups: [mup, 1/2]", 23,
        ["claims[0].groups[0]: found 'mup'. It must be a section, such as {where: mup}"]),
    "fit as a word": ("{estimator: lr_transfer, table: runs, response: final_train_loss, along: width, by: "
        "[parameterization, optimizer]}", "lr_transfer", 20,
        ["fits.lr: found 'lr_transfer'. It must be a section, such as {estimator: lr_transfer, response: …}"]),
    "section as a list": ("sweep: {plot: lr_sweep, fit: lr}", "sweep: [lr_sweep]", 25,
        ["It must be a section, such as {plot: …}"]),
    "axis in short": ("width: [8, 16, 32]", "lr: 1", 17, ["unknown axis 'lr'. Did you mean 'log2_lr'?"]),
    "setting in short": ("depth: 2,", "warmup: 0.1,", 7, ["unknown setting 'warmup'. Did you mean 'warmup_fraction'?"]),
    "study's name": ("study: tiny-train", "study: tiny-trian", 2, ["equal the file's name, 'tiny-train'"]),
}  # fmt: skip


def caught_mistakes(path: Path) -> tuple[MusterError, ...]:
    with pytest.raises(MusterError) as caught:
        load_study(path)
    return caught.value.mistakes


TAKERS = [("fits", "estimator", name) for name in ESTIMATORS] + [("figures", "plot", name) for name in PLOTS]


@pytest.mark.parametrize(("section", "field", "name"), TAKERS)
def test_an_option_a_level_too_high_is_told_where_it_belongs(
    section: str, field: str, name: str, tmp_path: Path
) -> None:
    owner: Any = {"fits": ESTIMATORS, "figures": PLOTS}[section][name]
    known: Any = {"fits": FitConfig, "figures": FigureConfig}[section]
    options = sorted(owner.options.model_fields.keys() - known.model_fields)
    tree = yaml.safe_load(TINY)
    tree[section] = {"it": {field: name, "response": "value"} | dict.fromkeys(options, 1)}
    path = tmp_path / "tiny-train.yaml"
    path.write_text(yaml.safe_dump(tree))
    mistakes = {str(each).partition(": ")[2].partition(" (and")[0] for each in caught_mistakes(path)}
    remedy = f"Write it under `options:` of this {section[:-1]}"
    for option in options:
        assert f"{option!r} is an option of {field} {name}. {remedy}" in mistakes


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_study_names_line_field_and_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, line, parts = MISTAKES[name]
    assert old in TINY
    monkeypatch.chdir(tmp_path)
    write_config(Path(), tiny_train=TINY.replace(old, new, 1))
    with pytest.raises(MusterError) as caught:
        planned(Path("config/config.yaml"))
    message = str(caught.value)
    assert "\n" not in message
    found_line = int(message.removeprefix(f"{STUDY}:").split()[0].rstrip(":"))
    assert found_line == line, message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("written", "told"),
    [("delimiter: ';'", "'delimiter' is an option of reader csv"),
     ("reader: run_files\n      files: a", "'files' is an option of reader run_files")],
)  # fmt: skip
def test_an_option_of_a_reader_beside_its_table_is_told_where_it_belongs(
    written: str, told: str, tmp_path: Path
) -> None:
    text = IMPORTED.replace("licence: none stated", f"licence: none stated\n      {written}")
    with pytest.raises(MusterError) as caught:
        planned(write_config(tmp_path, tiny_import=text))
    assert f"{told}. Write it under `reader_options:` of this table" in str(caught.value)


def test_the_study_without_a_mistake_plans(tmp_path: Path) -> None:
    assert len(planned(write_config(tmp_path, tiny_train=TINY)).cells) == 12


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("scale: lptop", ["config.yaml:1 scale", "'laptop'"]),
        ("scale: laptop\nstudies: [tiny-trian]", ["config.yaml:2 studies[0]", "Did you mean 'tiny-train'"]),
        ("groups: {g: [nothing]}\nstudies: [g]", ["groups.g[0]", "unknown study 'nothing'"]),
        ("exclude: [tiny-trian]", ["config.yaml:1 exclude[0]", "unknown study", "Did you mean 'tiny-train'"]),
        ("exclude: tiny-train", ["config.yaml:1 exclude", "list"]),
        ("scale: laptop\nexclude: [tiny-train]", ["config.yaml:2 exclude", "nothing is left of all", "name one in"]),
        (
            "scale: paper\nstudies: [tiny-train]",
            ["config.yaml:1 scale", "tiny-train has no scale 'paper'", "smoke, laptop"],
        ),
        ("scale: paper", ["no study has the scale 'paper'"]),
        ("seeds: x", ["config.yaml:1 seeds", "'x'"]),
        ("device: gpu", ["device", "'cuda'"]),
        ("- laptop", ["must be a mapping"]),
        ("", ["must be a mapping"]),
        ("scale: \x00", ["config.yaml"]),
    ],
)
def test_a_mistake_in_config_yaml_names_its_field(text: str, parts: list[str], tmp_path: Path) -> None:
    path = write_config(tmp_path, text, tiny_train=TINY)
    with pytest.raises(MusterError) as caught:
        planned(path)
    for part in parts:
        assert part in str(caught.value)


def test_overrides_replace_fields(tmp_path: Path) -> None:
    path = write_config(tmp_path, "scale: laptop\nseeds: 3\n", tiny_train=TINY)
    config = load_config(path, {"scale": "smoke"})
    assert (config.scale, config.seeds) == ("smoke", 3)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("exclude: [tiny-sample]", ["tiny-train"]),
        ("groups: {both: [tiny-train, tiny-sample]}\nstudies: [both]\nexclude: [tiny-train]", ["tiny-sample"]),
        ("studies: [all, tiny-sample]\nexclude: [tiny-sample]", ["tiny-train", "tiny-sample"]),
        ("studies: [tiny-sample]\nexclude: [tiny-sample]", ["tiny-sample"]),
    ],
    ids=["all", "group", "all and by name", "by name"],
)
def test_excluded_studies_are_left_out_unless_named_by_themselves(text: str, chosen: list[str], tmp_path: Path) -> None:
    path = write_config(tmp_path, f"scale: smoke\n{text}\n", tiny_train=TINY, tiny_sample=SAMPLED)
    assert list(planned(path).studies) == chosen


TWIN = TINY.replace("study: tiny-train", "study: tiny-twin")


def test_a_claim_name_taken_by_another_study_leaves_the_later_one_out(tmp_path: Path) -> None:
    plan = planned(write_config(tmp_path, tiny_train=TINY, tiny_twin=TWIN))
    assert list(plan.studies) == list(plan.known) == ["tiny-train"]
    assert "claims[0].claim: 'tiny-flat' is taken by study tiny-train" in str(plan.left_out["tiny-twin"])
    with pytest.raises(MusterError, match="'tiny-flat' is taken by study tiny-train"):
        planned(write_config(tmp_path, "studies: [tiny-twin]"))


BROKEN = {
    "draft.yaml": (b"study: draft\ntitle: [\n", "draft.yaml:3: malformed YAML"),
    "latin.yaml": (b"title: \xe9", "cannot be read"),
    "empty.yaml": (b"", "must be a mapping"),
    "other.yaml": (TWIN.encode(), "other.yaml:2 study: found 'tiny-twin'. It must equal the file's name, 'other'"),
    "all.yaml": (TINY.replace("study: tiny-train", "study: all").encode(), "study: 'all' means every study. Rename"),
    "no.yaml": (TINY.replace("study: tiny-train", "study: 'no'").encode(), "study: 'no' is read as False"),
    "unsure.yaml": (TINY.replace("study: tiny-train", "study: unsure").replace("fit: lr,", "fit: l,").encode(),
        "claims[0].fit: unknown fit 'l'"),
    ".#draft.yaml": (b"", "no study: its name begins with a dot"),
    "mine.yml": (b"", "no study: its name ends in .yml. Rename it to mine.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("file", BROKEN)
def test_a_file_that_is_broken_or_no_study_stops_only_itself(file: str, tmp_path: Path) -> None:
    path = write_config(tmp_path, tiny_train=TINY)
    content, said = BROKEN[file]
    (tmp_path / "config/studies" / file).write_bytes(content)
    plan = planned(path)
    assert list(plan.studies) == list(plan.known) == ["tiny-train"]
    (reason,) = plan.left_out.values()
    assert said in str(reason)
    if file.endswith(".yaml") and not file.startswith((".", "all")):
        with pytest.raises(MusterError) as caught:
            planned(write_config(tmp_path, f"studies: [tiny-train, '{Path(file).stem}']"))
        assert said in str(caught.value)


def test_a_study_that_cannot_answer_its_claims_is_left_out_and_keeps_its_rows_in_the_ledger(tmp_path: Path) -> None:
    twin = TWIN.replace("claim: tiny-flat", "claim: twin-flat").replace("where: {parameterization: mup, ", "where: {")
    plan = planned(write_config(tmp_path, tiny_train=TINY, tiny_twin=twin))
    assert list(plan.studies) == ["tiny-train"]
    assert list(plan.known) == ["tiny-train", "tiny-twin"]
    assert "claims[0].where" in str(plan.left_out["tiny-twin"])


def test_editors_backups_are_not_looked_at(tmp_path: Path) -> None:
    path = write_config(tmp_path, tiny_train=TINY)
    (tmp_path / "config/studies/tiny-train.yaml~").write_text("[")
    assert planned(path).left_out == {}


def test_a_study_and_a_group_of_one_name_are_told_apart_by_nobody(tmp_path: Path) -> None:
    groups = "groups: {tiny-twin: [tiny-train]}\n"
    twin = TWIN.replace("claim: tiny-flat", "claim: twin-flat")
    plan = planned(write_config(tmp_path, groups, tiny_train=TINY, tiny_twin=twin))
    assert list(plan.studies) == ["tiny-train"]
    said = "config.yaml:1 groups.tiny-twin: 'tiny-twin' is a study and a group. Rename one of the two"
    assert said in str(plan.left_out["tiny-twin"])
    with pytest.raises(MusterError, match="is a study and a group"):
        planned(write_config(tmp_path, groups + "studies: [tiny-twin]"))
    with pytest.raises(MusterError, match=r"groups\.all: 'all' means every study"):
        planned(write_config(tmp_path, "groups: {all: [tiny-train]}"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"studies": ["tiny-trian"]}, "STUDY: unknown study or group 'tiny-trian'. Did you mean 'tiny-train'"),
        ({"scale": "paper"}, "--scale: no study has the scale 'paper'. Choose another scale"),
        ({"scale": "paper", "studies": ["tiny-train"]}, "--scale: study tiny-train has no scale 'paper'. Scales of"),
        ({"seeds": 0}, "--seeds: found 0. It should be greater than or equal to 1"),
    ],
)
def test_what_was_typed_is_not_blamed_on_the_file(overrides: dict[str, object], said: str, tmp_path: Path) -> None:
    path = write_config(tmp_path, "scale: laptop\nstudies: [all]\nseeds: 2\n", tiny_train=TINY)
    with pytest.raises(MusterError) as caught:
        checked_plan(load_config(path, overrides), path)
    assert str(caught.value).startswith(said)
    with pytest.raises(MusterError) as caught:
        plan_from({"scale": "laptop", "studies": ["all"], "seeds": 2, **overrides}, path)
    field = next(iter(overrides))
    assert str(caught.value).startswith(f"--config {field}")


def test_all_mistakes_of_a_file_are_raised_at_once(tmp_path: Path) -> None:
    text = (
        TINY.replace("title: Tiny", "titel: Tiny").replace("margin: 0.1", "margin: -1").replace("test: equ", "test: e")
    )
    write_config(tmp_path, tiny_train=text)
    with pytest.raises(MusterError) as caught:
        load_study(tmp_path / STUDY)
    fields = {str(mistake).split()[1].rstrip(":") for mistake in caught.value.mistakes}
    assert fields == {"titel", "title", "claims[0].margin", "claims[0].test"}
    assert str(caught.value).endswith("(and 3 more: muster validate)")
    assert pickle.loads(pickle.dumps(caught.value)).mistakes[1].found == caught.value.mistakes[1].found


def test_a_claim_of_several_groups_is_a_claim_for_each(tmp_path: Path) -> None:
    groups = """groups: [{where: {parameterization: mup}}, {where: {parameterization: sp}, predicted: -1, margin: 0.2},
              {where: {parameterization: mup}, claim: tiny-other}], where: {optimizer: adam}"""
    text = TINY.replace("where: {parameterization: mup, optimizer: adam}", groups)
    write_config(tmp_path, tiny_train=text)
    study = load_study(tmp_path / STUDY)
    found = [(c.claim, c.where["parameterization"], c.predicted, c.margin, c.figure) for c in study.claims]
    assert found == [
        ("tiny-flat-mup", "mup", 0, 0.1, "sweep"),
        ("tiny-flat-sp", "sp", -1, 0.2, "sweep"),
        ("tiny-other", "mup", 0, 0.1, "sweep"),
    ]
    assert {claim.where["optimizer"] for claim in study.claims} == {"adam"}
    assert study.claims[1].statement == "Flat (parameterization sp)"
    assert "groups" not in str(study.model_dump())
    planned(tmp_path / "config/config.yaml")
    twice = text.replace("claim: tiny-other", "claim: tiny-flat-sp")
    write_config(tmp_path, tiny_train=twice)
    with pytest.raises(MusterError, match="'tiny-flat-sp' stands twice"):
        load_study(tmp_path / STUDY)
    write_config(tmp_path, tiny_train=text.replace("parameterization: sp}, pred", "parameterization: spp}, pred"))
    with pytest.raises(MusterError, match=r"claims.* never runs .*spp"):
        planned(tmp_path / "config/config.yaml")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="no such file"):
        load_config(tmp_path / "config.yaml")
    with pytest.raises(MusterError, match="no study found"):
        planned(write_config(tmp_path))


def test_smoke_may_be_too_small_for_a_slope(tmp_path: Path) -> None:
    assert planned(write_config(tmp_path, "scale: smoke\n", tiny_train=TINY)).cells


def test_place_falls_back_to_the_nearest_written_field(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a:\n  b: [1, {c: 2}]\n")
    assert place(path, ("a", "b", 1, "c")) == f"{path}:2 a.b[1].c"
    assert place(path, ("a", "x")) == f"{path}:1 a.x"
    assert place(path, ()) == str(path)


@given(start=st.integers(-20, 0), count=st.integers(0, 40), halves=st.sampled_from(["1/2", "1/4", "1", "2"]))
def test_ranges_hit_both_ends(start: int, count: int, halves: str) -> None:
    step = yaml.safe_load(halves) if "/" not in halves else int(halves[0]) / int(halves[2])
    values = Range.model_validate({"from": start, "to": start + count * step, "step": halves}).values()
    assert len(values) == count + 1
    assert (values[0], values[-1]) == (start, start + count * step)


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(MusterError, match="malformed YAML"):
        read_yaml(path)


def test_a_study_file_is_read_by_its_own_name(tmp_path: Path) -> None:
    write_config(tmp_path, tiny_train=TINY)
    assert load_study(tmp_path / STUDY).study == "tiny-train"


@pytest.mark.parametrize(("word", "store"), [("false", False), ("null", None), ("mine", "mine")])
def test_a_store_that_is_switched_off_on_the_command_line_is_no_folder(
    word: str, store: object, tmp_path: Path
) -> None:
    path = write_config(tmp_path, tiny_train=TINY)
    assert load_config(path, {"store": word}).store == store


def test_of_many_names_those_like_the_unknown_one_are_told() -> None:
    assert nearest("b", ["a", "c"]) == "Known: a, c"
    assert nearest("widht", ["width", "seed"]) == "Did you mean 'width'? Known: width, seed"
    many = [*(f"column{i}" for i in range(MANY)), "width", "widths"]
    assert nearest("widht", many) == "Did you mean 'width'? Like it: width, widths"
    assert nearest("zzz", many).startswith("Known: column0")


def test_a_part_of_a_name_is_like_it_and_the_nearest_comes_first() -> None:
    assert nearest_or_part("lr", ["width", "first_lr_of_all", "log2_lr"]).startswith("Did you mean 'log2_lr'?")
    assert nearest_or_part("base_lr", ["lr", "width"]).startswith("Did you mean 'lr'?")
    assert nearest_or_part("learning_rates", ["rate", "width"]).startswith("Did you mean 'rate'?")
    many = [*(f"column{i}" for i in range(MANY)), "warmup_fraction", "warm"]
    assert nearest_or_part("warmup", many) == "Did you mean 'warm'? Like it: warm, warmup_fraction"
    assert nearest_or_part("clear", ["lr", "ea"]).startswith("Known")  # two letters by chance


@pytest.mark.parametrize("written", ["1/10", "0.1", "' 2/20'"])
def test_numbers_of_claims_may_be_fractions(written: str, tmp_path: Path) -> None:
    group = f"groups: [{{where: {{parameterization: mup, optimizer: adam}}, margin: {written}, predicted: -1/2}}]"
    old = "where: {parameterization: mup, optimizer: adam}, test: equivalence, predicted: 0, margin: 0.1"
    new = f"{group}, test: equivalence, predicted: -1/2, margin: {written}, prediction_se: {written}"
    assert old in TINY
    write_config(tmp_path, tiny_train=TINY.replace(old, new))
    (claim,) = load_study(tmp_path / STUDY).claims
    assert (claim.predicted, claim.margin, claim.prediction_se) == (-0.5, 0.1, 0.1)
