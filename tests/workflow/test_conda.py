"""`snakemake --sdm conda`: jobs run in an environment that a post-deploy script fills from this checkout's locks.

Conda itself is stood in for: it makes an empty environment whose `make` notes what it is asked for, and puts there a
`muster` that notes its calls.
"""

import hashlib
import os
import shlex
import sys
from pathlib import Path

import yaml

from tests.workflow import forked
from tests.workflow.conftest import ROOT, copy_workflow
from tests.workflow.studies import SAMPLED

CONDA = """\
#!/bin/bash
case "$*" in
  --version) echo "conda 25.1.0" ;;
  "info --json") echo '{"conda_prefix": "%(conda)s", "platform": "linux-64"}' ;;
  "config --get channel_priority --json") echo '{"get": {"channel_priority": "strict"}}' ;;
  "clean -y --tarballs") ;;
  "env create"*)
    while [ "$1" != --prefix ]; do shift; done
    mkdir -p "$2/bin" && cp "%(conda)s/make" "$2/bin/make" ;;
  *) echo "not expected: $*" >&2; exit 2 ;;
esac
"""
MAKE = """\
#!/bin/bash
printf '%%s\\n' "$@" > %(asked)s
cp %(muster)s "$(dirname "$0")/muster"
"""
MUSTER = """\
#!/bin/bash
echo "$1" >> %(calls)s
PYTHONPATH=%(source)s exec %(python)s -m muster "$@"
"""


def script(path: Path, text: str, **words: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text % {name: shlex.quote(str(word)) for name, word in words.items()})
    path.chmod(0o755)
    return path


def test_jobs_run_in_an_environment_that_is_made_from_the_locks_of_the_checkout(tmp_path: Path) -> None:
    conda, asked, calls = tmp_path / "conda", tmp_path / "asked", tmp_path / "calls"
    (folder := tmp_path / "project").mkdir()
    muster = script(tmp_path / "muster", MUSTER, calls=calls, python=sys.executable, source=folder / "src")
    script(conda / "make", MAKE, asked=asked, muster=muster)
    script(conda / "bin/conda", CONDA, conda=conda)
    script(conda / "bin/activate", 'PATH="$1/bin:$PATH"\n')
    made = copy_workflow(folder, "scale: smoke\n", tiny_sample=SAMPLED)
    environment = made.environment() | {"PATH": f"{conda / 'bin'}:{os.environ['PATH']}"}
    command = ["snakemake", "--cores", "2", "tables", "--sdm", "conda"]
    done = forked.run(command, folder, environment, made.patience)
    assert done.returncode == 0, done.stdout + done.stderr
    arguments = asked.read_text().splitlines()
    assert arguments == ["--directory", str(folder), "packages", "PIP=python -m pip install --quiet"]
    assert sorted(set(calls.read_text().split())) == ["collect", "sample"]


def test_another_lock_makes_another_environment() -> None:
    """Snakemake makes one anew when its file is another, and the lock is not in that file."""
    text = (ROOT / "workflow/envs/muster.yaml").read_text()
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
    assert f"# requirements.lock {digest}\n" in text, "make lock keeps this line"
    python, *tools = yaml.safe_load(text)["dependencies"]
    assert (python, tools) == ("python =3.11", ["pip", "make"])


def test_every_rule_with_a_command_names_it() -> None:
    """The linter skips rules of stages that the default configuration has no cells of."""
    texts = {path.name: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}
    named = {name: text.count("conda:\n") for name, text in texts.items()}
    assert named == {name: text.count("shell:\n") for name, text in texts.items()}
    assert sum(named.values()) > 10
