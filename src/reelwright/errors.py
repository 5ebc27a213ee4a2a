"""What can go wrong, said once.

* ReelwrightError                       HTTP  exit
  + RequestError                        422    2    what was asked for cannot be done
    + UnknownModel                      404    2
    + Unsupported                       422    2    the model or format cannot do this
    + BadStoryboard                     422    2
    + MissingAsset                      404    2
    + NotFound                          404    2    no such job, key ...
    + Conflict                          409    2    it is not in a state for that
    + Unauthorized                      401    2    no key, or not a valid one
    + Forbidden                         403    2    the key does not allow this
    + TooLarge                          413    2
  + Unavailable                         503    3    could be done, but not here and now
    + MissingExtra                      503    3    an optional dependency is not installed
    + MissingKey                        503    3
    + NoWorker                          503    3
    + OutOfMemory                       503    3
    + DiskFull                          507    3
    + QuotaExceeded                     429    3    more than this key may
  + BackendError                        502    4    the model or its provider failed
    + WeightsInvalid                    502    4    a model's files are damaged, of a refused kind, or do not belong together
    + BadOutput                         502    4    the model made no picture: not-a-number values
    + ProviderFailed                    502    4
    + RateLimited                       429    4
    + Refused                           502    4
    + TimedOut                          504    4
  + MediaError                          422    5    a file is not what it says
* Cancelled                             BaseException, exit 130: `except Exception` never swallows it

On the wire every error is `{"error": code, "message": ..., "details": {...}, "timestamp": ISO 8601}`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Self


class ReelwrightError(Exception):
    """Any failure that Reelwright foresaw.

    `message` says what is wrong, `hint` what to do next, `details` holds facts for machines (JSON values),
    `retryable` whether the same call may succeed later. `code`, `status` (HTTP) and `exit_code` belong to the class.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip() if self.hint else self.message

    def about(self, place: str) -> Self:
        """The same error, its message beginning with where it happened, such as "Scene 3"; said once."""
        if "place" not in self.details:
            self.message = f"{place}: {self.message}"
            self.details["place"] = place
            self.args = (self.message,)
        return self

    def body(self) -> dict[str, Any]:
        """The error as the JSON body that every edge returns (J9)."""
        details = {"hint": self.hint, **self.details} if self.hint else dict(self.details)
        return {
            "error": self.code,
            "message": self.message,
            "details": details,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }


class RequestError(ReelwrightError, ValueError):
    """What was asked for cannot be done as asked. It is a ValueError too, so that pydantic collects it with the others."""

    code, status, exit_code = "invalid_request", 422, 2


class UnknownModel(RequestError):
    """No card has this id."""

    code, status = "model_not_found", 404


class Unsupported(RequestError):
    """The model, codec or format cannot do this."""

    code = "unsupported"


class BadStoryboard(RequestError):
    """A storyboard with one or more faults; `details["problems"]` lists them all."""

    code = "bad_storyboard"


class MissingAsset(RequestError):
    """A file or asset that the request names is not there."""

    code, status = "asset_not_found", 404


class NotFound(RequestError):
    """There is no such job, key or storyboard."""

    code, status = "not_found", 404


class Conflict(RequestError):
    """It is not in a state in which this can be done."""

    code, status = "conflict", 409


class Unauthorized(RequestError):
    """No API key was given, or it is unknown, expired or revoked."""

    code, status = "unauthorized", 401


class Forbidden(RequestError):
    """The API key does not allow this."""

    code, status = "forbidden", 403


class TooLarge(RequestError):
    """An input or output is over a limit."""

    code, status = "too_large", 413


class Unavailable(ReelwrightError):
    """It could be done, but not on this machine at this moment."""

    code, status, exit_code = "unavailable", 503, 3
    retryable = True


class MissingExtra(Unavailable):
    """An optional dependency is not installed."""

    code, retryable = "missing_extra", False


class MissingKey(Unavailable):
    """A provider's key is not set."""

    code, retryable = "missing_key", False


class NoWorker(Unavailable):
    """No worker serves this kind of work."""

    code = "no_worker"


class OutOfMemory(Unavailable):
    """Not enough memory on the device."""

    code = "out_of_memory"


class DiskFull(Unavailable):
    """The disk filled up, or a quota or file-size limit was met, while writing."""

    code, status = "disk_full", 507


class QuotaExceeded(Unavailable):
    """More than the key's owner may have; `details["after"]` is the number of seconds to wait where that helps."""

    code, status = "quota_exceeded", 429


class BackendError(ReelwrightError):
    """The model or its provider failed."""

    code, status, exit_code = "backend_failed", 502, 4


class WeightsInvalid(BackendError):
    """A model's files are missing, truncated, of a kind that is not opened, or do not belong together."""

    code = "weights_invalid"


class BadOutput(BackendError):
    """The model ran and made no picture: its values are not numbers."""

    code = "bad_output"


class ProviderFailed(BackendError):
    """A provider answered with an error of its own."""

    code, retryable = "provider_failed", True


class RateLimited(BackendError):
    """Too many requests; `details["after"]` is the number of seconds to wait where it is known."""

    code, status, retryable = "rate_limited", 429, True


class Refused(BackendError):
    """The provider's policy refuses this request."""

    code = "refused"


class TimedOut(BackendError):
    """No result within the deadline."""

    code, status, retryable = "timed_out", 504, True


class MediaError(ReelwrightError):
    """A file is not what it says: truncated, empty, corrupt, or of an unknown kind."""

    code, status, exit_code = "bad_media", 422, 5


class Cancelled(BaseException):
    """The person or the program that asked no longer wants the result."""

    exit_code: ClassVar[int] = 130
