"""The auditor sees every kind of wrong: one clean story, doctored in one place at a time."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.auditor import Kind, Story, judge
from tests.workload import Attempt

Json = dict[str, Any]
Doctor = Callable[[Story], object]

KEY = "key-0000000000000001"
RESTING = "key-0000000000000002"
DENIED = "key-0000000000000003"
FILLED_ID, RESTING_ID = "oofilled", "ooresting"
SENT_AT_MS = 1_790_000_000_000
EXPIRES = "2026-09-21T14:13:50.000000Z"  # SENT_AT_MS and 30 s


def _reply(status: int, told: Json) -> tuple[int, bytes]:
    return status, json.dumps(told).encode()


def _accepted(key: str, order_id: str, client_order_id: str) -> Attempt:
    status, body = _reply(202, {"order_id": order_id, "client_order_id": client_order_id})
    return Attempt(key, "/v1/orders", b"{}", "http://api", 0.0, status, body)


def _order(order_id: str, client_order_id: str | None, asked: Json, **told: Any) -> Json:
    return {
        **asked, "order_id": order_id, "client_order_id": client_order_id, "expires_at": EXPIRES,
        "filled_quantity": "0", "venue_order_id": None, **told,
    }  # fmt: skip


def _create(client_order_id: str, executed: bool = True) -> Json:
    return {
        "method": "POST", "path": "/api/v3/order", "executed": executed, "account": "paper-1",
        "client_order_id": client_order_id, "received_at": SENT_AT_MS,
    }  # fmt: skip


def _clean() -> Story:
    market = {
        "account": "paper-1", "symbol": "BTC/USDT", "side": "buy", "type": "market",
        "quantity": "0.00100",
    }  # fmt: skip
    limit = {**market, "type": "limit", "price": "50000.00", "time_in_force": "gtc"}
    denial = _reply(422, {"type": "/errors/order-denied", "order_id": "o3", "code": "price-tick"})
    trade = {
        "account": "paper-1", "symbol": "BTCUSDT", "trade_id": 7, "client_order_id": FILLED_ID,
        "side": "BUY", "price": "60001.00", "quantity": "0.00100", "commission": "0.000001",
        "commission_asset": "BTC", "busted": False,
    }  # fmt: skip
    fill = {
        "symbol": "BTC/USDT", "trade_id": "7", "side": "buy", "price": "60001.00",
        "quantity": "0.001", "fees": [{"asset": "BTC", "amount": "0.00000100"}],
    }  # fmt: skip
    book = {
        "account": "paper-1", "symbol": "BTCUSDT", "side": "BUY", "price": "0",
        "time_in_force": "GTC", "quantity": "0.00100",
    }  # fmt: skip
    return Story(
        attempts=[
            _accepted(KEY, "o1", FILLED_ID),
            _accepted(KEY, "o1", FILLED_ID),
            _accepted(RESTING, "o2", RESTING_ID),
            Attempt(DENIED, "/v1/orders", b"{}", "http://api", 0.0, *denial),
        ],
        bodies={KEY: market, RESTING: limit, DENIED: {**limit, "price": "50000.001"}},
        orders={
            KEY: _order("o1", FILLED_ID, market, status="filled", final=True,
                        filled_quantity="0.001", venue_order_id="1"),
            RESTING: _order("o2", RESTING_ID, limit, status="open", final=False,
                            venue_order_id="2"),
            DENIED: _order("o3", "oodenied", {**limit, "price": "50000.001"}, status="denied",
                           final=True),
        },
        fills={KEY: [fill], RESTING: [], DENIED: []},
        venue_requests=[_create(FILLED_ID, executed=False), _create(FILLED_ID),
                        _create(RESTING_ID)],
        venue_orders=[
            {**book, "type": "MARKET", "client_order_id": FILLED_ID, "order_id": 1,
             "executed": "0.00100", "status": "FILLED"},
            {**book, "type": "LIMIT", "client_order_id": RESTING_ID, "order_id": 2,
             "executed": "0", "status": "NEW", "price": "50000.00"},
        ],
        venue_trades=[trade],
        venue_balances={"paper-1": {"BTC": {"free": "1.0", "locked": "0.5"}}},
        ledger_fills={"paper-1": [dict(fill)]},
        ledger_balances={"paper-1": [{"asset": "BTC", "balance": "1.50"}]},
        runs=[{"id": "r0", "status": "ok", "runs": []}],
        proof=[{"account": "paper-1", "asset": "BTC", "proof": "0.00"}],
    )  # fmt: skip


def test_a_clean_story_has_no_finding() -> None:
    assert judge(_clean()) == []


def _second_reply_differs(story: Story) -> None:
    story.attempts[1] = replace(story.attempts[1], reply=story.attempts[1].reply + b" ")


def _denial_becomes_accept(story: Story) -> None:
    story.attempts.append(_accepted(DENIED, "o3", "oodenied"))


def _second_order_id(story: Story) -> None:
    story.attempts[1] = _accepted(KEY, "o9", FILLED_ID)


def _second_client_order_id(story: Story) -> None:
    story.attempts[1] = _accepted(KEY, "o1", "ooother")
    story.venue_requests.append(_create("ooother"))


def _set(where: Callable[[Story], Json], name: str, value: Any) -> Doctor:
    return lambda story: where(story).__setitem__(name, value)


def _filled(story: Story) -> Json:
    order = story.orders[KEY]
    assert order is not None
    return order


def _resting(story: Story) -> Json:
    order = story.orders[RESTING]
    assert order is not None
    return order


def _book(story: Story) -> Json:
    return story.venue_orders[0]


def _trade(story: Story) -> Json:
    return story.venue_trades[0]


def _ledger_fill(story: Story) -> Json:
    return story.ledger_fills["paper-1"][0]


def _never_placed(story: Story) -> None:
    _filled(story).update(status="not_placed", venue_order_id=None)


DOCTORED: list[tuple[str, Doctor, Kind]] = [
    ("a reply with one byte more", _second_reply_differs, Kind.REPLY_DIFFERS),
    ("a no that became a yes", _denial_becomes_accept, Kind.REPLY_DIFFERS),
    ("a second order id", _second_order_id, Kind.ID_DIFFERS),
    ("the API forgot it", lambda s: s.orders.update({KEY: None}), Kind.LOST),
    ("another quantity shown", _set(_resting, "quantity", "0.002"), Kind.SHOWN_DIFFERS),
    ("another symbol shown", _set(_resting, "symbol", "ETH/USDT"), Kind.SHOWN_DIFFERS),
    ("still accepted", _set(_filled, "status", "accepted"), Kind.NOT_FINAL),
    ("still sending", _set(_filled, "status", "sending"), Kind.NOT_FINAL),
    ("unknown", _set(_filled, "status", "unknown"), Kind.UNKNOWN),
    ("final and not said so", _set(_filled, "final", False), Kind.STATUS),
    ("two creates of one id", lambda s: s.venue_requests.append(_create(FILLED_ID)),
     Kind.DOUBLE_CREATE),
    ("two ids of one key", _second_client_order_id, Kind.DOUBLE_KEY),
    ("a create of nobody", lambda s: s.venue_requests.append(_create("ooghost")),
     Kind.FOREIGN_CREATE),
    ("a create too late", _set(lambda s: s.venue_requests[1], "received_at", SENT_AT_MS + 30_001),
     Kind.LATE),
    ("filled, and not there", lambda s: s.venue_orders.pop(0), Kind.ABSENT),
    ("resting, and not there", lambda s: s.venue_orders.pop(1), Kind.ABSENT),
    ("not placed, and there", _never_placed, Kind.PRESENT),
    ("lapsed, and there", _set(_resting, "status", "lapsed"), Kind.PRESENT),
    ("canceled at the venue", _set(_book, "status", "CANCELED"), Kind.STATUS),
    ("open here, filled there", _set(lambda s: s.venue_orders[1], "status", "FILLED"),
     Kind.STATUS),
    ("another venue order id", _set(_filled, "venue_order_id", "3"), Kind.STATUS),
    ("less filled than said", _set(_book, "executed", "0.0009"), Kind.FILLED_QUANTITY),
    ("another quantity at the venue", _set(_book, "quantity", "0.002"), Kind.TERMS),
    ("the other side at the venue", _set(_book, "side", "SELL"), Kind.TERMS),
    ("another price at the venue", _set(lambda s: s.venue_orders[1], "price", "50001"),
     Kind.TERMS),
    ("another time in force", _set(lambda s: s.venue_orders[1], "time_in_force", "IOC"),
     Kind.TERMS),
    ("a fill not shown", lambda s: s.fills[KEY].clear(), Kind.API_FILLS),
    ("a fill shown at another price", _set(lambda s: s.fills[KEY][0], "price", "60000"),
     Kind.API_FILLS),
    ("a trade not booked", lambda s: s.ledger_fills["paper-1"].clear(), Kind.LEDGER_MISSING),
    ("a trade booked twice", lambda s: s.ledger_fills["paper-1"].append(_ledger_fill(s)),
     Kind.LEDGER_DIFFERS),
    ("a fill of nobody booked", _set(_ledger_fill, "trade_id", "8"), Kind.LEDGER_FOREIGN),
    ("a busted trade stays booked", _set(_trade, "busted", True), Kind.LEDGER_FOREIGN),
    ("booked at another price", _set(_ledger_fill, "price", "60001.01"), Kind.LEDGER_DIFFERS),
    ("booked with another fee", _set(_ledger_fill, "fees", []), Kind.LEDGER_DIFFERS),
    ("a balance off by dust",
     lambda s: s.venue_balances["paper-1"]["BTC"].update(free="1.000000000000000001"),
     Kind.BALANCE),
    ("an asset nobody booked",
     lambda s: s.venue_balances["paper-1"].update(ETH={"free": "1", "locked": "0"}),
     Kind.BALANCE),
    ("an open break", lambda s: s.breaks.append({"account": "paper-1", "type": "QTY"}),
     Kind.BREAK),
    ("a proof off by dust", _set(lambda s: s.proof[0], "proof", "-0.000000000000000001"),
     Kind.PROOF),
    ("a reconciliation that failed",
     lambda s: s.runs.append({"id": "r1", "status": "failed", "runs": []}), Kind.RECONCILIATION),
]  # fmt: skip


@pytest.mark.parametrize(
    ("doctor", "kind"), [pytest.param(d, k, id=name) for name, d, k in DOCTORED]
)
def test_a_doctored_story_is_seen(doctor: Doctor, kind: Kind) -> None:
    story = _clean()
    doctor(story)
    found = {finding.kind for finding in judge(story)}
    assert kind in found, found


def test_every_kind_of_finding_has_a_doctored_story() -> None:
    assert {kind for _, _, kind in DOCTORED} == set(Kind)


def test_others_may_place_where_the_record_is_not_exclusive() -> None:
    story = _clean()
    story.exclusive = False
    story.venue_requests.append(_create("ooghost"))
    assert judge(story) == []


def test_a_float_in_the_story_is_refused() -> None:
    story = _clean()
    _filled(story)["filled_quantity"] = 0.001
    with pytest.raises(AssertionError, match="an amount is a string"):
        judge(story)
