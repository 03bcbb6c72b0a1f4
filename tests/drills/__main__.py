"""Inject every fault and write docs/reliability.md: `make drill`; or some, `python -m tests.drills WORDS`."""

import json
import signal
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.drills import inputs, processes, users  # noqa: F401  they register drills
from tests.drills.faults import DRILLS, Drill
from tests.drills.flow import Bench

AT_A_TIME = 2
REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"
RECORD = Path(__file__).with_name("found.json")  # the last outcome of each drill, from which the page is built
HEAD = """\
# Faults tried

Written by `make drill`; nothing here is typed by hand. Each fault is injected into a workflow of its own, with
a study of seconds, and what follows is compared with an undisturbed run of the same study: tables, fits and ledger must
be equal byte for byte. What a user sees and does is quoted.

{passed} of {tried} passed with {versions}.{missing}

| fault | what was found | when, how long |
| --- | --- | --- |
"""
TAIL = """
## What this rests on

- Every file is written beside its place, brought to the disk (`fsync`), and renamed: `muster.files`.
- Tables carry a sha256 of their values in their own metadata, checkpoints one at their end, data sets and objects of
  the run store one in their manifest. It is checked whenever one is read. What fails is renamed to `NAME.damaged`,
  and the next run makes it anew.
- Records (`provenance.json`, what `muster publish` noted, looks of `muster decide`) hold a sha256 of themselves; the
  ledger, `missing.json` and `sources.json` have `SHA256SUMS` beside them. Those that earlier versions wrote without are
  read, unverified; whatever is made anew has them.
- The store trusts whoever may write into it: hashes find accidents, not forgery. Only bytes that were read and differ
  count as damage. Modes below it are those of its own folder.
- Numbers, sizes and depths are bounded where they are read: `muster.numbers`, `muster.config.load`,
  `muster.published.readers`. Messages pass through `muster.errors.redacted`.
- Checkpoints are read with `weights_only`, arrays without pickle, tables as Parquet: nothing stored can run code.
- A job receives what Snakemake planned from, and refuses a study or code that was edited since.
- Snakemake's lock keeps a second run out of the folder. It is not atomic: two runs started within the same instant can
  both pass it; their files are still whole, since each is renamed into place.
- A lock outlives a Snakemake that was killed: `snakemake --unlock`, then run again.
"""


def main(words: list[str]) -> int:
    """Run the drills whose titles hold any of the words, all of them without words, and write the page.

    Rows of drills that are left out stay as their own last run found them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored, and the next two
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    chosen = {title: drill for title, drill in DRILLS.items() if not words or any(word in title for word in words)}
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    with tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder))
        with ThreadPoolExecutor(AT_A_TIME) as pool:  # each drill waits for processes of its own
            drills = [pool.submit(_try, title, drill, bench) for title, drill in chosen.items()]
            for done in as_completed(drills):  # a run that is broken off leaves what it has found
                known |= done.result()
                known = {title: row for title, row in known.items() if title in DRILLS}
                RECORD.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
                REPORT.write_text(page(known), encoding="utf-8")
    print(REPORT)
    return 0 if all(known[title]["passed"] for title in chosen) else 1


def _try(title: str, drill: Drill, bench: Bench) -> dict[str, dict[str, Any]]:
    """The row of a drill, under its title."""
    start = time.monotonic()
    try:
        found, passed = drill(bench), True
    except Exception as failure:
        traceback.print_exc()
        found, passed = f"**failed**: {' '.join(str(failure).split())[:200] or type(failure).__name__}", False
    seconds = round(time.monotonic() - start)
    print(f"{'passed' if passed else 'FAILED'}  {title} ({seconds} s): {found}", flush=True)
    versions = {name: version(name) for name in ("snakemake", "torch", "pyarrow")}
    today = datetime.now(UTC).date().isoformat()
    return {title: {"date": today, "found": found, "passed": passed, "seconds": seconds, "versions": versions}}


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The page: one row a fault, in the order of the drills."""
    order = [title for title in DRILLS if title in rows]
    versions = {f"{name} {number}": None for row in rows.values() for name, number in row["versions"].items()}
    head = HEAD.format(
        versions=", ".join(sorted(versions)),
        passed=sum(row["passed"] for row in rows.values()),
        tried=len(order),
        missing="".join(f"\nNo outcome on record: {title}." for title in DRILLS if title not in rows),
    )
    lines = [
        f"| {title} | {rows[title]['found']} | {rows[title]['date']}, {rows[title]['seconds']} s |" for title in order
    ]
    return head + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
