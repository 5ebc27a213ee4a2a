"""One body for every error (J9): `{error, message, details, timestamp}`, and RFC 9457's fields beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from reelwright.errors import ReelwrightError, RequestError

LOG = logging.getLogger("reelwright.server")

_CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 409: "conflict",
    413: "too_large", 415: "unsupported_media_type", 416: "range_not_satisfiable", 429: "rate_limited",
}  # fmt: skip


def problem(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error body as an answer."""
    more = {"type": "about:blank", "title": str(body["error"]).replace("_", " "), "status": status, "detail": body["message"]}
    return JSONResponse({**more, **body}, status, dict(headers or {}), media_type="application/problem+json")


def answer(error: ReelwrightError) -> JSONResponse:
    """Any foreseen failure as an answer."""
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if (after := error.details.get("after")) is not None:
        headers["Retry-After"] = str(max(1, round(float(after))))
    return problem(error.status, error.body(), headers)


def install(app: FastAPI) -> None:
    """Have every error of the application answered this way."""

    @app.exception_handler(ReelwrightError)
    async def foreseen(_: Request, error: ReelwrightError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [{"field": ".".join(map(str, fault["loc"][1:])), "problem": fault["msg"]} for fault in error.errors()]
        first = faults[0] if faults else {"field": "", "problem": "the request is not valid"}
        text = f"{first['field']}: {first['problem']}" if first["field"] else first["problem"]
        return answer(RequestError(text, hint="See /docs for what this route takes.", problems=faults))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        known = ReelwrightError(str(error.detail))
        body = {**known.body(), "error": _CODES.get(error.status_code, "http_error")}
        return problem(error.status_code, body, error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        LOG.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(ReelwrightError("something went wrong here", hint="The server's log says what.", place=request.url.path))
