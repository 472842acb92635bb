"""The port for bots: parse, call one verb, render. Every route about orders, in the order of the
documents; the others stand in surroundings.py.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from orderonce_shared.contracts import http as bodies
from orderonce_shared.domain.order import OrderTerms
from orderonce_shared.runtime.bearer import Caller
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.tracing import continue_trace
from starlette.requests import Request
from starlette.responses import Response

from orderonce_api import documents, errors, views
from orderonce_api.accept import Placing
from orderonce_api.auth import Gate, require_account, visible_accounts
from orderonce_api.cancel import Canceling
from orderonce_api.desk import CANCEL_ROUTE, PLACE_ROUTE, Reply, cancel_ask, place_ask
from orderonce_api.documents import add_get, operation, path_parameter
from orderonce_api.http import json_response, new_app, request_id
from orderonce_api.incoming import (
    body_of,
    header,
    idempotency_key,
    order_id_of,
    query_of,
    wait_preferred,
)
from orderonce_api.listing import LIST_PARAMETERS, ListQuery, cursor_after, read_list
from orderonce_api.store import Store
from orderonce_api.surroundings import Surroundings, add_surroundings
from orderonce_api.waiting import LONGEST_WAIT_S, End, Waiters

TITLE = "orderonce order API"
DESCRIPTION = (
    "Places orders exactly once. Amounts are strings in plain decimal notation, times RFC 3339 in"
    " UTC; unknown members are refused. Errors are problem documents (RFC 9457) whose `type` is a"
    " path with a page about it."
)
VERSION = "1"
MAX_HISTORY = 1_000  # events or fills of one order in one answer
READ, WRITE, CANCEL = "orders:read", "orders:write", "orders:cancel"


@dataclass(frozen=True, slots=True)
class Bots:
    """What the routes call."""

    gate: Gate
    placing: Placing
    canceling: Canceling
    waiters: Waiters
    surroundings: Surroundings
    store: Store
    clock: Clock


def bots_app(bots: Bots) -> FastAPI:
    app = new_app(TITLE, DESCRIPTION, VERSION)
    _place(app, bots)
    _cancel(app, bots)
    _orders(app, bots)
    add_surroundings(app, bots.surroundings)
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
            body.quote_quantity,
        )
        ask = place_ask(
            caller,
            key,
            terms,
            body.client_tag,
            body.expires_at,
            traceparent=continue_trace(header(request, b"traceparent")),
            request_id=request_id(request),
        )
        reply = await bots.placing.place(ask)
        return await _settled_or_replied(bots, request, reply, key, open_counts=terms.may_rest)

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
            parameters=[documents.KEY_HEADER, documents.PREFER_HEADER, documents.TRACE_HEADER],
            problems=[*_KEYED, errors.OrderDenied, errors.RateLimited],
            headers=documents.ACCEPT_HEADERS,
            settled=bodies.OrderShown,
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
            traceparent=continue_trace(header(request, b"traceparent")),
            request_id=request_id(request),
        )
        reply = await bots.canceling.cancel(ask)
        return await _settled_or_replied(bots, request, reply, key, open_counts=False)

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
            parameters=[
                _ORDER_ID,
                documents.KEY_HEADER,
                documents.PREFER_HEADER,
                documents.TRACE_HEADER,
            ],
            problems=[*_KEYED, errors.NotFound],
            headers=documents.ACCEPT_HEADERS,
            settled=bodies.OrderShown,
        ),
    )


async def _settled_or_replied(
    bots: Bots, request: Request, reply: Reply, key: str, *, open_counts: bool
) -> Response:
    """The reply; or, to a first accept whose sender prefers to wait, the order once it has settled.
    A retry is answered with the acceptance at once: it is the same bytes for ever.
    """
    wishes = [
        value.decode("latin-1") for name, value in request.scope["headers"] if name == b"prefer"
    ]
    seconds = wait_preferred(wishes, LONGEST_WAIT_S) if wishes else 0
    if not seconds or reply.replayed or reply.status != 202:
        return _replied(reply, key)

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    end, row = await bots.waiters.wait(
        UUID(reply.order_id), seconds, open_counts=open_counts, hung_up=hung_up
    )
    applied = {"Preference-Applied": f"wait={seconds}"} if end in (End.SETTLED, End.LATE) else {}
    if end is not End.SETTLED:
        return _replied(reply, key, applied)
    headers = {"Idempotency-Key": key, "Location": f"/v1/orders/{reply.order_id}", **applied}
    return json_response(views.order(row), 200, headers)


def _replied(reply: Reply, key: str, applied: dict[str, str] | None = None) -> Response:
    headers = {"Idempotency-Key": key, **(applied or {})}
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
        require_account(caller, query.account)
        asked = read_list(query, visible_accounts(caller))
        rows = await bots.store.list_orders(
            caller.client,
            *asked.below,
            asked.since,
            asked.account,
            asked.accounts,
            asked.symbol,
            asked.statuses,
            asked.held_by,
            limit=asked.limit + 1,
        )
        page = rows[: asked.limit]
        more = cursor_after(page[-1]) if len(rows) > asked.limit else None
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
    add_get(
        app,
        "/v1/orders",
        list_orders,
        "List orders, newest first",
        bodies.OrderPage,
        LIST_PARAMETERS,
    )
    # Before the route by id: a key is looked for under its own path only.
    add_get(
        app,
        "/v1/orders/by-key/{idempotency_key}",
        by_key,
        "The order that a key made",
        bodies.OrderShown,
        [key],
    )
    add_get(app, "/v1/orders/{order_id}", show, "One order", bodies.OrderShown, [_ORDER_ID])
    add_get(
        app,
        "/v1/orders/{order_id}/events",
        events,
        "Its history, oldest first",
        bodies.EventPage,
        [_ORDER_ID],
    )
    add_get(
        app, "/v1/orders/{order_id}/fills", fills, "Its venue trades", bodies.FillPage, [_ORDER_ID]
    )


def _seen(caller: Caller, row: Any) -> Any:
    if row is None or not caller.sees(row["account"]):
        raise errors.NotFound("no such order")
    return row


def _clean(text: str) -> bool:
    return text.isascii() and text.isprintable()
