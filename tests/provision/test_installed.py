"""vmprovision as pip installs it, far from any checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.provision.given import farm
from tests.provision.tool import ROOT

SOURCES = (
    "common",
    "plugins",
    "provision",
    "sim",
    "vmclient",
    "vmctl",
    "vmmanager",
    "vmprovision",
    "setup.py",
    "pyproject.toml",
)
INPUTS = """\
from provision import project
from provision.store import digest
print(project.ROOT, digest(project.inputs(project.Target("3.11", 36))))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed packages. What they need is this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    for name in SOURCES:
        where = ROOT / name
        if where.is_dir():
            shutil.copytree(where, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(where, folder / "source" / name)
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += [f"--target={folder / 'site'}", str(folder / "source")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("pip has no index to get setuptools from")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "source")
    return folder / "site"


def python(installed: Path, folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_builds_and_writes(installed: Path, tmp_path: Path) -> None:
    path = farm(tmp_path)
    said = python(installed, tmp_path, "-m", "vmprovision", "--file", str(path), "build", "--no-grub")
    assert said.count(" is new") == 2
    assert "dnsmasq.conf" in python(installed, tmp_path, "-m", "vmprovision", "--file", str(path), "write")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_puts_the_same_client_into_an_image_as_a_checkout(installed: Path, tmp_path: Path) -> None:
    place, digest = python(installed, tmp_path, "-c", INPUTS).split()
    assert Path(place) == installed
    here, wanted = python(ROOT, tmp_path, "-c", INPUTS).split()
    assert Path(here) == ROOT
    assert digest == wanted
