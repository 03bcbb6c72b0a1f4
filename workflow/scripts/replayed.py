"""Whether a replayed ledger is the published one, row by row, in every field.

    python workflow/scripts/replayed.py results/replay/ledger

Rows of studies that were kept from before, without tables of their own (no file in results/published/records), are
named and left aside; in other rows of the same paper the adjusted p, which is corrected for them, may differ, and the
reason, which quotes it. Another kind of processor rounds otherwise: numbers that differ in their last printed digit are
counted, and are no difference.
"""

import csv
import math
import sys
from pathlib import Path

PUBLISHED = Path("results/published")
CORRECTED = ("p_adjusted", "reason")  # for all rows of a paper
LAST_DIGIT = 1.1e-5  # relative: six are printed


def rows(ledger: Path) -> dict[str, dict[str, str]]:
    with (ledger / "claims.csv").open(encoding="utf-8", newline="") as file:
        return {row["claim"]: row for row in csv.DictReader(file)}


def rounded_otherwise(published: str, replayed: str) -> bool:
    """Whether two texts are one number up to its last printed digit."""
    try:
        return math.isclose(float(published), float(replayed), rel_tol=LAST_DIGIT, abs_tol=0)
    except ValueError:
        return False


def main() -> int:
    tracked = {path.stem for path in (PUBLISHED / "records").glob("*.json")}
    published, replayed = rows(PUBLISHED / "ledger"), rows(Path(sys.argv[1]))
    expected = {claim: row for claim, row in published.items() if row["study"] in tracked}
    left = [row for row in published.values() if row["study"] not in tracked]
    kept, papers = sorted({row["study"] for row in left}), {row["family"] for row in left}
    different, rounded = [], 0
    for claim, row in expected.items():
        again = replayed.get(claim, {})
        fields = [name for name in row if name not in CORRECTED or row["family"] not in papers]
        changed = [name for name in fields if row[name] != again.get(name)]
        if told := [name for name in changed if not rounded_otherwise(row[name], again.get(name, ""))]:
            different.append(f"{claim}: {', '.join(told)}")
        elif changed:
            rounded += 1
    equal = len(expected) - len(different)
    digits = f", {rounded} of them but for a last digit" if rounded else ""
    print(f"{equal} of {len(expected)} rows are the published ones in every field{digits}")
    if kept:
        print(f"without published tables, left aside: {', '.join(kept)}")
    for line in different:
        print(f"differs: {line}", file=sys.stderr)
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
