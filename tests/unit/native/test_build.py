"""How the kernels come to a machine: compiled once, found again, done without where that is not possible."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from muster import native
from muster.cli import main
from muster.errors import MusterError
from muster.native import binding, build, check, machine
from muster.native.dtypes import KERNELS, SHARED

# A compiler that answers questions as the real one does, and takes a library that was made before for its own work.
COMPILER = """#!/bin/sh
case "$*" in
  *-dM*) exec "{real}" "$@" ;;
esac
echo compiled >> "{log}"
sleep 0.3
for last in "$@"; do :; done
cp "{made}" "$last"
"""
TRAIN = """
import sys
from muster import native
found = native.load()
print("on" if found else "off")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """A compiler for tests in an empty cache; it writes a line for every time it compiles, into the returned file."""
    made, real, log = build.build(), build.compiler(), tmp_path / "log"
    script = tmp_path / "c++"
    script.write_text(COMPILER.format(real=real, log=log, made=made))
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    return log


@pytest.fixture
def fresh():
    """Forget what this process knows of the kernels, before and after."""
    machine.status.cache_clear()
    machine.load.cache_clear()
    yield
    machine.status.cache_clear()
    machine.load.cache_clear()


def test_jobs_that_start_at_once_compile_once(stand_in):
    jobs = [
        subprocess.Popen([sys.executable, "-c", TRAIN], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(4)
    ]
    assert [job.communicate()[0].split()[-1] for job in jobs] == ["on"] * 4
    assert stand_in.read_text().split() == ["compiled"]
    assert len(list((stand_in.parent / "cache").glob("*.so"))) == 1


def test_a_library_appears_whole_or_not_at_all(stand_in, monkeypatch):
    Path(os.environ["CXX"]).write_text(
        '#!/bin/sh\ncase "$*" in *-dM*) echo x;; *) echo half > /dev/null; exit 1;; esac\n'
    )
    with pytest.raises(MusterError, match=r"fails: no message"):
        build.build()
    assert not list((stand_in.parent / "cache").glob("*.so"))


def test_the_name_follows_sources_flags_and_processor(stand_in, monkeypatch, tmp_path):
    first = build.build()
    assert build.build() == first
    assert build.build((build.CPU, "-DOTHER")) != first
    sources = tmp_path / "kernels"
    shutil.copytree(SHARED, sources)
    (sources / "updates.h").write_text((sources / "updates.h").read_text() + "\n")
    edited = dataclasses.replace(KERNELS["float32"](), source=sources / "network.cpp", folders=(sources,))
    monkeypatch.setitem(KERNELS._entries, "float32", lambda: edited)
    assert build.build() != first
    script = Path(os.environ["CXX"])
    script.write_text(script.read_text().replace('exec "', 'echo "#define __NEW__ 1"; exec "'))
    assert len({first, build.build()}) == 2
    assert len(stand_in.read_text().split()) == 4


def test_without_a_compiler_torch_serves_and_says_so_in_one_line(monkeypatch, capsys, fresh):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert native.load() is None
    assert native.load() is None
    line = "native kernels are not used: no compiler named 'no-such-compiler'. Install g++ or clang++, or set CXX\n"
    assert capsys.readouterr().out == line
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MusterError, match=r"no C\+\+ compiler"):
        build.build()


def test_turned_off_is_silent(monkeypatch, capsys, fresh):
    monkeypatch.setenv(machine.VARIABLE, "0")
    assert native.load() is None
    assert capsys.readouterr().out == ""
    assert native.status().reason == "turned off by MUSTER_NATIVE=0"


def test_a_compiler_that_errs_is_found_out(monkeypatch, capsys, fresh):
    monkeypatch.setattr(check, "largest_error", lambda found, multiply: 3e-4)
    assert native.load() is None
    assert "is off by 3.0e-04 in the check against torch" in capsys.readouterr().out


def test_a_number_that_is_none_is_no_small_error(monkeypatch, fresh):
    monkeypatch.setattr(check, "largest_error", lambda found, multiply: float("nan"))
    assert native.load() is None


def test_what_is_no_library_of_ours_is_refused(tmp_path):
    path = tmp_path / "x.so"
    path.write_bytes(b"no library")
    with pytest.raises(MusterError, match="cannot be loaded"):
        binding.open_library(path)


def test_a_cache_that_cannot_be_written_names_the_remedy(stand_in, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(MusterError, match="MUSTER_NATIVE_CACHE"):
        build.build()


def test_show_machine_says_which_path_serves(monkeypatch, capsys, fresh):
    assert main(["show", "machine"]) == 0
    shown = capsys.readouterr().out
    assert f"compiler   {build.compiler()}" in shown
    assert "kernels    on, " in shown
    machine.status.cache_clear()
    monkeypatch.setenv(machine.VARIABLE, "0")
    assert main(["show", "machine"]) == 0
    assert "kernels    off: turned off by MUSTER_NATIVE=0" in capsys.readouterr().out
