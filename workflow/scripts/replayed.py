"""Whether a replayed ledger is the published one, row by row, in every field.

    python workflow/scripts/replayed.py results/replay/ledger

Rows of studies that were kept from before, without tables of their own (no file in results/published/records), are
named and left aside; in other rows of the same paper the adjusted p, which is corrected for them, may differ.
"""

import csv
import sys
from pathlib import Path

PUBLISHED = Path("results/published")


def rows(ledger: Path) -> dict[str, dict[str, str]]:
    with (ledger / "claims.csv").open(encoding="utf-8", newline="") as file:
        return {row["claim"]: row for row in csv.DictReader(file)}


def main() -> int:
    tracked = {path.stem for path in (PUBLISHED / "records").glob("*.json")}
    published, replayed = rows(PUBLISHED / "ledger"), rows(Path(sys.argv[1]))
    expected = {claim: row for claim, row in published.items() if row["study"] in tracked}
    left = [row for row in published.values() if row["study"] not in tracked]
    kept, papers = sorted({row["study"] for row in left}), {row["family"] for row in left}
    different = []
    for claim, row in expected.items():
        again = replayed.get(claim, {})
        fields = [name for name in row if name != "p_adjusted" or row["family"] not in papers]
        if changed := [name for name in fields if row[name] != again.get(name)]:
            different.append(f"{claim}: {', '.join(changed)}")
    print(f"{len(expected) - len(different)} of {len(expected)} rows are the published ones in every field")
    if kept:
        print(f"without published tables, left aside: {', '.join(kept)}")
    for line in different:
        print(f"differs: {line}", file=sys.stderr)
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
