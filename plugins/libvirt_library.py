"""Finds libvirt's Python binding: installed beside us, or the distribution's (python3-libvirt), which a private virtual
environment does not see by itself. Only libvirt's own two modules are taken from there, nothing else.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from typing import Any

DISTRIBUTION = ("/usr/lib/python3/dist-packages", "/usr/lib64/python3/site-packages")
HOW = "libvirt's Python binding is missing (install python3-libvirt, or pip install 'vmherd[libvirt]')"


def load() -> Any:
    """The module. Raises ImportError with what to install."""
    try:
        return importlib.import_module("libvirt")
    except ImportError:
        pass
    try:
        for name in ("libvirtmod", "libvirt"):
            _from_distribution(name)
        return sys.modules["libvirt"]
    except (ImportError, OSError):
        raise ImportError(HOW) from None


def _from_distribution(name: str) -> None:
    """A binary module of another Python does not match by its file name, and is not found."""
    spec = importlib.machinery.PathFinder.find_spec(name, [*DISTRIBUTION])
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
