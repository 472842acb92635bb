"""Model 6: halts. A CAS against a halt as transactions of two steps each; and cancel-all as a
watermark."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.engine import put
from tests.model.words import CANCELED, CLAIMED, NO_ROW, SENDING

IN_KAFKA = "k"
SENT = "v"

# Where the halt's transaction is.
NO_HALT, UNDER_WAY, REPLIED, FORGOTTEN = range(4)


class HaltState(NamedTuple):
    orders: str
    reading: tuple[
        int, ...
    ]  # the order's CAS has read "not halted" (and holds FOR SHARE where there are locks)
    halt: int
    listed: tuple[int, ...]  # what the halt's reply says is on the wire
    oops: str


HaltStep = tuple[str, HaltState]


@dataclass(slots=True)
class Halt:
    """Two orders of one account. After the halt's reply nothing leaves but what it lists."""

    lock: bool = True  # the CAS takes FOR SHARE on the control row, the halt excludes it
    switch_halts: bool = True  # a fail-over halts every account, since it may have forgotten a halt
    switch: bool = True

    def init(self) -> HaltState:
        return HaltState(NO_ROW * 2, (0, 0), NO_HALT, (), "")

    def canon(self, s: HaltState) -> HaltState:
        return s

    def broken(self, s: HaltState) -> str | None:
        return s.oops

    def settled(self, s: HaltState) -> bool:
        return True

    def steps(self, s: HaltState) -> Iterator[HaltStep]:
        for j in (0, 1):
            yield from self._order(s, j)
        if s.halt == NO_HALT and not (self.lock and any(s.reading)):
            yield "halt takes the control row", s._replace(halt=UNDER_WAY)
        if s.halt == UNDER_WAY:
            listed = tuple(j for j in (0, 1) if s.orders[j] in (SENDING, SENT))
            replied = s._replace(halt=REPLIED, listed=listed)
            yield "halt commits and replies with what is on the wire", replied
        if s.halt == REPLIED and self.switch:
            yield "!fail-over forgets the halt", s._replace(halt=FORGOTTEN, reading=(0, 0))

    def _order(self, s: HaltState, j: int) -> Iterator[HaltStep]:
        order = s.orders[j]
        if order == NO_ROW:
            yield f"order {j + 1} claimed", _moves(s, j, CLAIMED)
        if order == CLAIMED and not s.reading[j] and self._reads_not_halted(s):
            reading = s._replace(reading=put(s.reading, j, 1))
            yield f"CAS of {j + 1} reads the control row: not halted", reading
        if s.reading[j]:
            won = _moves(s, j, SENDING)._replace(reading=put(s.reading, j, 0))
            yield f"CAS of {j + 1} commits", won
        if order == SENDING:
            unlisted = s.halt >= REPLIED and j not in s.listed
            oops = f"order {j + 1} left after the halt's reply and was not in its list"
            left = _moves(s, j, SENT)._replace(oops=oops if unlisted else "")
            yield f"order {j + 1} leaves", left

    def _reads_not_halted(self, s: HaltState) -> bool:
        if s.halt == UNDER_WAY:
            return not self.lock
        if s.halt == FORGOTTEN:
            return not self.switch_halts
        return s.halt == NO_HALT


def _moves(s: HaltState, j: int, order: str) -> HaltState:
    return s._replace(orders=s.orders[:j] + order + s.orders[j + 1 :])


class Watermark(NamedTuple):
    mark: int
    older: tuple[int, ...]  # the orders that it is about


class CancelAllState(NamedTuple):
    orders: str
    born: tuple[int, ...]
    now: int  # the database's clock
    sequence: int  # of acceptances
    clock_steps: int
    watermark: Watermark | None
    oops: str


CancelAllStep = tuple[str, CancelAllState]


@dataclass(slots=True)
class CancelAll:
    """An order accepted before a cancel-all, even one that is still in Kafka, is never sent after
    it."""

    by: str = "sequence"  # what the watermark is made of: sequence | time
    checked: str = "cas"  # the CAS asks for it | it is applied once, to the rows that it finds

    def init(self) -> CancelAllState:
        return CancelAllState(NO_ROW * 2, (0, 0), 5, 1, 1, None, "")

    def canon(self, s: CancelAllState) -> CancelAllState:
        return s

    def broken(self, s: CancelAllState) -> str | None:
        return s.oops

    def settled(self, s: CancelAllState) -> bool:
        return True

    def steps(self, s: CancelAllState) -> Iterator[CancelAllStep]:
        if s.clock_steps:
            yield "!database clock steps back", s._replace(now=s.now - 3, clock_steps=0)
        for j in (0, 1):
            if s.orders[j] not in (SENT, CANCELED):
                yield self._order(s, j)
        if s.watermark is None:
            yield self._cancel_all(s)

    def _present(self, s: CancelAllState) -> int:
        return s.sequence if self.by == "sequence" else s.now

    def _order(self, s: CancelAllState, j: int) -> CancelAllStep:
        order, name = s.orders[j], f"order {j + 1}"
        if order == NO_ROW:
            accepted = _turns(s, j, IN_KAFKA)._replace(
                born=put(s.born, j, self._present(s)), sequence=s.sequence + 1, now=s.now + 1
            )
            return f"{name} accepted", accepted
        if order == IN_KAFKA:
            return f"{name} claimed", _turns(s, j, CLAIMED)
        under = s.watermark is not None and s.born[j] <= s.watermark.mark
        if under and self.checked == "cas":
            return f"{name} CANCELED unsent", _turns(s, j, CANCELED)
        late = s.watermark is not None and j in s.watermark.older
        oops = "sent after the cancel-all that came after its acceptance" if late else ""
        return f"{name} sent", _turns(s, j, SENT)._replace(oops=oops)

    def _cancel_all(self, s: CancelAllState) -> CancelAllStep:
        older = tuple(j for j in (0, 1) if s.orders[j] in (IN_KAFKA, CLAIMED))
        orders = s.orders.replace(CLAIMED, CANCELED) if self.checked == "once" else s.orders
        watermark = Watermark(self._present(s), older)
        ended = s._replace(
            watermark=watermark, orders=orders, sequence=s.sequence + 1, now=s.now + 1
        )
        return "cancel-all", ended


def _turns(s: CancelAllState, j: int, order: str) -> CancelAllState:
    return s._replace(orders=s.orders[:j] + order + s.orders[j + 1 :])
