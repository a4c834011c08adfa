"""What the Hugging Face Hub says when it refuses, as one sentence each: what, where, and what to do next.

The Hub answers with a number (401 to 429 refuses, 500 and above is its own fault) and names the reason in the header
X-Error-Code; the library ``huggingface_hub`` turns both into exceptions. No answer at all is the network's fault.
"""

from __future__ import annotations

import re
from typing import Any

from course_lib.files import CourseError

__all__ = ["PAGE", "explain", "is_lost"]

PAGE = "https://huggingface.co"
AGAIN = "run the same command again, what has come is kept"


def is_lost(error: BaseException) -> bool:
    """Whether the connection failed: no answer, or one that broke off. A refusal is an answer."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    # version 1 of the library speaks through httpx, version 2 through httpx2; it re-exports the class that both share
    return isinstance(error, (HTTPError, ConnectionError, TimeoutError)) and not isinstance(error, HfHubHTTPError)


def explain(where: str, repo: str, error: Exception) -> CourseError:
    """The sentence for an exception of the Hub's library; ``where`` is the id as the user wrote it.

    An exception that is neither a refusal, nor a lost connection, nor an answer that cannot be read is raised again.
    """
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return CourseError(f"{where}: {_refusal(repo, error)}")
    if is_lost(error):
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return CourseError(f"{where}: the Hub cannot be reached ({reason}); see that this machine is online, and "
                           f"{AGAIN}")
    if isinstance(error, (ValueError, KeyError, TypeError)):
        return CourseError(f"{where}: what answered is not the Hub; the network may want you to log in on a page of "
                           f"its own, or HF_ENDPOINT names another server: cure that, and {AGAIN}")
    raise error


def _refusal(repo: str, error: Exception) -> str:
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):  # first: it is also a RepositoryNotFoundError
        return (f"its owner asks you to accept terms; do so on {PAGE}/{repo}, log in with `hf auth login`, and run the "
                f"same command again")
    if isinstance(error, RevisionNotFoundError):
        return f"there is no such revision; look it up on {PAGE}/{repo}/commits/main, or leave out what stands after @"
    if isinstance(error, RepositoryNotFoundError) or _hides_it(error.response):
        return "no such model on the Hub; check the name, or log in with `hf auth login` if it is private"
    if isinstance(error, DisabledRepoError):
        return "the Hub has closed this repository; take another model"
    return _by_number(error.response.status_code, error.response.headers)


def _hides_it(answer: Any) -> bool:
    """Whether the Hub wants to know who asks: it says so too of what is not there, to those that are not logged in."""
    return answer.status_code == 401 and "Invalid credentials" not in answer.headers.get("X-Error-Message", "")


def _by_number(status: int, headers: dict[str, str]) -> str:
    if status == 401:
        return ("the Hub does not know this machine's token; renew it with `hf auth login`, or drop it with `hf auth "
                "logout`, and run the same command again")
    if status == 403:
        return "the Hub refuses this machine's token; take one that may read this model with `hf auth login`"
    if status == 429:
        return (f"the Hub has had too many requests from here; wait {_pause(headers)} and {AGAIN} (a login with `hf "
                f"auth login` allows more)")
    if status >= 500:
        return f"the Hub has a fault of its own (error {status}); wait a few minutes and {AGAIN}"
    return f"the Hub refused with error {status}; look at {PAGE}, and {AGAIN}"


def _pause(headers: dict[str, str]) -> str:
    """How long the Hub asks to wait: its Retry-After, or the seconds after t= in its own header, RateLimit."""
    after = headers.get("Retry-After") or ""
    left = re.search(r"\bt\s*=\s*(\d+)", headers.get("RateLimit") or "")
    if after and not after.isdecimal():
        return f"until {after}"
    seconds = int(after or (left[1] if left else 0))
    return f"{seconds} seconds" if seconds else "a few minutes"
