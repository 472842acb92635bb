"""Routes of the port for bots that are not about an order: accounts, instruments, keys, the clock,
the pages of problem types.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI
from orderonce_shared.contracts import http as bodies
from orderonce_shared.contracts import shown
from orderonce_shared.contracts.commands import Name
from orderonce_shared.runtime.clock import Clock
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from orderonce_api import errors, views
from orderonce_api.auth import Gate, require_account, visible_accounts
from orderonce_api.documents import add_get, operation, path_parameter, query_parameter
from orderonce_api.http import json_response
from orderonce_api.incoming import query_of
from orderonce_api.key_store import KeyStore
from orderonce_api.store import Store
from orderonce_api.tally import MOST_CONFLICTS, Tally

PAGES = Path(__file__).with_name("errors_pages")
PAGE_NAMES = frozenset(problem.type for problem in errors.PROBLEMS)
READ = "orders:read"
DEFAULT_SINCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What these routes call."""

    gate: Gate
    tally: Tally
    store: Store
    key_store: KeyStore
    clock: Clock


class SinceQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    since: bodies.Moment | None = None


class AccountQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    account: Name


def add_surroundings(app: FastAPI, bots: Surroundings) -> None:
    async def accounts(request: Request) -> Response:
        caller = await bots.gate.caller(request, READ)
        rows = await bots.store.accounts(visible_accounts(caller))
        return json_response({"accounts": [views.account(row) for row in rows]})

    async def instruments(request: Request) -> Response:
        caller = await bots.gate.caller(request, READ)
        account = query_of(request, AccountQuery).account
        require_account(caller, account)
        found = await bots.store.accounts([account])
        if not found:
            raise errors.NotFound("no such account")
        venue = found[0]["venue"]
        listed = [views.instrument(row) for row in await bots.store.instruments(venue)]
        return json_response({"account": account, "venue": venue, "instruments": listed})

    async def whoami(request: Request) -> Response:
        return json_response(views.caller(await bots.gate.caller(request, None)))

    async def idempotency(request: Request) -> Response:
        """What this process has counted is written first; other processes are a second behind."""
        caller = await bots.gate.caller(request, READ)
        asked = query_of(request, SinceQuery).since or bots.clock.now() - DEFAULT_SINCE
        since = asked.replace(second=0, microsecond=0)
        await bots.tally.write()
        counts = await bots.key_store.counts_since(caller.client, since)
        conflicts = await bots.key_store.conflicts_since(
            caller.client, since, visible_accounts(caller), MOST_CONFLICTS
        )
        return json_response(views.idempotency(caller.client, since, counts, conflicts))

    async def time(request: Request) -> Response:
        return json_response({"time": views.time(await bots.store.database_time())})

    async def error_page(request: Request) -> Response:
        name = request.path_params["type"]
        if name not in PAGE_NAMES:
            raise errors.NotFound("no such problem type")
        return Response((PAGES / f"{name}.md").read_text(), media_type="text/plain; charset=utf-8")

    add_get(app, "/v1/accounts", accounts, "Accounts this key may trade", bodies.AccountPage, [])
    add_get(
        app,
        "/v1/instruments",
        instruments,
        "What may be traded on an account, with tick, step and minimum",
        bodies.InstrumentPage,
        [query_parameter("account", {"type": "string"}, "whose venue", required=True)],
    )
    add_get(
        app,
        "/v1/idempotency",
        idempotency,
        "What became of this client's idempotency keys, and the last ones used for two requests",
        shown.IdempotencyShown,
        [
            query_parameter(
                "since",
                {"type": "string", "format": "date-time"},
                "counted from the start of this minute on; default: a day ago",
            )
        ],
    )
    app.add_api_route(
        "/v1/whoami",
        whoami,
        methods=["GET"],
        operation_id="whoami",
        **operation("Who this key is, and its limits", bodies.WhoAmI),
    )
    app.add_api_route(
        "/v1/time",
        time,
        methods=["GET"],
        operation_id="time",
        **operation(
            "The clock of acceptance", bodies.TimeShown, public=True, problems=[errors.Unavailable]
        ),
    )
    app.add_api_route(
        "/errors/{type}",
        error_page,
        methods=["GET"],
        operation_id="error_page",
        summary="The page of a problem type",
        response_model=None,
        response_class=Response,
        responses={
            200: {"description": "Text", "content": {"text/plain": {"schema": {"type": "string"}}}}
        },
        openapi_extra={"parameters": [path_parameter("type", "the last part of a problem's type")]},
    )
