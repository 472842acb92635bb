"""Bytes of a request to its model, or what is wrong with them, as (pointer, message).

A body is UTF-8 JSON and nothing else: no duplicate members, no lone surrogates, no NaN, no unknown
members. Whatever is wrong is told so that a sender can mend it, and never echoes what he must not
see again.
"""

import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from orderonce_shared.contracts.wire import loads_strict

MAX_ERRORS = 20
MAX_POINTER = 100  # an unknown member's name is the sender's: it is echoed, but not at any length


class BodyInvalidError(ValueError):
    """What is wrong, as (pointer, message) pairs that may be shown to the sender."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("body invalid")
        self.errors = errors


Model = TypeVar("Model", bound=BaseModel)


def read_body(model: type[Model], raw: bytes) -> Model:
    """Bytes of a request to its model. Raises BodyInvalidError for anything else.

    Two parsers on purpose: orjson refuses bad UTF-8, lone surrogates, NaN and great depth, but
    keeps the last of two equal members; the standard library's shows both.
    """
    try:
        orjson.loads(raw)
        value = loads_strict(raw.decode())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise BodyInvalidError([("", f"not JSON as we read it: {_plain(str(error))}")]) from None
    if not isinstance(value, dict):
        raise BodyInvalidError([("", "the body is a JSON object")])
    return read_members(model, value)


def read_members(model: type[Model], members: dict[str, Any]) -> Model:
    """Parsed members (of a body or a query string) to their model. Raises BodyInvalidError."""
    try:
        return model.model_validate(members)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise BodyInvalidError([_pointed(item) for item in found[:MAX_ERRORS]]) from None


def _pointed(item: Any) -> tuple[str, str]:
    message = str(item["msg"]).removeprefix("Value error, ")
    where = [str(part) for part in item["loc"] if not _is_branch(part)]
    named = re.fullmatch(r"([a-z_]+): (.+)", message)
    if not where and named:  # a rule over several members names the one to change
        where, message = [named[1]], named[2]
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in where)
    return _plain(pointer)[:MAX_POINTER], _plain(message)


def _is_branch(part: object) -> bool:
    """pydantic names the branch of a union in the location: of no use to a sender."""
    return isinstance(part, str) and ("[" in part or part in {"is-instance", "function-after"})


def _plain(text: str) -> str:
    """Printable: a sender's own control characters do not come back in an answer or a log."""
    return "".join(char if char.isprintable() else "?" for char in text)
