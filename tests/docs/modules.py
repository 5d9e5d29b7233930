"""The list of modules in docs/architecture.md, from their first lines: `python -m tests.docs.modules` writes it anew."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.sentences import ROOT
from tests.test_architecture import PURE

PAGE = ROOT / "docs/architecture.md"
FOLDERS = ("common", "vmmanager", "vmclient", "vmctl", "plugins", "demo", "sim", "vmprovision")
LIST = re.compile(r"(<!-- modules -->\n).*(<!-- end -->)", re.DOTALL)


def modules() -> list[Path]:
    found = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return [path.relative_to(ROOT) for path in found if path.name != "__init__.py"]


def about(module: Path) -> str:
    """The first sentence of its docstring."""
    text = ast.get_docstring(ast.parse((ROOT / module).read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[^.])\.(?:\s|$)", text.replace("\n", " "))[0].replace("|", r"\|")


def listed() -> str:
    lines = ["| module | | what it is |", "| --- | --- | --- |"]
    lines += [f"| {module} | {'pure' if str(module) in PURE else ''} | {about(module)} |" for module in modules()]
    return "\n".join(lines) + "\n"


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(LIST.sub(lambda found: found[1] + listed() + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
