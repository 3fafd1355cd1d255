"""The tree of errors: as it is drawn, and with every error code known and used."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from support.tables import each_line
from token_refresher.domain import errors
from token_refresher.domain.errors import (
    CATALOGUE,
    CommandError,
    NoCredentialError,
    NotSentError,
    PlatformError,
    RefreshFailedError,
    RefusedError,
    SettingsError,
    StoreError,
    TokenRefresherError,
    UnknownOutcomeError,
)
from token_refresher.platforms.http.call import Phase
from token_refresher.store.error_meanings import MEANINGS, OF_A_SOCKET

SRC = Path(errors.__file__).parents[2]
SOURCES = [SRC / "index.py", *sorted((SRC / "token_refresher").rglob("*.py"))]


@functools.cache
def _family() -> dict[str, str]:
    """Child -> parent, out of all sources: what is not imported in this run counts too."""
    parents = {
        node.name: base.id
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    family: dict[str, str] = {}
    while more := {
        name: parent
        for name, parent in parents.items()
        if name not in family and (parent == TokenRefresherError.__name__ or parent in family)
    }:
        family |= more
    return family


def _drawn() -> dict[str, str]:
    """Child -> parent, out of the drawing: how deep a name is indented tells whose child it is."""
    above: list[tuple[int, str]] = []
    found: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}[│├└─ ]*([A-Z]\w*Error)\b", line)
        if not match:
            continue
        depth, name = match.start(1), match[1]
        while above and above[-1][0] >= depth:
            above.pop()
        if above:
            found[name] = above[-1][1]
        above.append((depth, name))
    return found


def test_the_tree_is_as_it_is_drawn() -> None:
    # Shows a defect: InvokeError is not drawn.
    assert _drawn() == _family()


def test_the_drawing_is_that_of_the_classes_themselves() -> None:
    assert len(_drawn()) > 8
    for child, parent in _drawn().items():
        assert getattr(errors, child).__base__ is getattr(errors, parent)


def test_no_error_stands_outside_of_the_tree() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert all(issubclass(each, TokenRefresherError) for each in classes)


# -- credentials -----------------------------------------------------------------------------------


@functools.cache
def _constants(node: ast.AST) -> frozenset[str]:
    return frozenset(
        each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )


def _without_catalogue(tree: ast.Module) -> ast.Module:
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CATALOGUE")
    ]
    return ast.Module(kept, [])


@functools.cache
def _trees() -> list[ast.Module]:
    return [_without_catalogue(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]


@functools.cache
def _said() -> dict[str, set[str]]:
    """Codes that are given by keyword to an error of the tree, and `default_code`s."""
    names = {*_family(), TokenRefresherError.__name__}
    found: dict[str, set[str]] = {"given": set(), "default": set()}
    for tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                found["given"] |= {code for value in values for code in _constants(value)}
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "default_code":
                found["default"] |= _constants(node.value)
    return found


def test_the_catalogue_was_found_and_left_out() -> None:
    assert not _constants(_trees()[SOURCES.index(SRC / "token_refresher/domain/errors.py")]) & {
        "wrong_secret",
        "redis_auth",
    }


def test_every_code_of_the_catalogue_is_used() -> None:
    assert set(CATALOGUE) - set().union(*(_constants(tree) for tree in _trees())) == set()


def test_every_code_that_is_used_is_in_the_catalogue() -> None:
    said = _said()
    assert len(said["default"]) > 5
    assert len(said["given"]) > 3
    # Shows a defect: InvokeError has credentials of its own, in a catalogue of its own.
    assert said["given"] | said["default"] <= set(CATALOGUE)
    assert {phase.value[0] for phase in Phase} <= set(CATALOGUE)
    families = re.compile(r"not_sent_[a-z]+")
    written = {text for tree in _trees() for text in _constants(tree) if families.fullmatch(text)}
    assert written <= set(CATALOGUE)


def test_every_code_says_in_one_line_what_to_do() -> None:
    for code, entry in CATALOGUE.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert entry.advice.isprintable()
        assert 20 < len(entry.advice) < 120
        assert not entry.advice.endswith(".")


# Words that a stranger stumbles over, beside verbs that do not begin an advice.
ODD = re.compile(r"\b(told|stands?|anew|somebody|nobody|whoever|aloud|ours?|(is|are|was) no)\b")

VERBS = frozenset({
    "act", "add", "ask", "check", "correct", "do", "free", "give", "look", "pass", "read", "report", "run", "see",
    "send", "try", "use", "wait", "write",
})  # fmt: skip


def test_every_advice_begins_with_what_to_do() -> None:
    advices = [entry.advice for entry in CATALOGUE.values()]
    assert [advice for advice in advices if ODD.search(advice) or advice.split()[0].strip(",:") not in VERBS] == []


def test_no_message_of_redis_uses_such_words() -> None:
    for meaning in (*MEANINGS, *OF_A_SOCKET):
        assert not ODD.search(f"{meaning.what} {meaning.advice}")


def test_a_code_that_is_not_in_the_catalogue_is_a_mistake_in_the_program() -> None:
    with pytest.raises(KeyError):
        StoreError("what", code="no_such_code")


def test_what_a_repeat_may_help_against_and_what_only_a_person_can() -> None:
    hopeless = {code for code, entry in CATALOGUE.items() if not entry.retryable}
    assert {"wrong_secret", "not_white_listed", "no_permission", "redis_auth", "invalid_settings"} <= hopeless
    assert not {"no_answer", "cut_answer", "redis_timeout", "redis_loading", "store_lost"} & hopeless


def test_refusals_of_the_caller_are_told_from_those_of_the_application() -> None:
    of_caller = {code for code, entry in CATALOGUE.items() if entry.of_caller}
    unsent = {code for code in CATALOGUE if code.startswith("not_sent_")}
    assert of_caller == unsent | {"wrong_secret", "not_white_listed", "no_permission", "rate_limited"}
    assert RefusedError("no", code="wrong_secret").of_caller
    assert not RefusedError("no", code="app_denied").of_caller
    assert RefusedError("no", of_caller=True).of_caller
    assert NotSentError("no").of_caller


# -- how they print --------------------------------------------------------------------------

PRINTED: dict[str, tuple[TokenRefresherError, str]] = {
    "one that is about nobody": (
        StoreError("it is slow", code="redis_timeout"),
        f"redis_timeout: it is slow. What to do: {CATALOGUE['redis_timeout'].advice}.",
    ),
    "one about an application": (
        TokenRefresherError("what", app_id="app0000"),
        f"internal_error (app0000): what. What to do: {CATALOGUE['internal_error'].advice}.",
    ),
    "one about an application and a kind": (
        NoCredentialError("nothing there", key="type/...", app_id="app0000", kind="js_ticket"),
        f"no_credential (app0000, js_ticket): nothing there. What to do: {CATALOGUE['no_credential'].advice}.",
    ),
    "settings, all mistakes at once": (
        SettingsError(["APP_ID is missing", "REDIS_URL is missing"]),
        "invalid_settings: APP_ID is missing; REDIS_URL is missing. What to do: "
        f"{CATALOGUE['invalid_settings'].advice}.",
    ),
}


@pytest.mark.parametrize("sentence", PRINTED)
def test_an_error_prints_code_application_kind_and_advice(sentence: str) -> None:
    error, expected = PRINTED[sentence]
    assert str(error) == expected


def test_the_platform_s_errors_get_their_application_later_and_print_it() -> None:
    error = RefusedError("no", status=4001, code="wrong_secret")
    error.app_id, error.kind = "app0000", "access_token"
    assert str(error).startswith("wrong_secret (app0000, access_token): no. What to do: check APP_ID")
    assert (error.status, error.retryable) == (4001, False)


DEFAULTS: dict[type[TokenRefresherError], str] = {
    TokenRefresherError: "internal_error",
    CommandError: "invalid_command",
    StoreError: "redis_error",
    PlatformError: "platform_refused",
    RefusedError: "platform_refused",
    NotSentError: "not_sent_connect",
    UnknownOutcomeError: "no_answer",
    RefreshFailedError: "credentials_in_danger",
}


@each_line(
    "kind",
    DEFAULTS,
)
def test_an_error_without_a_code_of_its_own_has_its_family_s(kind: type[TokenRefresherError]) -> None:
    error = kind("what")
    assert error.code == DEFAULTS[kind]
    assert (error.retryable, error.advice) == CATALOGUE[error.code][:2]
    assert (error.what, error.app_id, error.kind) == ("what", None, None)
