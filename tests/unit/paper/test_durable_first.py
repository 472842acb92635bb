"""Neither an answer nor a stream says anything before its journal record is durable."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orderonce_paper import matching
from orderonce_paper.clock import Clock
from orderonce_paper.faults import Faults
from orderonce_paper.feed import Feed, Subscription, user_topic
from orderonce_paper.keys import Key
from orderonce_paper.lag import BalanceLag
from orderonce_paper.limits import Limits
from orderonce_paper.rest import ROUTES
from orderonce_paper.server import Reply, Request
from orderonce_paper.venue import Call, Venue

from tests.unit.paper.books import ALICE, D, fresh_book, order, place


@dataclass
class SlowJournal:
    """A disk that has not yet said that anything is written."""

    waiting: list[Callable[[], None]] = field(default_factory=list)
    last_request: int = 0

    def append(self, record: dict[str, Any], done: Callable[[], None] | None = None) -> None:
        self.waiting.append(done or (lambda: None))

    def written(self) -> None:
        for done in self.waiting:
            done()
        self.waiting.clear()


@dataclass
class Ear:
    speaks_http: bool = False
    heard: list[str] = field(default_factory=list)

    def reply(self, reply: Reply) -> None:
        self.heard.append("answer")

    half = reset = hang = reply  # type: ignore[assignment]


def venue_with(journal: SlowJournal, faults: Faults, ear: Ear) -> Venue:
    venue = Venue(
        book=fresh_book(), journal=journal, clock=Clock(),  # type: ignore[arg-type]
        limits=Limits(False, 1, 1), faults=faults, feed=Feed(faults), lag=BalanceLag(),
        keys={}, routes=ROUTES, engine_delay_ms=0, max_open_orders=9, seed=1,
        ids=random.SystemRandom(),
    )  # fmt: skip
    topic = user_topic(ALICE)
    venue.feed.subscribe(Subscription(topic, lambda _: ear.heard.append("event"), lambda: None))
    return venue


def test_an_order_is_answered_and_told_when_it_is_written() -> None:
    journal, ear = SlowJournal(), Ear()
    venue = venue_with(journal, Faults(), ear)
    key = "k" * 64
    venue.keys[key] = Key(ALICE, 1, b"s", True, key)
    call = Call(Request("POST", "/api/v3/order"), ear, 1)
    call.params = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    call.params["timestamp"] = str(venue.clock.now_ms())
    call.given_key, call.by_session, call.route = key, True, ROUTES["POST", "/api/v3/order"]
    venue.enter(call)
    assert venue.book.markets["BTCUSDT"].trades, "the book has moved on"
    assert ear.heard == []
    journal.written()
    assert ear.heard == ["answer", "event", "event", "event"]


def test_a_move_of_the_market_is_told_when_it_is_written() -> None:
    journal, ear = SlowJournal(), Ear()
    venue = venue_with(journal, Faults(), ear)
    place(venue.book, order("BUY", "0.01", "59900"))
    events = matching.quote(venue.book, "BTCUSDT", D("59000"), D("59100"), 2)
    venue.journal_control(events, {"route": "price"})
    assert ear.heard == []
    journal.written()
    assert ear.heard == ["event", "event"], "the fill and the balances behind it"
