"""One body for every error (J9): `{error, message, details, timestamp}`, and RFC 9457's fields beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from reelwright import logs
from reelwright.errors import ReelwrightError, RequestError

_CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 409: "conflict",
    413: "too_large", 415: "unsupported_media_type", 416: "range_not_satisfiable", 429: "rate_limited",
}  # fmt: skip


def problem(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error body as an answer."""
    more = {"type": "about:blank", "title": str(body["error"]).replace("_", " "), "status": status, "detail": body["message"]}
    return JSONResponse({**more, **body}, status, dict(headers or {}), media_type="application/problem+json")


def answer(error: ReelwrightError, path: str = "") -> JSONResponse:
    """Any foreseen failure as an answer to a call of this path."""
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if (after := error.details.get("after")) is not None:
        headers["Retry-After"] = str(max(1, round(float(after))))
    if (request := logs.fact("request")) is not None:
        error.details.setdefault("request_id", request)
    if path.startswith("/v1/"):
        return JSONResponse(_openai(error), 400 if error.status == 422 else error.status, headers)
    return problem(error.status, error.body(), headers)


_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def _openai(error: ReelwrightError) -> dict[str, Any]:
    """The error as OpenAI's clients expect it; our own body beside it, but for its `error`."""
    body = error.body()
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    text = f"{error.message} {error.hint}".strip()
    told = {"message": text, "type": kind, "param": error.details.get("field"), "code": error.code}
    return {**body, "error": told}


def install(app: FastAPI) -> None:
    """Have every error of the application answered this way."""

    @app.exception_handler(ReelwrightError)
    async def foreseen(request: Request, error: ReelwrightError) -> JSONResponse:
        return answer(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [{"field": ".".join(map(str, fault["loc"][1:])), "problem": fault["msg"]} for fault in error.errors()]
        first = faults[0] if faults else {"field": "", "problem": "the request is not valid"}
        text = f"{first['field']}: {first['problem']}" if first["field"] else first["problem"]
        return answer(RequestError(text, hint="See /docs for what this route takes.", problems=faults), request.url.path)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        known = ReelwrightError(str(error.detail), **({"request_id": logs.fact("request")} if logs.fact("request") else {}))
        body = {**known.body(), "error": _CODES.get(error.status_code, "http_error")}
        if request.url.path.startswith("/v1/"):
            told = {"message": known.message, "type": _TYPES.get(error.status_code, "invalid_request_error"), "param": None}
            return JSONResponse({**body, "error": {**told, "code": body["error"]}}, error.status_code, error.headers)
        return problem(error.status_code, body, error.headers)


def unforeseen(path: str) -> JSONResponse:
    """The answer to a call that broke something here."""
    return answer(ReelwrightError("something went wrong here", hint="The server's log says what.", place=path), path)
