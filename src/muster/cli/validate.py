"""The command `validate`: every mistake of config.yaml and of all studies at once, each with its place."""

import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from muster.claims.changed import changes
from muster.cli.at_hand import AtHand, asked, mistakes, tables_at_hand, unchecked
from muster.cli.check import check_study
from muster.cli.declared import declarations, hopeless, other_runs, underpowered
from muster.cli.papers import other_families
from muster.cli.scope import configuration
from muster.config.load import Studies, chosen_studies, in_file, load_studies, shadowed, study_paths
from muster.config.models import Config, Scale, StudyConfig, shared_folder
from muster.errors import FieldError, MusterError, as_one
from muster.jobs.tracking import first_declared
from muster.plan.grid import plan_study
from muster.plan.study import StudyPlan
from muster.published.source import source_folder


def validate(args: Namespace) -> int:
    """Check the files at every scale: a line for each that is right, then all mistakes. Returns 2 if there is any."""
    wrong: list[MusterError] = []
    config = None
    try:
        config = configuration(args)
        chosen = chosen_studies(config, study_paths(args.config), args.config)
    except MusterError as error:
        wrong += error.mistakes
        chosen = {}
    studies = load_studies(args.config)
    if config is not None:
        wrong += shadowed(config, studies.paths, args.config).values()
    for name in studies.paths if not args.studies else chosen:
        found = studies.broken.get(name) or _what_is_wrong(args, config, studies, name)
        wrong += found.mistakes if found else ()
    for mistake in {str(mistake): mistake for mistake in wrong}:
        print(mistake, file=sys.stderr)
    for name, stray in studies.broken.items():
        if name not in studies.paths and not args.studies:
            print(stray)
    return 2 if wrong else 0


def _what_is_wrong(args: Namespace, config: Config | None, studies: Studies, name: str) -> MusterError | None:
    """All that is wrong with a study at its scales, or None, after a line that says what was checked."""
    study, path = studies.known[name], studies.paths[name]
    wrong = _at_their_fields(declarations(study, studies.known), path)
    origins: list[str] = []
    questions = list(other_families(study, studies.known.values()))
    scales = [scale for scale in study.scales if args.scale in (None, scale)]
    for scale in scales:
        try:
            plan = plan_study(study, scale, seeds=args.seeds, path=path)
            check_study(plan, path)
            own = [*other_runs(plan, _plans_named(study, scale, studies)), *hopeless(plan)]
            wrong += _at_their_fields(own, path)
            found = None
            if config is not None:
                folders = _source_folders(config, args)
                found = _against_tables(plan, config, folders, path)
                if found is not None:
                    origins.append(found.origin)
                    first = first_declared(found.results, None, name) if found.results else {}
                    questions += (
                        f"{claim}: {told}" for claim, told in (changes(study, first) if first else {}).items()
                    )
                    questions += asked(plan, found)
                else:
                    questions += unchecked(plan, Path(config.results), folders, asked=len(folders) > 1)
            family = [known for known in studies.known.values() if known.slug == study.slug]
            wrong += _at_their_fields(underpowered(plan, family, found and found.results), path)
        except MusterError as error:
            wrong += error.mistakes
    if wrong:
        return as_one(wrong)
    against = f", checked against {', '.join(dict.fromkeys(origins))}" if origins else ""
    print(f"{path}: {len(study.claims)} claims, scales {', '.join(scales) or 'none'}: ok{against}")
    for question in dict.fromkeys(questions):
        print(f"  {question}")
    return None


def _at_their_fields(mistakes: Iterable[FieldError], path: Path) -> list[MusterError]:
    """The mistakes, each with its place in the file."""
    found = list(mistakes)
    try:
        with in_file(path):
            if found:
                raise as_one(found)
    except MusterError as error:
        return list(error.mistakes)
    return []


def _plans_named(study: StudyConfig, scale: Scale, studies: Studies) -> dict[str, StudyPlan]:
    """A study and those whose claims its own repeat, planned at a scale that they have."""
    same = {claim.same_as for claim in study.claims} - {None}
    others = [each for each in studies.known.values() if same & {claim.claim for claim in each.claims}]
    return {each.study: plan_study(each, scale, path=studies.paths[each.study])
            for each in others if scale in each.scales}  # fmt: skip


def _source_folders(config: Config, args: Namespace) -> list[Path]:
    """Where published tables may lie: in a folder that somebody named, and in that of `muster fetch`."""
    own = args.sources or source_folder(config.sources)
    return [*([own] if own else []), shared_folder(config.results) / "sources"]


def _against_tables(plan: StudyPlan, config: Config, folders: list[Path], path: Path) -> AtHand | None:
    """Hold a study against its tables, if there are any; raises MusterError with all that is wrong."""
    with in_file(path):
        at_hand = tables_at_hand(plan, Path(config.results), folders)
        if at_hand is not None and (wrong := list(mistakes(plan, at_hand))):
            raise as_one(wrong)
    return at_hand
