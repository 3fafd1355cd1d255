"""What must hold whatever comes in, and the error that says it did not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar
from urllib.parse import quote, quote_plus

from token_refresher.domain.errors import CATALOGUE, TokenRefresherError

# Where this stands in an input, the secret is put before it is used: kept files hold no secret, and a search finds the
# mark in one step.
MARK = b"<secret>"
# As odd as secrets get: characters that forms, JSON and YAML write in another way, and none that breaks an input.
SECRET = "Planted-5ecret/of+the=fuzzers~0123456789"

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


class BrokenError(AssertionError):
    """A property does not hold; the text says which, and quotes nothing of the input."""


def planted(data: bytes) -> bytes:
    """The input with the secret in the places marked for it."""
    return data.replace(MARK, SECRET.encode())


def hold(condition: object, what: str) -> None:
    """Raises BrokenError with `what` (str, what is wrong) unless the condition is true."""
    if not condition:
        raise BrokenError(what)


def attempt(call: Callable[[], T], allowed: type[E] | tuple[type[E], ...], secrets: Iterable[str] = (SECRET,)) -> T | E:
    """The result of `call`, or the error it raised, which must be one of `allowed` and show no secret."""
    try:
        return call()
    except allowed as error:
        tell_nothing(shown(error), secrets, f"{type(error).__name__} shows a secret")
        if isinstance(error, TokenRefresherError):
            hold(error.code in CATALOGUE, "an error has a code that is not in the catalogue")
            hold(str(error).isprintable(), "an error is not one line of a log")
        return error
    except Exception as error:
        # With the trace, which tells where; it goes to whoever searches and not to a log.
        raise BrokenError(f"{type(error).__name__} left the tree of errors") from error


def shown(error: BaseException) -> str:
    """Everything of an exception that str, repr or a traceback shows, those that it names as its cause included.

    The traceback's other words are lines of our own source, which hold no input; leaving them out makes this cheap.
    """
    return "\n".join(text for each in _chain(error) for text in (str(each), repr(each), *_notes(each)))


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions that a traceback of `error` shows."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def tell_nothing(text: str, secrets: Iterable[str], what: str) -> None:
    """Raises BrokenError with `what` when one of the secrets stands in the text, in any usual writing."""
    for secret in secrets:
        for form in {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}:
            hold(form not in text, what)
