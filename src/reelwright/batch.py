"""Many requests in one file: JSON lines, CSV, or every combination of prompts, models and seeds."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reelwright.errors import ReelwrightError, RequestError
from reelwright.request import GenerationRequest

MOST = 10_000
"""Requests in one batch."""
JSON_LINES, CSV, JSON = ".jsonl", ".csv", ".json"
_AXES = {"prompts": "prompt", "models": "model", "seeds": "seed", "negatives": "negative"}
_REQUEST = TypeAdapter(GenerationRequest)


def parse(text: str, ending: str) -> tuple[GenerationRequest, ...]:
    """The requests in a text of this kind (".jsonl", ".csv" or ".json").

    JSON lines: a request each. CSV: columns named like a request's fields, `options.NAME` for a model's own. JSON: `requests`, a
    list, or `matrix` with lists of `prompts`, `models`, `seeds`, `negatives`; `common` holds what all share. Raises RequestError
    with every fault and its line, or the number of the request (from 1).
    """
    readers = {JSON_LINES: _lines, CSV: _rows, JSON: _document}
    if ending not in readers:
        raise RequestError("a batch is a .jsonl, .csv or .json file", hint="Name it so.", field="file")
    made: list[GenerationRequest] = []
    problems: list[str] = []
    for number, (where, content) in enumerate(readers[ending](text)):
        if number >= MOST:
            raise RequestError(f"a batch has at most {MOST} requests", hint="Send several.", most=MOST)
        try:
            if isinstance(content, Exception):
                raise content
            made.append(_REQUEST.validate_python(content))
        except ValidationError as error:
            problems += [f"{where}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        except ReelwrightError as error:
            problems.append(f"{where}: {error.message}")
    if problems:
        raise RequestError(problems[0], hint="Nothing was queued; mend the file and send it again.", problems=problems)
    if not made:
        raise RequestError("the batch is empty", hint="Write a request a line.")
    return tuple(made)


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"line {number}", _json(line)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        return RequestError(f"this is no JSON ({error})")


def _rows(text: str) -> Iterator[tuple[str, Any]]:
    rows = csv.DictReader(io.StringIO(text))
    for row in rows:
        content: dict[str, Any] = {}
        for name, value in row.items():
            if name is None or value is None:
                content = {"columns": "too many or too few"}
                break
            if value == "":
                continue
            place, _, option = name.partition(".")
            if place == "options" and option:
                known = _json(value)
                content.setdefault("options", {})[option] = value if isinstance(known, Exception) else known
            else:
                content[name] = value
        yield f"line {rows.line_num}", content


def _document(text: str) -> Iterator[tuple[str, Any]]:
    content = _json(text)
    if isinstance(content, Exception):
        raise content
    if not isinstance(content, Mapping) or content.keys() - {"requests", "matrix", "common"}:
        raise RequestError("a batch has `requests` or `matrix`, and `common`", hint="See docs/howto/use-the-api.md.")
    common = content.get("common") or {}
    if not isinstance(common, Mapping):
        raise RequestError("`common` holds fields of a request", field="common")
    for number, each in enumerate(itertools.chain(_listed(content), _matrix(content)), 1):
        yield f"request {number}", {**common, **each} if isinstance(each, Mapping) else each


def _listed(content: Mapping[str, Any]) -> list[Any]:
    found = content.get("requests") or []
    if not isinstance(found, list):
        raise RequestError("`requests` is a list", field="requests")
    return found


def _matrix(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    matrix = content.get("matrix") or {}
    if not isinstance(matrix, Mapping) or matrix.keys() - _AXES.keys() or not all(isinstance(v, list) for v in matrix.values()):
        raise RequestError(f"`matrix` has lists: {', '.join(_AXES)}", field="matrix")
    if matrix:
        names = [_AXES[axis] for axis in matrix]
        for values in itertools.product(*matrix.values()):
            yield dict(zip(names, values, strict=True))
