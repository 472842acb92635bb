"""Routes of the admin port about dead letters: list, show, replay, discard."""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import FastAPI
from orderonce_shared.contracts import http as bodies
from orderonce_shared.contracts import shown
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from orderonce_api import errors, views
from orderonce_api.auth import Gate
from orderonce_api.documents import operation, path_parameter, query_parameter
from orderonce_api.http import json_response
from orderonce_api.incoming import body_of, query_of
from orderonce_api.letters import Letters, headers_of

ADMIN = "admin"
MAX_PAGE = 200
NEWEST = (datetime(2200, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1))
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_READ_BODY = (errors.BodyInvalid, errors.BodyTooLarge, errors.MediaTypeUnsupported)
_LETTER_ID = path_parameter("letter_id", "the letter's UUID, as the list shows it")


class LettersQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["waiting", "replaying", "replayed", "discarded", "all"] | None = None
    topic: Annotated[str, Field(max_length=249)] | None = None
    limit: Annotated[str, Field(pattern=r"^[0-9]{1,3}$")] = "50"
    cursor: Annotated[str, Field(max_length=128)] | None = None


def add_letter_routes(app: FastAPI, gate: Gate, letters: Letters) -> None:
    _reads(app, gate, letters)
    _acts(app, gate, letters)


def _reads(app: FastAPI, gate: Gate, letters: Letters) -> None:
    async def list_letters(request: Request) -> Response:
        await gate.caller(request, ADMIN)
        query = query_of(request, LettersQuery)
        limit = int(query.limit)
        if not 1 <= limit <= MAX_PAGE:
            raise errors.RequestInvalid("see errors", [("/limit", f"between 1 and {MAX_PAGE}")])
        rows = await letters.store.list_letters(
            NEWEST if query.cursor is None else _read_cursor(query.cursor),
            waiting=query.state is None,
            state=None if query.state == "all" else query.state,
            topic=query.topic,
            limit=limit + 1,
        )
        page = rows[:limit]
        told = [views.letter(row, replayable=letters.replayable(row["topic"])) for row in page]
        more = _cursor(page[-1]) if len(rows) > limit else None
        return json_response({"letters": told, "next_cursor": more})

    async def show_letter(request: Request) -> Response:
        await gate.caller(request, ADMIN)
        return _shown(letters, await letters.show(_letter_id(request)))

    app.add_api_route(
        "/v1/dead-letters",
        list_letters,
        methods=["GET"],
        operation_id="list_dead_letters",
        **operation(
            "Dead letters, newest first: those that wait, unless `state` says otherwise",
            shown.LetterPage,
            scope=ADMIN,
            parameters=[
                query_parameter(
                    "state",
                    {
                        "type": "string",
                        "enum": ["waiting", "replaying", "replayed", "discarded", "all"],
                    },
                    "only this state; all for every letter",
                ),
                query_parameter("topic", {"type": "string"}, "only records of this topic"),
                query_parameter(
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50},
                    "page size",
                ),
                query_parameter("cursor", {"type": "string"}, "`next_cursor` of the page before"),
            ],
        ),
    )
    app.add_api_route(
        "/v1/dead-letters/{letter_id}",
        show_letter,
        methods=["GET"],
        operation_id="show_dead_letter",
        **operation(
            "One dead letter, with its headers and the beginning of its bytes",
            shown.WholeLetterShown,
            scope=ADMIN,
            parameters=[_LETTER_ID],
            problems=[errors.NotFound],
        ),
    )


def _acts(app: FastAPI, gate: Gate, letters: Letters) -> None:
    async def replay_letter(request: Request) -> Response:
        caller = await gate.caller(request, ADMIN)
        await body_of(request, bodies.ReplayBody, may_be_empty=True)
        return _shown(letters, await letters.replay(_letter_id(request), caller.kid))

    async def discard_letter(request: Request) -> Response:
        caller = await gate.caller(request, ADMIN)
        body = await body_of(request, bodies.DiscardBody, may_be_empty=True)
        row = await letters.discard(_letter_id(request), body.reason, caller.kid)
        return _shown(letters, row)

    app.add_api_route(
        "/v1/dead-letters/{letter_id}/replay",
        replay_letter,
        methods=["POST"],
        operation_id="replay_dead_letter",
        **operation(
            "Write its record back to its topic, with the original key, bytes and headers. A second"
            " call writes nothing more",
            shown.WholeLetterShown,
            scope=ADMIN,
            body=bodies.ReplayBody,
            body_required=False,
            parameters=[_LETTER_ID],
            problems=[*_READ_BODY, errors.NotFound, errors.LetterNotReplayable],
        ),
    )
    app.add_api_route(
        "/v1/dead-letters/{letter_id}/discard",
        discard_letter,
        methods=["POST"],
        operation_id="discard_dead_letter",
        **operation(
            "Take it out of what waits; it stays visible, and can still be replayed",
            shown.WholeLetterShown,
            scope=ADMIN,
            body=bodies.DiscardBody,
            body_required=False,
            parameters=[_LETTER_ID],
            problems=[*_READ_BODY, errors.NotFound],
        ),
    )


def _shown(letters: Letters, row: Any) -> Response:
    replayable = letters.replayable(row["topic"])
    told = views.whole_letter(row, headers_of(row["headers"]), replayable=replayable)
    return json_response(told)


def _letter_id(request: Request) -> UUID:
    text = request.path_params["letter_id"]
    if not _UUID.fullmatch(text):
        raise errors.NotFound("no such letter")
    return UUID(text)


def _cursor(row: Any) -> str:
    text = f"{row['first_seen'].isoformat()} {row['letter_id']}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[datetime, UUID]:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        moment, _, letter_id = raw.decode("ascii").partition(" ")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is not None and _UUID.fullmatch(letter_id):
            return at, UUID(letter_id)
    except (binascii.Error, ValueError):
        pass
    raise errors.RequestInvalid("see errors", [("/cursor", "not a cursor of ours")])
