"""PURE: a change of the book -> what the accounts' user-data streams say about it.

Call right after the event was applied: a report shows the order as that event left it. Each report
is followed by the balances that the same event moved, as at the venue. Field names are the venue's
single letters; its documents (user-data-stream) explain them.
"""

from dataclasses import dataclass
from typing import Any

from orderonce_paper.model import (
    PRICED_TYPES,
    ZERO,
    Accepted,
    Book,
    Busted,
    Closed,
    Credited,
    Event,
    Leg,
    NewOrder,
    Order,
    Traded,
)
from orderonce_paper.shapes import money

Json = dict[str, Any]
OrderKey = tuple[str, str, int]  # account, symbol, order id

# How the engine's refusals are named in `r`. The last one is not in the venue's documents.
REJECT_REASONS = {
    "Account has insufficient balance for requested action.": "INSUFFICIENT_BALANCES",
    "Order would immediately match and take.": "WOULD_MATCH_IMMEDIATELY",
    "Duplicate order sent.": "DUPLICATE_ORDER",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One event of one account's stream. `order` is set for reports, `trade_id` for fills."""

    account: str
    payload: Json
    order: OrderKey | None = None
    trade_id: int = 0
    client_id: str = ""
    side: str = ""


def notices(book: Book, event: Event, now_ms: int) -> list[Notice]:
    """What the streams of the accounts that `event` touched have to say, in order."""
    match event:
        case Accepted():
            order = book.markets[event.symbol].orders[event.order_id - 1]
            found = [_report(book, order, now_ms, "NEW", event.time)]
            if event.kind in PRICED_TYPES:
                found.append(_position(book, event.account, event.symbol, now_ms))
            return found
        case Traded():
            return _traded(book, event, now_ms)
        case Closed():
            order = book.markets[event.symbol].orders[event.order_id - 1]
            found = [_report(book, order, now_ms, event.status, event.time, event.cancel_id)]
            if order.made.kind in PRICED_TYPES:
                found.append(_position(book, order.made.account, event.symbol, now_ms))
            return found
        case Credited():
            return _credited(book, event, now_ms)
        case Busted():
            trade = book.markets[event.symbol].trades[event.trade_id - 1]
            names = dict.fromkeys(leg.account for leg, _, _ in trade.legs())
            return [_position(book, name, event.symbol, now_ms) for name in names]
        case _:
            return []


def rejected(book: Book, new: NewOrder, text: str, now_ms: int) -> Notice:
    """The new half of a cancel-replace that the engine refused after the old order was gone.

    The venue shows REJECTED on this one occasion only. Such an order has no id here: -1.
    """
    made = Accepted(
        new.symbol,
        -1,
        new.account,
        new.client_id,
        new.side,
        new.kind,
        new.time_in_force,
        new.price,
        new.quantity,
        new.quote_quantity,
        now_ms,
    )
    order = Order(made, 0, status="REJECTED", update_time=now_ms)
    notice = _report(book, order, now_ms, "REJECTED", now_ms)
    notice.payload["r"] = REJECT_REASONS.get(text, "NONE")
    return notice


def _traded(book: Book, trade: Traded, now_ms: int) -> list[Notice]:
    market, found = book.markets[trade.symbol], []
    for leg, _, is_maker in trade.legs():
        order = market.orders[leg.order_id - 1]
        notice = _report(book, order, now_ms, "TRADE", trade.time)
        _fill_in(notice.payload, trade, leg, is_maker)
        key = notice.order
        found.append(
            Notice(
                leg.account,
                notice.payload,
                key,
                trade.trade_id,
                order.made.client_id,
                order.made.side,
            )
        )
        found.append(_position(book, leg.account, trade.symbol, now_ms))
    return found


def _fill_in(report: Json, trade: Traded, leg: Leg, is_maker: bool) -> None:
    report.update(
        l=money(trade.quantity),
        L=money(trade.price),
        Y=money(trade.quote),
        n=money(leg.commission),
        N=leg.commission_asset,
        t=trade.trade_id,
        m=is_maker,
    )
    report["I"] = report["I"] + int(is_maker)  # a trade with oneself is two executions


def _report(
    book: Book, order: Order, now_ms: int, kind: str, time: int, cancel_id: str = ""
) -> Notice:
    """executionReport; of a cancel, `c` names the cancel and `C` the order."""
    made = order.made
    payload: Json = {
        "e": "executionReport",
        "E": now_ms,
        "s": made.symbol,
        "c": cancel_id or made.client_id,
        "S": made.side,
        "o": made.kind,
        "f": made.time_in_force,
        "q": money(made.quantity),
        "p": money(made.price),
        "P": money(ZERO),
        "F": money(ZERO),
        "g": -1,
        "C": made.client_id if cancel_id else "",
        "x": kind,
        "X": order.status,
        "r": "NONE",
        "i": made.order_id,
        "l": money(ZERO),
        "z": money(order.executed),
        "L": money(ZERO),
        "n": "0",
        "N": None,
        "T": time,
        "t": -1,
        "I": book.changes * 2,
        "w": order.is_open and made.kind in PRICED_TYPES,
        "m": False,
        "M": False,
        "O": made.time,
        "Z": money(order.quote_executed),
        "Y": money(ZERO),
        "Q": money(made.quote_quantity),
        "W": made.time,
        "V": "NONE",
    }
    key = (made.account, made.symbol, made.order_id)
    return Notice(made.account, payload, key, 0, made.client_id, made.side)


def _position(book: Book, name: str, symbol: str, now_ms: int) -> Notice:
    rules = book.markets[symbol].symbol
    return _balances(book, name, (rules.base, rules.quote), now_ms)


def _balances(book: Book, name: str, assets: tuple[str, ...], now_ms: int) -> Notice:
    account = book.accounts[name]
    rows = []
    for asset in assets:
        balance = account.balances.get(asset)
        free, locked = (balance.free, balance.locked) if balance else (ZERO, ZERO)
        rows.append({"a": asset, "f": money(free), "l": money(locked)})
    payload = {"e": "outboundAccountPosition", "E": now_ms, "u": account.update_time, "B": rows}
    return Notice(name, payload)


def _credited(book: Book, event: Credited, now_ms: int) -> list[Notice]:
    change: Json = {
        "e": "balanceUpdate",
        "E": now_ms,
        "a": event.asset,
        "d": money(event.amount),
        "T": event.time,
    }
    return [
        Notice(event.account, change),
        _balances(book, event.account, (event.asset,), now_ms),
    ]
