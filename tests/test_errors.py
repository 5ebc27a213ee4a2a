"""Errors: one tree, a stable code, a status and an exit code each (J9)."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest

from reelwright import errors
from reelwright.errors import (
    BackendError,
    BadOutput,
    BadStoryboard,
    Cancelled,
    Conflict,
    DiskFull,
    Forbidden,
    MediaError,
    MissingAsset,
    MissingExtra,
    MissingKey,
    NotFound,
    NoWorker,
    OutOfMemory,
    ProviderFailed,
    QuotaExceeded,
    RateLimited,
    ReelwrightError,
    Refused,
    RequestError,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownModel,
    Unsupported,
    WeightsInvalid,
)  # fmt: skip

TABLE = [
    (ReelwrightError, "internal_error", 500, 1, False),
    (RequestError, "invalid_request", 422, 2, False),
    (UnknownModel, "model_not_found", 404, 2, False),
    (Unsupported, "unsupported", 422, 2, False),
    (BadStoryboard, "bad_storyboard", 422, 2, False),
    (MissingAsset, "asset_not_found", 404, 2, False),
    (NotFound, "not_found", 404, 2, False),
    (Conflict, "conflict", 409, 2, False),
    (Unauthorized, "unauthorized", 401, 2, False),
    (Forbidden, "forbidden", 403, 2, False),
    (TooLarge, "too_large", 413, 2, False),
    (Unavailable, "unavailable", 503, 3, True),
    (MissingExtra, "missing_extra", 503, 3, False),
    (MissingKey, "missing_key", 503, 3, False),
    (NoWorker, "no_worker", 503, 3, True),
    (OutOfMemory, "out_of_memory", 503, 3, True),
    (DiskFull, "disk_full", 507, 3, True),
    (QuotaExceeded, "quota_exceeded", 429, 3, True),
    (BackendError, "backend_failed", 502, 4, False),
    (WeightsInvalid, "weights_invalid", 502, 4, False),
    (BadOutput, "bad_output", 502, 4, False),
    (ProviderFailed, "provider_failed", 502, 4, True),
    (RateLimited, "rate_limited", 429, 4, True),
    (Refused, "refused", 502, 4, False),
    (TimedOut, "timed_out", 504, 4, True),
    (MediaError, "bad_media", 422, 5, False),
]


@pytest.mark.parametrize(
    ("kind", "code", "status", "exit_code", "retryable"), TABLE, ids=lambda value: getattr(value, "__name__", None)
)
def test_every_error_has_its_code_status_and_body(
    kind: type[ReelwrightError], code: str, status: int, exit_code: int, retryable: bool
) -> None:
    """J9: bodies are {error, message, details, timestamp} with stable codes."""
    error = kind("it broke", hint="Mend it.", where="here")
    assert (error.code, error.status, error.exit_code, error.retryable) == (code, status, exit_code, retryable)
    body = json.loads(json.dumps(error.body()))
    assert set(body) == {"error", "message", "details", "timestamp"}
    assert (body["error"], body["message"]) == (code, "it broke")
    assert body["details"] == {"hint": "Mend it.", "where": "here"}
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert str(error) == "it broke Mend it."


def test_the_table_is_all_there_is() -> None:
    """A new error class has to be added here, and to the table at the head of the module."""
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReelwrightError)}
    assert classes == {row[0] for row in TABLE}
    for kind, _, status, exit_code, _ in TABLE[1:]:
        assert re.search(rf"{kind.__name__} +{status} +{exit_code}\b", errors.__doc__ or ""), kind


def test_codes_are_unique() -> None:
    codes = [row[1] for row in TABLE]
    assert len(codes) == len(set(codes))


def test_without_a_hint_there_is_none_in_the_body() -> None:
    error = MediaError("it broke")
    assert error.body()["details"] == {}
    assert str(error) == "it broke"


def test_whether_it_may_be_tried_again_can_be_said_of_one_error() -> None:
    assert Unavailable("closed for good", retryable=False).retryable is False
    assert Unavailable.retryable is True


def test_cancelled_is_not_swallowed_by_except_exception() -> None:
    assert not issubclass(Cancelled, Exception)
    assert Cancelled.exit_code == 130


def test_a_request_error_is_a_value_error_for_pydantic() -> None:
    assert issubclass(RequestError, ValueError)


def test_an_error_is_about_one_place_only() -> None:
    error = MediaError("the clip is empty", file="a.mp4").about("Scene 3").about("The film")
    assert str(error) == "Scene 3: the clip is empty"
    assert error.body()["details"] == {"file": "a.mp4", "place": "Scene 3"}
    assert isinstance(error, MediaError)
