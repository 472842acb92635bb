"""`orderonce order place | show | list | cancel | watch`.

Placing follows the rule for every bot: the key is made and shown before anything is sent, and the
same request is repeated until there is an answer.
"""

import sys
import time
import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from orderonce_cli import output
from orderonce_cli.api import Api, Given, connect
from orderonce_cli.commands.options import (
    DataOption,
    IdempotencyKeyOption,
    JsonOption,
    KeyFileOption,
    UrlOption,
    rows,
)
from orderonce_cli.problems import Exit, Problem

app = typer.Typer(help="Place orders and follow them.", no_args_is_help=True)

WATCH_LOOK_S = 0.2
MOST_LISTED = 200  # the order API's own limit of a page
COLUMNS = ("order_id", "account", "symbol", "side", "type", "quantity", "price", "status",
           "filled_quantity", "average_price")  # fmt: skip
Status = StrEnum(  # typer takes a list of these, and none of literals
    "Status",
    ["accepted", "sending", "open", "filled", "canceled", "rejected", "lapsed", "denied",
     "not_placed", "unknown"],
)  # fmt: skip
Reference = Annotated[str, typer.Argument(help="Order id, or the idempotency key that made it.")]


@app.command()
def place(
    account: Annotated[str, typer.Option(help="Venue account, e.g. paper-1.")],
    symbol: Annotated[str, typer.Option(help="e.g. BTC/USDT")],
    side: Annotated[Literal["buy", "sell"], typer.Option()],
    quantity: Annotated[str | None, typer.Option(help="In the base asset, plain decimal.")] = None,
    quote_quantity: Annotated[
        str | None, typer.Option(help="What a market buy spends of the quote asset, instead.")
    ] = None,
    price: Annotated[str | None, typer.Option(help="Makes it a limit order.")] = None,
    time_in_force: Annotated[Literal["gtc", "ioc", "fok"] | None, typer.Option()] = None,
    post_only: Annotated[bool, typer.Option("--post-only")] = False,
    expires_at: Annotated[str | None, typer.Option(help="Last moment to send it, UTC.")] = None,
    client_tag: Annotated[str | None, typer.Option()] = None,
    key: IdempotencyKeyOption = None,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Place one order; it is accepted once, however often this has to ask."""
    body: dict[str, Any] = {
        "account": account,
        "symbol": symbol,
        "side": side,
        "type": "market" if price is None else "limit",
        "quantity": quantity,
        "quote_quantity": quote_quantity,
        "price": price,
        "time_in_force": time_in_force,
        "post_only": True if post_only else None,
        "expires_at": expires_at,
        "client_tag": client_tag,
    }
    asked = {name: value for name, value in body.items() if value is not None}
    api = connect("order_api", Given(data, url, key_file))
    idempotency_key = _announced(key)
    answer = api.post_once("/v1/orders", asked, idempotency_key)
    _print({"idempotency_key": idempotency_key, **answer}, json)


@app.command()
def show(
    order: Reference,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Show one order."""
    _print(_find(connect("order_api", Given(data, url, key_file)), order), json)


@app.command("list")
def list_orders(
    account: Annotated[str | None, typer.Option()] = None,
    symbol: Annotated[str | None, typer.Option(help="e.g. BTC/USDT")] = None,
    status: Annotated[list[Status], typer.Option(help="Repeat for several.")] = [],  # noqa: B006
    since: Annotated[str | None, typer.Option(help="Accepted at this time or later, UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Accepted before this time, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """List orders, newest first."""
    api = connect("order_api", Given(data, url, key_file))
    body = api.get(
        "/v1/orders",
        account=account,
        symbol=symbol,
        status=",".join(status) or None,
        since=since,
        until=until,
        limit=limit,
        cursor=cursor,
    )
    if json:
        output.as_json(body)
        return
    output.table(rows(body), COLUMNS)
    if isinstance(body, dict) and body.get("next_cursor"):
        print(f"more: --cursor {body['next_cursor']}")


@app.command()
def cancel(
    order: Reference,
    key: IdempotencyKeyOption = None,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Ask to cancel an order."""
    api = connect("order_api", Given(data, url, key_file))
    order_id = _find(api, order)["order_id"]
    idempotency_key = _announced(key)
    answer = api.post_once(f"/v1/orders/{quote(order_id)}/cancel", {}, idempotency_key)
    _print({"idempotency_key": idempotency_key, **answer}, json)


@app.command()
def watch(
    order: Reference,
    timeout: Annotated[float, typer.Option(help="Seconds; then exit code 1.")] = 300.0,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Follow an order to its end: a line for each change."""
    api = connect("order_api", Given(data, url, key_file))
    order_id = _find(api, order)["order_id"]
    deadline, seen = time.monotonic() + timeout, None
    while True:
        now = api.get(f"/v1/orders/{quote(order_id)}")
        if now.get("version") != seen:
            seen = now.get("version")
            if json:
                output.as_json_line(now)
            else:
                filled = f"{now.get('filled_quantity') or 0}{_wanted(now)} filled"
                print(f"{now.get('updated_at')}  {now['status']}  {filled}", flush=True)
        if now.get("final"):
            return
        if time.monotonic() > deadline:
            raise Problem(f"The order is still {now['status']} after {timeout:.0f} s.", Exit.FAILED)
        time.sleep(WATCH_LOOK_S)


def _wanted(order: dict[str, Any]) -> str:
    """What is there to be filled; an order by quote amount does not say it in the base asset."""
    quantity, quote = order.get("quantity"), order.get("quote_quantity")
    return f" of {quantity}" if quantity else f" for {quote} of the quote asset"


def _announced(key: str | None) -> str:
    """The idempotency key of this request, shown before anything is sent."""
    chosen = key or str(uuid.uuid4())
    print(f"idempotency key {chosen}", file=sys.stderr, flush=True)
    return chosen


def _find(api: Api, reference: str) -> dict[str, Any]:
    """An order by its id, else by the key that made it."""
    found = None
    if _is_uuid(reference):
        found = api.find(f"/v1/orders/{quote(reference)}")
    if found is None:
        found = api.find(f"/v1/orders/by-key/{quote(reference, safe='')}")
    if found is None:
        raise Problem(f"No order has the id or the idempotency key {reference}.")
    return dict(found)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _print(order: dict[str, Any], json: bool) -> None:
    if json:
        output.as_json(order)
    else:
        output.facts({name: value for name, value in order.items() if value is not None})
