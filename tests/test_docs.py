"""The docs say what is so: every example runs, every link leads somewhere, the reference is what the code writes.

An example is a block of `console` (lines that start with `$`) or `python`. The blocks of a page run in order in one empty
folder. A comment just before a block says what it is: `<!-- file: NAME -->` saves the block under that name, `<!-- fails:
CODE -->` expects this exit code, `<!-- not run: REASON -->` leaves it alone. Lines under a command are its output, where
`...` stands for anything.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
WRITTEN = [page for page in PAGES if page.parent.name != "reference"]
LIMIT = 300
"""Seconds until an example that hangs is given up; no example is near it."""

_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^>]*?) -->\n+)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    kind: str
    mark: str
    body: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for match in _BLOCK.finditer(text):
        yield Block(match["kind"], match["mark"] or "", match["body"], text.count("\n", 0, match.start("body")))


def runs(block: Block) -> bool:
    return block.mark.startswith("file:") or (block.kind in ("console", "python") and not block.mark.startswith("not run:"))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in WRITTEN if any(runs(block) for block in blocks(page))], ids=name)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, home: Path) -> None:
    surroundings = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    surroundings |= {"COLUMNS": "160", "PYTHONWARNINGS": "error::DeprecationWarning:reelwright"}
    for block in filter(runs, blocks(page)):
        where = f"{name(page)}, line {block.line}"
        if block.mark.startswith("file:"):
            path = tmp_path / block.mark.removeprefix("file:").strip().replace("$REELWRIGHT_HOME", str(home))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, "utf-8")
        elif block.kind == "python":
            _run([sys.executable, "-c", block.body], tmp_path, surroundings, where)
        else:
            expected = int(block.mark.removeprefix("fails:")) if block.mark.startswith("fails:") else 0
            for command, output in _commands(block.body):
                said = _run(["bash", "-c", command], tmp_path, surroundings, f"{where}: {command}", expected)
                _compare(output, said, f"{where}: {command}")


def _run(command: list[str], folder: Path, surroundings: dict[str, str], where: str, expected: int = 0) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == expected, f"{where}\nleft with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout if expected == 0 else done.stderr


def _commands(body: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, its continued lines joined, with the output shown under it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        length = next((i for i, line in enumerate(lines) if not line.endswith("\\")), len(lines) - 1) + 1
        yield "\n".join(lines[:length]), "\n".join(lines[length:]).strip()


def _compare(shown: str, said: str, where: str) -> None:
    if not shown:
        return
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(shown + "\n", said, flags), f"{where}\nshown:\n{shown}\nsaid:\n{said}"


def test_an_example_that_does_not_run_says_why() -> None:
    silent = [
        f"{name(page)}, line {block.line}"
        for page in WRITTEN
        for block in blocks(page)
        if block.mark.startswith("not run") and len(block.mark.removeprefix("not run:").strip()) < 10
    ]
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


def test_the_reference_is_what_the_code_writes() -> None:
    command = [sys.executable, str(ROOT / "docs/generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def requirements() -> dict[str, list[str]]:
    """Names of packages by where pyproject.toml asks for them."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = {"base": content["project"]["dependencies"], **content["project"]["optional-dependencies"]}
    groups |= content["dependency-groups"]
    return {group: [re.split(r"[<>=!~;\[ ]", line)[0].lower() for line in lines] for group, lines in groups.items()}


def test_every_base_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs/decisions/0002-base-dependencies.md").read_text("utf-8").lower()
    assert [package for package in requirements()["base"] if f"| `{package}` |" not in reasons] == []


def test_everything_that_is_installed_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line and not line.startswith("#")}
    asked = requirements()
    assert [package for group in ("base", "timeline", "dev") for package in asked[group] if package not in pinned] == []
