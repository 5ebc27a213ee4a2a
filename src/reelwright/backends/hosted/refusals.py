"""What providers say when they will not, as errors of ours."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

from reelwright.backends.hosted.call import Answer
from reelwright.errors import BackendError, MissingKey, ProviderFailed, RateLimited, ReelwrightError, Refused

_FORBIDS = ("moderation", "policy", "safety", "nsfw", "content_filter", "prohibited", "sensitive", "violat")
_EMPTY = ("insufficient", "quota", "balance", "out of credit", "not enough credit")


def refusal(name: str, answer: Answer) -> ReelwrightError:
    """An answer of 400 or more: the code by its status, the message from wherever providers put it."""
    text, after = said(answer), waiting(answer)
    if answer.status == 402 or (answer.status < 500 and answer.status != 429 and any(word in text.lower() for word in _EMPTY)):
        return RateLimited(f"{name}: {text}", hint="The account's credit or quota is used up.", retryable=False, provider=name)
    if answer.status == 401 or (answer.status == 403 and not is_policy(text)):
        return MissingKey(
            f"{name} does not take the key: {text}", hint="It may be wrong, expired, or not allow this.", provider=name
        )
    if answer.status == 429:
        return RateLimited(f"{name} is asked too often: {text}", after=10.0 if after is None else after, provider=name)
    if answer.status >= 500:
        return ProviderFailed(f"{name} has a fault ({answer.status}): {text}", provider=name, status=answer.status)
    if is_policy(text):
        return policy(name, text)
    return BackendError(f"{name} does not take this ({answer.status}): {text}", provider=name, status=answer.status)


def failure(name: str, text: str) -> BackendError:
    """What a provider says of an order that came to nothing: Refused if its policy forbids it, else ProviderFailed."""
    if is_policy(text):
        return policy(name, text)
    return ProviderFailed(
        f"{name} failed: {' '.join(text.split())[:300] or 'it does not say why'}", retryable=False, provider=name
    )


def stopped(name: str) -> BackendError:
    """The order was cancelled there, by somebody else."""
    return ProviderFailed(f"{name} says that this was cancelled", hint="Order it again.", retryable=False, provider=name)


def policy(name: str, text: str) -> Refused:
    """The provider's policy forbids it."""
    return Refused(f"{name} refuses this by its policy: {text[:300]}", hint="Word the prompt in another way.", provider=name)


def is_policy(text: str) -> bool:
    """Whether a message says that a policy forbids it."""
    return any(word in text.lower() for word in _FORBIDS)


def waiting(answer: Answer) -> float | None:
    """The seconds that an answer asks to wait, by its Retry-After; None if it does not say."""
    told = answer.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def said(answer: Answer) -> str:
    """What an answer says in words, short."""
    found: Any = answer.json
    for _ in range(4):
        if isinstance(found, list) and found:
            found = found[0]
        elif isinstance(found, dict):
            keys = ("message", "detail", "error", "msg", "errors", "status_message", "status_msg", "reason", "failure")
            found = next((found[key] for key in keys if found.get(key)), None)
        else:
            break
    text = str(found) if isinstance(found, str | int) else answer.body[:200].decode("utf-8", "replace")
    return " ".join(text.split())[:300] or f"status {answer.status}"
