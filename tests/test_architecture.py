"""The rules of the house that no linter knows, held by reading the code."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import reelwright

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "reelwright"

LONGEST_FILE = 400
LONGEST_FUNCTION = 50
LONG: dict[str, str] = {
    "jobs/store.py": "one class over one table: clients and workers share each step of a change of state",
    "jobs/migrations/versions/0001_first.py:upgrade": "a list of tables, written by Alembic",
    "studio.py": "the one place where everything is put together",
}
"""What may be longer, and why: "media/x.py" or "media/x.py:function" -> the reason."""

NO_FILE_IS_CALLED = {"utils", "helpers", "common", "base", "core", "manager", "service", "misc"}
NO_NAME_HOLDS = ("Manager", "Helper", "Utils", "Handler", "Processor", "Factory", "Service")
HEAVY = ("torch", "av", "cv2", "fastapi", "sqlalchemy")


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the project: those that git knows, and those it would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    if not names:
        pytest.skip("not a git checkout")
    return tuple(path for path in (ROOT / name for name in names) if path.is_file())


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return "" if b"\0" in content[:4096] else content.decode("utf-8", "replace")


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules a fresh interpreter has loaded after this code."""
    probe = f"import sys\n{code}\nimport json; print(json.dumps([n for n in {names!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import reelwright", (*HEAVY, "pydantic", "numpy", "PIL", "asyncio")) == []


def test_asking_for_help_loads_nothing_heavy() -> None:
    run = "from reelwright.cli import main\nsys.argv = ['reel', '--help']\ntry:\n    main()\nexcept SystemExit:\n    pass"
    assert loaded(run, HEAVY) == []


def test_every_public_name_resolves() -> None:
    missing = []
    for name in reelwright.__all__:
        try:
            getattr(reelwright, name)
        except (AttributeError, ImportError) as error:
            missing.append(f"{name}: {error}")
    assert missing == []


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{named(path)}:{node.name}", node


def test_no_file_is_too_long() -> None:
    lengths = {named(path): len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE and name not in LONG} == {}


def test_no_function_is_too_long() -> None:
    long = {}
    for path in sources():
        for name, node in functions(path):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION and name not in LONG:
                long[name] = lines
    assert long == {}


def test_the_table_of_long_things_has_no_dead_rows() -> None:
    known = {named(path) for path in sources()} | {name for path in sources() for name, _ in functions(path)}
    assert [name for name, reason in LONG.items() if name not in known or not reason.strip()] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {part: path for path in sources() for part in path.relative_to(SRC).with_suffix("").parts}
    assert [named(path) for part, path in parts.items() if part.strip("_") in NO_FILE_IS_CALLED] == []


def test_no_class_or_function_has_a_name_that_says_nothing() -> None:
    found = []
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                words = {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+", node.name)}
                found += [f"{named(path)}:{node.name}" for word in NO_NAME_HOLDS if word.lower() in words]
    assert found == []


def undocumented(body: list[ast.stmt], where: str) -> Iterator[str]:
    """Public classes, functions and methods without a docstring; overloads, setters and tests speak for themselves."""
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith(("_", "test_")):
            continue
        decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
        if not ast.get_docstring(node) and not decorators & {"overload", "setter", "override"}:
            yield f"{where}:{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{where}:{node.name}")


# Named by what they carry on: Thread.run, settings sources, parsers' hooks.
INHERITED = {"run", "settings_customise_sources"}


def test_public_things_have_docstrings() -> None:
    found = [name for path in sources() for name in undocumented(tree(path).body, named(path))]
    assert [name for name in found if name.rsplit(":", 1)[-1] not in INHERITED] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [named(path) for path in sources() if path.read_text("utf-8").strip() and not ast.get_docstring(tree(path))] == []


SUPPRESSION = re.compile(r"#\s*(noqa(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?|type:\s*ignore(?:\[[\w\-, ]+\])?)(.*)", re.DOTALL)


def unreasoned(path: Path) -> Iterator[str]:
    """Suppressions that give no reason after them on their line."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            match = SUPPRESSION.search(token.string) if token.type == tokenize.COMMENT else None
            while match:
                reason = match[2]
                further = SUPPRESSION.search(reason)
                if not further and not re.search(r"\w{2,}", reason):
                    yield f"{path.relative_to(ROOT)}:{token.start[0]} {token.string}"
                match = further


def test_every_suppression_has_its_reason_beside_it() -> None:
    python = [path for path in tracked() if path.suffix == ".py"]
    assert [line for path in python for line in unreasoned(path)] == []


def test_nothing_is_vendored() -> None:
    folders = {"vendor", "vendored", "_vendor", "third_party", "extern", "node_modules", "site-packages"}
    binaries = {".whl", ".so", ".dll", ".dylib", ".exe", ".jar", ".pyc", ".safetensors", ".pt", ".pth", ".ckpt", ".gguf"}
    files = [path.relative_to(ROOT) for path in tracked()]
    assert [str(path) for path in files if folders & set(path.parts) or path.suffix in binaries] == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    place = re.compile(r"(?<![\w.$}>~/-])/(" + "|".join(("work", "root", "home", "Users")) + r")/\w")
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path in tracked() for match in place.finditer(text_of(path))]
    assert found == []


def registries() -> set[str]:
    """Hosts that packages come from: the public ones, and those that this machine is set up with."""
    hosts = {"pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org", "registry.npmjs" + ".org"}
    for name, value in os.environ.items():
        if re.fullmatch(r"(PIP|UV|NPM_CONFIG)_\w*(INDEX|REGISTRY)\w*", name.upper()):
            hosts |= {host for host in (urlsplit(url).hostname for url in value.split()) if host}
    return hosts


def test_no_file_names_a_package_registry() -> None:
    hosts = registries()
    assert [f"{path.relative_to(ROOT)}: {host}" for path in tracked() for host in hosts if host in text_of(path)] == []
