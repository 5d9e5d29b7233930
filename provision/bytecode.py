"""Python sources of a tree compiled, so that a slow machine that has just booted need not do it. Same source, same bytes."""

from __future__ import annotations

import importlib.util
import marshal
import struct
import sys

from provision import progress
from provision.tree import Tree

UNCHECKED_HASH = 0b01  # PEP 552: never compared with the source, which has no time in an image
MARSHAL = 2  # without references to objects seen before: where those appear depends on what else this process holds


def inputs() -> list[str]:
    """What the bytes depend on besides the sources, for a digest."""
    return [sys.version]


def compile_sources(tree: Tree, python: str, *patterns: str) -> int:
    """How many were compiled: none where this Python is not the image's (`3.11`). What is no valid source is left as it is."""
    if python != "{}.{}".format(*sys.version_info):
        return 0
    sources = [path for path in tree.matching(*patterns) if path.endswith(".py")]
    return sum(_compile(tree, path) for path in progress.each("compiling", sources))


def _compile(tree: Tree, path: str) -> bool:
    source = tree[path].content
    try:
        code = compile(source, f"/{path}", "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return False
    head = importlib.util.MAGIC_NUMBER + struct.pack("<I", UNCHECKED_HASH) + importlib.util.source_hash(source)
    folder, _, name = path.rpartition("/")
    cached = f"{folder}/__pycache__/{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
    tree.file(cached, head + marshal.dumps(code, MARSHAL), origin=f"bytecode of {tree[path].origin or 'the project'}")
    return True
