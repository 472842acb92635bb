"""The hub of the streams: who listens to what, and in which order and number they are told.

Theory of operation. A change of the book is noted when it is applied (so that each report shows the
order as that change left it) and published when its journal record is durable: a stream never says
what a kill could undo. Records become durable in order, so each account hears its events in the
order in which they happened, unless a fault that was asked for says otherwise. Nothing is kept for
who was not there: a connection that comes back reads the gap by REST, as at the venue.

Faults on fills are decided here, once per order and change: told twice, late, or out of order.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import orjson

from orderonce_paper import reports, stream_shapes
from orderonce_paper.faults import Fault, Faults, Filled
from orderonce_paper.model import Book, Event, Traded
from orderonce_paper.reports import Notice, OrderKey


class Cuttable(Protocol):
    def reset(self) -> None: ...


Deliver = Callable[[bytes], None]
Cut = Callable[[], None]


def user_topic(account: str) -> str:
    return f"user:{account}"


def market_topic(name: str) -> str:
    """Of a stream's name, which comes from outside: it must never name an account's topic."""
    return f"market:{name}"


@dataclass(eq=False, slots=True)
class Subscription:
    """`deliver` gets the bare payload as JSON; `cut` resets the connection under it."""

    topic: str
    deliver: Deliver
    cut: Cut


@dataclass(slots=True)
class Pushed:
    """What one change of the book has to tell, waiting for its journal record."""

    notices: list[Notice] = field(default_factory=list)
    plans: dict[OrderKey, list[Fault]] = field(default_factory=dict)
    market: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Held:
    """Reports of one order that wait for what the fault says, or for it to be cleared."""

    fault: Fault
    timer: asyncio.TimerHandle
    notices: list[Notice] = field(default_factory=list)


@dataclass(slots=True)
class Feed:
    faults: Faults
    topics: dict[str, list[Subscription]] = field(default_factory=dict)
    sockets: set[Cuttable] = field(default_factory=set)  # every open WebSocket, listening or not
    unseen: set[tuple[str, str, int]] = field(default_factory=set)  # account, symbol, trade id
    closed_until: float = 0.0  # no new WebSocket before this time of the loop
    _held: dict[OrderKey, Held] = field(default_factory=dict)
    _best: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def subscribe(self, subscription: Subscription) -> None:
        self.topics.setdefault(subscription.topic, []).append(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        found = self.topics.get(subscription.topic, [])
        if subscription in found:
            found.remove(subscription)
        if not found:
            self.topics.pop(subscription.topic, None)

    def note(self, pushed: Pushed, book: Book, event: Event, now_ms: int) -> None:
        """Write down what `event`, just applied, has to tell."""
        for notice in reports.notices(book, event, now_ms):
            self._plan(pushed, notice)
            pushed.notices.append(notice)
        self._note_market(pushed, book, event, now_ms)

    def publish(self, pushed: Pushed) -> None:
        for notice in pushed.notices:
            plan = pushed.plans.get(notice.order, []) if notice.order else []
            for fault in plan:
                self._hold(notice, fault)
            twice = notice.trade_id and any(fault.name == "fill_twice" for fault in plan)
            held = self._held.get(notice.order) if notice.order else None
            for _ in range(2 if twice else 1):
                if held is not None:
                    held.notices.append(notice)
                else:
                    self._tell(notice)
        for topic, body in pushed.market:
            self.send(topic, body)

    def send(self, topic: str, body: bytes) -> None:
        for subscription in list(self.topics.get(topic, ())):
            subscription.deliver(body)

    def cut(self, account: str | None, closed_s: float) -> int:
        """Reset every WebSocket, or those that listen to one account; how many they were."""
        if closed_s:
            self.closed_until = asyncio.get_running_loop().time() + closed_s
        if account is None:
            found = [socket.reset for socket in self.sockets]
        else:
            found = [subscription.cut for subscription in self.topics.get(user_topic(account), ())]
        for cut in list(found):
            cut()
        return len(found)

    def _plan(self, pushed: Pushed, notice: Notice) -> None:
        """Which faults the fills of this order meet; asked once per order and change."""
        if not notice.trade_id or notice.order is None or not self.faults.armed:
            return
        account, symbol, _ = notice.order
        plan = pushed.plans.get(notice.order)
        if plan is None:
            filled = Filled(account, symbol, notice.client_id, notice.side)
            plan = pushed.plans[notice.order] = self.faults.take_fill(filled)
        if any(fault.name == "fill_late" for fault in plan):
            self.unseen.add((account, symbol, notice.trade_id))

    def _hold(self, notice: Notice, fault: Fault) -> None:
        order = notice.order
        assert order is not None, "only an order's reports are held"
        late = fault.name == "fill_late" and notice.trade_id
        if order in self._held or not (late or fault.name == "fill_out_of_order"):
            return
        release = partial(self._release, order)
        timer = asyncio.get_running_loop().call_later(fault.own["seconds"], release)
        self._held[order] = Held(fault, timer)

    def release_cleared(self) -> None:
        """What a fault held that is armed no more leaves now."""
        for order, held in list(self._held.items()):
            if held.fault not in self.faults.armed:
                self._release(order)

    def _release(self, order: OrderKey) -> None:
        held = self._held.pop(order)
        held.timer.cancel()
        notices = held.notices
        if held.fault.name == "fill_out_of_order":
            notices = out_of_order(notices, held.fault.source)
        for notice in notices:
            self.unseen.discard((order[0], order[1], notice.trade_id))
            self._tell(notice)

    def _tell(self, notice: Notice) -> None:
        topic = user_topic(notice.account)
        if topic not in self.topics:
            return
        if self.faults.armed and (drop := self.faults.take_drop(notice.account)) is not None:
            self.cut(notice.account, drop.own["seconds"])
            return
        self.send(topic, orjson.dumps(notice.payload))

    def _note_market(self, pushed: Pushed, book: Book, event: Event, now_ms: int) -> None:
        symbol = getattr(event, "symbol", None)
        if symbol is None:
            return
        topic = market_topic(f"{symbol.lower()}@trade")
        if isinstance(event, Traded) and topic in self.topics:
            payload = stream_shapes.trade(event, now_ms)
            pushed.market.append((topic, orjson.dumps(payload)))
        topic = market_topic(f"{symbol.lower()}@bookTicker")
        if topic in self.topics:
            best = stream_shapes.book_ticker(book.markets[symbol])
            seen = (best["b"], best["B"], best["a"], best["A"])
            if self._best.get(symbol) != seen:
                self._best[symbol] = seen
                pushed.market.append((topic, orjson.dumps(best)))


def out_of_order(notices: list[Notice], source: random.Random) -> list[Notice]:
    """The same notices, never in the order in which they happened (a single one has no other)."""
    if len(notices) < 2:
        return notices
    mixed = list(notices)
    source.shuffle(mixed)
    return mixed if mixed != notices else notices[::-1]
