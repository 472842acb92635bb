"""The port for bots: parse, call one verb, render. Every route of it, in the order of the
documents.
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI
from orderonce_shared.contracts import http as bodies
from orderonce_shared.contracts.commands import Name
from orderonce_shared.domain.lifecycle import FINAL_STATUSES, Status
from orderonce_shared.domain.order import OrderTerms
from orderonce_shared.runtime.bearer import EVERY_ACCOUNT, Caller
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.tracing import continue_trace
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from orderonce_api import documents, errors, views
from orderonce_api.accept import Placing
from orderonce_api.auth import Gate
from orderonce_api.cancel import Canceling
from orderonce_api.desk import CANCEL_ROUTE, PLACE_ROUTE, Reply, cancel_ask, place_ask
from orderonce_api.documents import operation, path_parameter, query_parameter
from orderonce_api.http import json_response, new_app, request_id
from orderonce_api.incoming import body_of, idempotency_key, order_id_of, query_of
from orderonce_api.store import Store

TITLE = "orderonce order API"
DESCRIPTION = (
    "Places orders exactly once. Amounts are strings in plain decimal notation, times RFC 3339 in"
    " UTC; unknown members are refused. Errors are problem documents (RFC 9457) whose `type` is a"
    " path with a page about it."
)
VERSION = "1"
MAX_PAGE = 200
MAX_HISTORY = 1_000  # events or fills of one order in one answer
PAGES = Path(__file__).with_name("errors_pages")
READ, WRITE, CANCEL = "orders:read", "orders:write", "orders:cancel"
NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Bots:
    """What the routes call."""

    gate: Gate
    placing: Placing
    canceling: Canceling
    store: Store
    clock: Clock


class ListQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    account: Name | None = None
    status: Status | None = None
    limit: Annotated[str, Field(pattern=r"^[0-9]{1,3}$")] = "50"
    cursor: Annotated[str, Field(max_length=64)] | None = None


class AccountQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    account: Name


def bots_app(bots: Bots) -> FastAPI:
    app = new_app(TITLE, DESCRIPTION, VERSION)
    _place(app, bots)
    _cancel(app, bots)
    _orders(app, bots)
    _surroundings(app, bots)
    return app


_ORDER_ID = path_parameter("order_id", "the order's UUID")
_KEYED = (
    errors.KeyMissing,
    errors.KeyInvalid,
    errors.KeyReused,
    errors.KeyExpired,
    errors.KeyBusy,
    errors.BodyInvalid,
    errors.BodyTooLarge,
    errors.MediaTypeUnsupported,
)


def _place(app: FastAPI, bots: Bots) -> None:
    async def place(request: Request) -> Response:
        caller = await bots.gate.caller(request, WRITE)
        bots.gate.count(caller)
        key = idempotency_key(request, bots.clock.now())
        body = await body_of(request, bodies.PlaceBody)
        if not caller.sees(body.account):
            raise errors.NotPermitted(f"this key may not trade on account {body.account}")
        terms = OrderTerms(
            body.account,
            body.symbol,
            body.side,
            body.type,
            body.quantity,
            body.price,
            body.time_in_force,
            body.post_only,
        )
        ask = place_ask(
            caller,
            key,
            terms,
            body.client_tag,
            body.expires_at,
            traceparent=continue_trace(request.headers.get("traceparent")),
            request_id=request_id(request),
        )
        return _replied(await bots.placing.place(ask), key)

    app.add_api_route(
        PLACE_ROUTE,
        place,
        methods=["POST"],
        operation_id="place_order",
        **operation(
            "Place one order",
            bodies.Acceptance,
            status=202,
            scope=WRITE,
            body=bodies.PlaceBody,
            parameters=[documents.KEY_HEADER, documents.TRACE_HEADER],
            problems=[*_KEYED, errors.OrderDenied, errors.RateLimited],
            headers=documents.ACCEPT_HEADERS,
        ),
    )


def _cancel(app: FastAPI, bots: Bots) -> None:
    async def cancel(request: Request) -> Response:
        caller = await bots.gate.caller(request, CANCEL)
        key = idempotency_key(request, bots.clock.now())
        await body_of(request, bodies.CancelBody, may_be_empty=True)
        ask = cancel_ask(
            caller,
            key,
            order_id_of(request),
            traceparent=continue_trace(request.headers.get("traceparent")),
            request_id=request_id(request),
        )
        return _replied(await bots.canceling.cancel(ask), key)

    app.add_api_route(
        CANCEL_ROUTE,
        cancel,
        methods=["POST"],
        operation_id="cancel_order",
        **operation(
            "Cancel one order",
            bodies.CancelAcceptance,
            status=202,
            scope=CANCEL,
            body=bodies.CancelBody,
            body_required=False,
            parameters=[_ORDER_ID, documents.KEY_HEADER, documents.TRACE_HEADER],
            problems=[*_KEYED, errors.NotFound],
            headers=documents.ACCEPT_HEADERS,
        ),
    )


def _replied(reply: Reply, key: str) -> Response:
    headers = {"Idempotency-Key": key}
    if reply.replayed:
        headers["Idempotent-Replayed"] = "true"
    if reply.status == 202:
        headers["Location"] = f"/v1/orders/{reply.order_id}"
    media = "application/json" if reply.status < 400 else errors.PROBLEM_MEDIA_TYPE
    return Response(reply.body, reply.status, headers, media_type=media)


def _orders(app: FastAPI, bots: Bots) -> None:
    async def visible(request: Request) -> Any:
        """The order of the path. What belongs to others does not exist."""
        caller = await bots.gate.caller(request, READ)
        row = await bots.store.order_by_id(caller.client, order_id_of(request))
        return _seen(caller, row)

    async def list_orders(request: Request) -> Response:
        caller = await bots.gate.caller(request, READ)
        query = query_of(request, ListQuery)
        limit = _limit(query.limit)
        _require_account(caller, query.account)
        rows = await bots.store.list_orders(
            caller.client,
            below=NEWEST if query.cursor is None else _read_cursor(query.cursor),
            account=query.account,
            accounts=_visible_accounts(caller),
            status=None if query.status is None else query.status.value,
            live_only=query.status is not None and query.status not in FINAL_STATUSES,
            limit=limit + 1,
        )
        page = rows[:limit]
        more = _cursor(page[-1]["accept_seq"]) if len(rows) > limit else None
        return json_response({"orders": [views.order(row) for row in page], "next_cursor": more})

    async def show(request: Request) -> Response:
        return json_response(views.order(await visible(request)))

    async def by_key(request: Request) -> Response:
        caller = await bots.gate.caller(request, READ)
        key = request.path_params["idempotency_key"]
        row = await bots.store.order_by_key(caller.client, key) if _clean(key) else None
        return json_response(views.order(_seen(caller, row)))

    async def events(request: Request) -> Response:
        row = await visible(request)
        told = await bots.store.order_events(row["order_id"], MAX_HISTORY)
        history = [views.accepted_event(row), *(views.event(event) for event in told)]
        return json_response({"order_id": str(row["order_id"]), "events": history})

    async def fills(request: Request) -> Response:
        row = await visible(request)
        found = await bots.store.order_fills(row["order_id"], MAX_HISTORY)
        shown = [views.fill(fill) for fill in found]
        return json_response({"order_id": str(row["order_id"]), "fills": shown})

    key = path_parameter("idempotency_key", "the key of the command that placed the order")
    _get(app, "/v1/orders", list_orders, "List orders, newest first", bodies.OrderPage, _LIST)
    # Before the route by id: a key is looked for under its own path only.
    _get(
        app,
        "/v1/orders/by-key/{idempotency_key}",
        by_key,
        "The order that a key made",
        bodies.OrderShown,
        [key],
    )
    _get(app, "/v1/orders/{order_id}", show, "One order", bodies.OrderShown, [_ORDER_ID])
    _get(
        app,
        "/v1/orders/{order_id}/events",
        events,
        "Its history, oldest first",
        bodies.EventPage,
        [_ORDER_ID],
    )
    _get(
        app, "/v1/orders/{order_id}/fills", fills, "Its venue trades", bodies.FillPage, [_ORDER_ID]
    )


_LIST = [
    query_parameter("account", {"type": "string"}, "only this account"),
    query_parameter(
        "status",
        {"type": "string", "enum": [status.value for status in Status]},
        "only this status",
    ),
    query_parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}, "page size"
    ),
    query_parameter("cursor", {"type": "string"}, "`next_cursor` of the page before"),
]


def _get(
    app: FastAPI,
    path: str,
    endpoint: Any,
    summary: str,
    answer: type[BaseModel],
    parameters: list[documents.Json],
) -> None:
    app.add_api_route(
        path,
        endpoint,
        methods=["GET"],
        operation_id=endpoint.__name__,
        **operation(summary, answer, scope=READ, parameters=parameters, problems=[errors.NotFound]),
    )


def _seen(caller: Caller, row: Any) -> Any:
    if row is None or not caller.sees(row["account"]):
        raise errors.NotFound("no such order")
    return row


def _visible_accounts(caller: Caller) -> list[str] | None:
    """None is every account."""
    return None if EVERY_ACCOUNT in caller.accounts else sorted(caller.accounts)


def _require_account(caller: Caller, account: str | None) -> None:
    if account is not None and not caller.sees(account):
        raise errors.NotFound("no such account")


def _clean(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _limit(text: str) -> int:
    limit = int(text)
    if not 1 <= limit <= MAX_PAGE:
        raise errors.RequestInvalid("see errors", [("/limit", f"between 1 and {MAX_PAGE}")])
    return limit


def _cursor(accept_seq: int) -> str:
    return base64.urlsafe_b64encode(f"1:{accept_seq}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> int:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, _, number = raw.decode("ascii").partition(":")
        if version == "1" and number.isascii() and number.isdigit() and int(number) <= NEWEST:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise errors.RequestInvalid("see errors", [("/cursor", "not a cursor of ours")])


def _surroundings(app: FastAPI, bots: Bots) -> None:
    async def accounts(request: Request) -> Response:
        caller = await bots.gate.caller(request, READ)
        rows = await bots.store.accounts(_visible_accounts(caller))
        return json_response({"accounts": [views.account(row) for row in rows]})

    async def instruments(request: Request) -> Response:
        caller = await bots.gate.caller(request, READ)
        account = query_of(request, AccountQuery).account
        _require_account(caller, account)
        found = await bots.store.accounts([account])
        if not found:
            raise errors.NotFound("no such account")
        venue = found[0]["venue"]
        listed = [views.instrument(row) for row in await bots.store.instruments(venue)]
        return json_response({"account": account, "venue": venue, "instruments": listed})

    async def whoami(request: Request) -> Response:
        return json_response(views.caller(await bots.gate.caller(request, None)))

    async def time(request: Request) -> Response:
        return json_response({"time": views.time(await bots.store.database_time())})

    async def error_page(request: Request) -> Response:
        name = request.path_params["type"]
        if name not in _PAGE_NAMES:
            raise errors.NotFound("no such problem type")
        return Response((PAGES / f"{name}.md").read_text(), media_type="text/plain; charset=utf-8")

    _get(app, "/v1/accounts", accounts, "Accounts this key may trade", bodies.AccountPage, [])
    _get(
        app,
        "/v1/instruments",
        instruments,
        "What may be traded on an account, with tick, step and minimum",
        bodies.InstrumentPage,
        [query_parameter("account", {"type": "string"}, "whose venue", required=True)],
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


_PAGE_NAMES = frozenset(problem.type for problem in errors.PROBLEMS)
