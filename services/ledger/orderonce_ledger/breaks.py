"""PURE: the venue's trades and the ledger's -> matches, breaks, and what is still on its way.

Theory of operation. Both lists are joined both ways on the natural key; nothing is matched by
likeness, and quantity, price, cost and fees must be equal to the last digit. Every difference
becomes a break with a type, and with the effect that it has on the balances (venue minus ledger, by
asset): so the sum of the effects explains the difference of the balances exactly, or the proof is
not zero. The effect of a trade that differs twice (QTY and PRICE) is carried by the first break,
once. A difference that is younger than the grace is on its way and no break. The result does not
depend on the order of either list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from orderonce_shared.domain.money import canonical_amount
from orderonce_shared.domain.venue import VenueFill

from orderonce_ledger.core import ZERO, Amounts, assets_of, effect, fees_of, minus, plus, total


class BreakType(StrEnum):
    MISSING_IN_LEDGER = "MISSING_IN_LEDGER"
    MISSING_AT_VENUE = "MISSING_AT_VENUE"
    QTY = "QTY"
    PRICE = "PRICE"
    FEE_AMOUNT = "FEE_AMOUNT"
    FEE_ASSET = "FEE_ASSET"
    DUPLICATE_AT_VENUE = "DUPLICATE_AT_VENUE"
    BALANCE = "BALANCE"
    AMENDED = "AMENDED"


class BreakStatus(StrEnum):
    OPEN = "open"
    AUTO_RESOLVED = "auto_resolved"


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One row of the venue's statement."""

    key: str
    digest: bytes
    fill: VenueFill


@dataclass(frozen=True, slots=True)
class LedgerTrade:
    """One booked fill with its journal."""

    key: str
    digest: bytes
    fill: VenueFill
    shard: int
    seq: int


@dataclass(frozen=True, slots=True)
class Break:
    """A difference. `effect`: venue minus ledger, by asset; empty where no record backs one."""

    type: BreakType
    key: str
    symbol: str | None
    effect: Amounts
    venue: VenueTrade | None = None
    ledger: LedgerTrade | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    venue: VenueTrade
    ledger: LedgerTrade


@dataclass(frozen=True, slots=True)
class Comparison:
    matches: tuple[Match, ...]
    breaks: tuple[Break, ...]
    in_flight: Amounts


@dataclass(frozen=True, slots=True)
class ProofLine:
    """One asset of one account. `explained`: open breaks that a record backs; `in_flight`: trades
    on their way."""

    asset: str
    venue: Decimal
    ledger: Decimal
    explained: Decimal
    in_flight: Decimal

    @property
    def proof(self) -> Decimal:
        gone = (self.ledger, self.explained, self.in_flight)
        return total((self.venue, *(amount.copy_negate() for amount in gone)))


def compare(
    venue: Iterable[VenueTrade], ledger: Iterable[LedgerTrade], *, young_since: datetime
) -> Comparison:
    """`young_since`, on the venue's clock: a one-sided trade at or after this moment is in
    flight."""
    at_venue = _grouped(venue)
    in_ledger = {trade.key: trade for trade in ledger}
    matches: list[Match] = []
    breaks: list[Break] = []
    flying: list[Amounts] = []
    for key in sorted(at_venue.keys() | in_ledger.keys()):
        said, booked = at_venue.get(key, ()), in_ledger.get(key)
        if len(said) > 1:
            note = f"{len(said)} rows"
            breaks.append(
                Break(
                    BreakType.DUPLICATE_AT_VENUE,
                    key,
                    said[0].fill.symbol,
                    {},
                    said[0],
                    booked,
                    note,
                )
            )
        if booked is None:
            _one_sided(BreakType.MISSING_IN_LEDGER, key, said[0], young_since, breaks, flying)
        elif not said:
            _one_sided(BreakType.MISSING_AT_VENUE, key, booked, young_since, breaks, flying)
        else:
            chosen = next((one for one in said if one.digest == booked.digest), said[0])
            found = _differences(chosen, booked)
            breaks.extend(found)
            if not found:
                matches.append(Match(chosen, booked))
    return Comparison(tuple(matches), tuple(breaks), plus(*flying))


def _grouped(venue: Iterable[VenueTrade]) -> dict[str, Sequence[VenueTrade]]:
    groups: dict[str, list[VenueTrade]] = {}
    for trade in venue:
        groups.setdefault(trade.key, []).append(trade)
    return {key: sorted(group, key=lambda one: one.digest) for key, group in groups.items()}


OneSide = TypeVar("OneSide", VenueTrade, LedgerTrade)


def _one_sided(
    type_: BreakType,
    key: str,
    trade: OneSide,
    young_since: datetime,
    breaks: list[Break],
    flying: list[Amounts],
) -> None:
    """A trade that only one side knows: on its way while it is young, a break after that."""
    moved = effect(trade.fill)
    if isinstance(trade, LedgerTrade):
        moved = minus({}, moved)
    if trade.fill.traded_at >= young_since:
        flying.append(moved)
    elif isinstance(trade, LedgerTrade):
        breaks.append(Break(type_, key, trade.fill.symbol, moved, ledger=trade))
    else:
        breaks.append(Break(type_, key, trade.fill.symbol, moved, venue=trade))


def _differences(said: VenueTrade, booked: LedgerTrade) -> list[Break]:
    """QTY and PRICE speak of the trade, FEE_ASSET and FEE_AMOUNT of its fees; the first of each
    pair has the effect."""
    theirs, ours = said.fill, booked.fill
    if said.digest == booked.digest and theirs.cost == ours.cost:
        return []  # equal hashes are equal economics; only the cost is not in them
    found: list[Break] = []

    def note(type_: BreakType, moved: Amounts, words: str) -> None:
        found.append(Break(type_, said.key, theirs.symbol, moved, said, booked, words))

    base, quote = assets_of(theirs.symbol)
    fee_gap = minus(fees_of(ours), fees_of(theirs))
    trade_gap = minus(minus(effect(theirs), effect(ours)), fee_gap)
    if theirs.quantity != ours.quantity:
        note(BreakType.QTY, trade_gap, _words(base, theirs, ours, "quantity"))
    if theirs.price != ours.price:
        moved = {} if found else trade_gap
        note(BreakType.PRICE, moved, _words(quote, theirs, ours, "price"))
    if trade_gap and not found:
        note(BreakType.PRICE, trade_gap, _words(quote, theirs, ours, "cost"))
    if fees_of(theirs).keys() != fees_of(ours).keys():
        note(BreakType.FEE_ASSET, fee_gap, "fees in other assets")
    elif fee_gap:
        note(BreakType.FEE_AMOUNT, fee_gap, "fees of another amount")
    return found


def _words(asset: str, theirs: VenueFill, ours: VenueFill, field: str) -> str:
    said, booked = (canonical_amount(getattr(fill, field)) for fill in (theirs, ours))
    return f"{field} at the venue {said}, in the ledger {booked} {asset}"


def prove(
    venue: Amounts, ledger: Amounts, explained: Amounts, in_flight: Amounts
) -> tuple[ProofLine, ...]:
    """One line per asset that any side knows, by asset. Zero is the only good proof."""
    assets = sorted(venue.keys() | ledger.keys() | explained.keys() | in_flight.keys())
    return tuple(
        ProofLine(
            asset,
            venue.get(asset, ZERO),
            ledger.get(asset, ZERO),
            explained.get(asset, ZERO),
            in_flight.get(asset, ZERO),
        )
        for asset in assets
    )
