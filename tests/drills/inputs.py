"""Faults of what is read: numbers, texts, files of other people, bits."""

import gzip
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from muster.claims.ledger import read_ledger, write_ledger
from muster.errors import MusterError
from tests import fuzz
from tests.drills.faults import fault
from tests.drills.flow import PATIENCE, Bench, text
from tests.workflow.studies import IMPORTED, TINY, planned, write_config

MANY = 1000
GB = 2**30


def told(tally: dict[str, int], what: str) -> str:
    return f"{tally['refused']} were refused with one line, {tally['taken']} {what}; no traceback, none took 10 s"


@fault("1,000 changed texts of studies")
def changed_studies(bench: Bench) -> str:
    return told(fuzz.fuzz_yaml(bench.empty(), MANY), "could still be read")


@fault("1,000 changed tables of runs")
def changed_tables(bench: Bench) -> str:
    return told(fuzz.fuzz_tables(bench.empty(), MANY), "were still tables of runs")


@fault("1,000 changed files of other people, for each reader")
def changed_files(bench: Bench) -> str:
    return told(fuzz.fuzz_readers(MANY), f"could still be read; {len(fuzz.reader_files())} readers")


@fault("1,000 flipped bits in results that are read again")
def flipped_bits(bench: Bench) -> str:
    kinds = fuzz.kinds_of_results(bench.empty())
    unknown = fuzz.unknown_files(bench.finished.results)
    assert not unknown, f"files of a finished run that no kind covers: {unknown}"
    tally = fuzz.flip_bits(bench.empty(), MANY)
    return (
        f"{len(kinds)} kinds, which are all that a run leaves: {told(tally, 'changed nothing that is read')}; no value \
was changed in silence"
    )


@fault("numbers that are none: .inf, .nan, overflow, true, 400 digits")
def odd_numbers(bench: Bench) -> str:
    from tests.unit.config.test_numbers import ODD, PLACES, WORDS

    refused = 0
    for place, (old, new) in PLACES.items():
        for number in ODD:
            if place in WORDS and number in ("true", "1e999", "1.0e999"):  # words there
                continue
            path = write_config(bench.empty(), "scale: smoke\n", tiny_train=TINY.replace(old, new.format(number), 1))
            said = refused_with(path)
            assert "tiny-train.yaml:" in said, f"{place} takes {number}: {said}"
            refused += 1
    return f"{refused} of {refused} were refused with file, line and field, in {len(PLACES)} places of a study"


def refused_with(path: Path) -> str:
    """The message with which a configuration is refused; empty if it is not."""
    try:
        planned(path)
    except MusterError as error:
        return str(error)
    return ""


LIMITED = """\
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2])))
from muster.errors import MusterError
{}
try:
    work(Path(sys.argv[3]))
except MusterError as error:
    sys.exit(str(error))
"""


def refusal(work: str, path: Path, memory: int, seconds: int) -> str:
    """The line with which a file is refused, within bounds on memory and seconds of CPU. work: defines `work(path)`."""
    command = [sys.executable, "-c", LIMITED.format(work), str(memory), str(seconds), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    said = text(done)
    assert done.returncode == 1, (done.returncode, said)
    assert "Traceback" not in said, said
    return said


@fault("YAML that exhausts stack or memory: depth, aliases, digits")
def yaml_bombs(bench: Bench) -> str:
    from tests.unit.config.test_yaml import REFUSED

    read = "from muster.config.load import load_config as work"
    for content, _ in REFUSED.values():
        path = bench.empty() / "config.yaml"
        path.write_text(content)
        assert str(path) in refusal(read, path, 4 * GB, 20)
    return f"{len(REFUSED)} of {len(REFUSED)} were refused with one line that names the file, within 4 GB and 20 s"


@fault("a small archive that unpacks to gigabytes")
def archive_bomb(bench: Bench) -> str:
    folder = bench.empty()
    path = folder / "runs.tar.gz"
    head = tarfile.TarInfo("././@LongLink")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 3 * GB
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head.tobuf(tarfile.GNU_FORMAT))
        for _ in range(100):
            file.write(b"a" * 2**23)  # 800 MB of the 3 GB that it declares
    read = "from muster.published.readers import READERS\n"
    read += "work = lambda path: READERS['open_lm_archive'].checksum(path.read_bytes(), {})"
    said = refusal(read, path, 3 * GB, 30)
    assert "unpacks to more than 256 MB" in said, said
    return f"{path.stat().st_size / 2**20:.1f} MB that unpack to 800 MB and declare 3 GB were refused, before their \
checksum was taken, within 3 GB of address space"


@fault("formulas, markup and script in titles and statements")
def hostile_texts(bench: Bench) -> str:
    texts = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "$x$ <script>alert(1)</script> | `a` *b* [c](http://d)"]
    folder = bench.empty()
    for hostile in texts:
        ledger = fuzz.ledger_of_one().assign(statement=hostile, paper=hostile, source=hostile, reason=hostile)
        write_ledger(ledger, folder)
        assert read_ledger(folder)["statement"][0] == hostile
        written = (folder / "claims.csv").read_text()
        assert f",{hostile[:2]}" not in written or hostile[0] not in "=+-@", written
        page = (folder / "LEDGER.md").read_text()
        assert "<script" not in page, page
        assert "](http://d)" not in page.replace("]\\(", ""), page
    return f"{len(texts)} of {len(texts)} came back from claims.csv as they were, where spreadsheets take them for \
text; LEDGER.md shows them without running or linking anything"


@fault("a token in an address: searched in all outputs")
def planted_token(bench: Bench) -> str:
    from tests.unit.test_secrets import HELD, TOKEN

    folder, said = bench.empty(), ""
    for held in HELD:
        study = IMPORTED.replace("http://127.0.0.1:9/runs.csv", json.dumps(held))
        write_config(folder, "scale: smoke\nresults: results\n", tiny_import=study)
        script = "import sys\nfrom muster.cli import main\n"
        script += "print([main(words) for words in (['validate'], ['plan'], ['status'], ['collect', 'tiny-import'])])"
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
        assert "[2, 2, 2, 2]" in done.stdout, text(done)
        said += done.stdout + done.stderr
    assert said.count("holds credentials") >= len(HELD)
    outputs = [path for path in folder.rglob("*") if path.is_file() and "config" not in path.parts]
    assert TOKEN not in said
    assert not [path for path in outputs if TOKEN.encode() in path.read_bytes()]
    return f"{len(HELD)} studies with one were refused by validate, plan, status and collect; it stands in no message \
and in no file"
