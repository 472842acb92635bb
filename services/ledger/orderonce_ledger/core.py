"""PURE: a fill or an opening balance -> journal entries; journals -> a chain of hashes.

Theory of operation. An entry moves one amount of one asset from a credited account to a debited
one, so that no journal can be unbalanced. A fill goes through the clearing account `trading`, per
asset; fees and rebates are entries of their own, in their own asset, never netted. What identifies
a trade is its natural key; what it says is its payload hash, over normalised economics and never
over raw bytes, since the same trade arrives in several dialects. The chain's hash covers the whole
journal by names and exact amounts; Postgres computes it again and refuses another one.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from json.encoder import encode_basestring as _quoted
from uuid import UUID

from orderonce_shared.domain.money import EXACT, add, canonical_amount, render_amount
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import VenueFill

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZERO = Decimal(0)

_MILLISECOND, _MICROSECOND = timedelta(milliseconds=1), timedelta(microseconds=1)

# The class of each account by the first word of its path: asset, equity (clearing, opening),
# expense, income.
CLASSES = {"venue": "A", "trading": "E", "opening": "E", "fees": "X", "rebates": "I"}

Amounts = Mapping[str, Decimal]  # asset -> signed amount


class Unbookable(ValueError):
    """The record is well formed, but no journal can say it: a trade of nothing, a symbol without
    two assets."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade of one account at its venue, whoever reported it."""

    venue: str
    account: str
    fill: VenueFill


@dataclass(frozen=True, slots=True)
class Ours:
    """Which order of ours a trade belongs to."""

    order_id: UUID
    client: str
    client_order_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """`amount` of `asset` moves from the account `cr` to the account `dr`."""

    dr: str
    cr: str
    asset: str
    amount: Decimal
    role: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A journal that has no place in a chain yet."""

    kind: str
    source: str
    source_key: str
    payload_hash: bytes
    event_at: datetime
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Journal:
    shard: int
    seq: int
    draft: Draft
    prev_hash: bytes
    hash: bytes


def assets_of(symbol: str) -> tuple[str, str]:
    """`BTC/USDT` -> (base, quote); raises Unbookable."""
    base, slash, quote = symbol.partition("/")
    if not (slash and base and quote) or base == quote:
        raise Unbookable(f"not a symbol of two assets: {symbol}")
    return base, quote


def natural_key(trade: Trade) -> str:
    """What makes a trade this one: side and order id tell the two halves of a self-trade apart."""
    fill = trade.fill
    return _array(
        trade.venue,
        trade.account,
        fill.symbol,
        fill.trade_id,
        fill.venue_order_id,
        fill.side.value,
    )


def fees_of(fill: VenueFill) -> dict[str, Decimal]:
    """Asset -> what was paid (negative: received), assets that net to nothing left out."""
    total: dict[str, Decimal] = {}
    for fee in fill.fees:
        total[fee.asset] = add(total.get(fee.asset, ZERO), fee.amount)
    return {asset: amount for asset, amount in total.items() if amount != 0}


def payload_hash(trade: Trade, key: str | None = None) -> bytes:
    """SHA-256 over ids, side, quantity, price, fees (sorted) and the time in milliseconds,
    normalised. Not in it: the cost (the product of two members, which venues round as they like),
    maker or taker, and the raw bytes. `key`: its natural key, if that is at hand."""
    fill = trade.fill
    fees = sorted((fee.asset, canonical_amount(fee.amount)) for fee in fill.fees if fee.amount != 0)
    parts = (
        '"orderonce.trade.v1"',
        _quoted(key or natural_key(trade)),
        f'"{canonical_amount(fill.quantity)}"',
        f'"{canonical_amount(fill.price)}"',
        f"[{', '.join([_array(*fee) for fee in fees])}]",
        f'"{(fill.traded_at - EPOCH) // _MILLISECOND}"',
    )
    return hashlib.sha256(f"[{', '.join(parts)}]".encode()).digest()


def effect(fill: VenueFill) -> dict[str, Decimal]:
    """What a trade does to the balances at the venue, by asset; zeros left out."""
    base, quote = assets_of(fill.symbol)
    bought = fill.side is Side.BUY
    moved = {
        base: fill.quantity if bought else fill.quantity.copy_negate(),
        quote: fill.cost.copy_negate() if bought else fill.cost,
    }
    return minus(moved, fees_of(fill))


def plus(*parts: Amounts) -> dict[str, Decimal]:
    """The exact sum by asset; zeros left out."""
    total: dict[str, Decimal] = {}
    for part in parts:
        for asset, amount in part.items():
            total[asset] = add(total.get(asset, ZERO), amount)
    return {asset: amount for asset, amount in total.items() if amount != 0}


def minus(left: Amounts, right: Amounts) -> dict[str, Decimal]:
    """left - right, exact, by asset; zeros left out. A unary minus would round to the default
    context's 28 digits."""
    return plus(left, {asset: amount.copy_negate() for asset, amount in right.items()})


def wallet(venue: str, account: str) -> str:
    """The path of the account's spot balance at its venue."""
    return f"venue:{venue}:{account}:spot"


def draft_fill(trade: Trade, key: str, digest: bytes) -> Draft:
    """A buy, fee in a third asset: venue <- trading base, trading <- venue quote, fees <- venue
    fee. A negative fee is a rebate: venue <- rebates. Raises Unbookable."""
    fill = trade.fill
    base, quote = assets_of(fill.symbol)
    if fill.quantity <= 0 or fill.price <= 0 or fill.cost < 0:
        raise Unbookable("a trade has a quantity and a price above zero")
    own = f"{trade.venue}:{trade.account}"
    venue, trading = wallet(trade.venue, trade.account), f"trading:{own}"
    got, gave = (base, quote) if fill.side is Side.BUY else (quote, base)
    amounts = {base: (fill.quantity, "base"), quote: (fill.cost, "quote")}
    lines = [Entry(venue, trading, got, *amounts[got]), Entry(trading, venue, gave, *amounts[gave])]
    for fee in fill.fees:
        if fee.amount > 0:
            lines.append(Entry(f"fees:{own}", venue, fee.asset, fee.amount, "fee"))
        else:
            lines.append(
                Entry(venue, f"rebates:{own}", fee.asset, fee.amount.copy_negate(), "rebate")
            )
    entries = tuple(line for line in lines if line.amount != 0)  # a cost may round to nothing
    assert entries, "a trade moves at least its base asset"
    return Draft("fill", "fill", key, digest, fill.traded_at, entries)


def draft_opening(
    venue: str, account: str, balances: Amounts, taken_at: datetime
) -> tuple[Draft, ...]:
    """One journal per asset that is held; by asset, so that the same balances make the same
    chain."""
    drafts = []
    for asset, amount in sorted(balances.items()):
        if amount < 0:
            raise Unbookable(f"{account} owes {asset}: not a spot balance")
        if amount == 0:
            continue
        key = _array(venue, account, asset)
        said = _array("orderonce.opening.v1", key, canonical_amount(amount), _micros(taken_at))
        entry = Entry(
            wallet(venue, account), f"opening:{venue}:{account}", asset, amount, "opening"
        )
        digest = hashlib.sha256(said.encode()).digest()
        drafts.append(Draft("opening", "opening", key, digest, taken_at, (entry,)))
    return tuple(drafts)


class Ruling(StrEnum):
    """What becomes of a record of a trade that was not known before."""

    BOOK = "book"
    COVERED = "covered"  # inside the opening balances: evidence, never a journal
    WAIT = "wait"  # the account or its symbol is not opened yet
    REPEAT = "repeat"  # booked already, in the same words
    AMENDED = "amended"  # booked already, in other words: both are kept, and a break says so


def rule(trade: Trade, digest: bytes, booked: bytes | None, opening: int | None) -> Ruling:
    """`booked`: the hash under which its natural key is in the books. `opening`: the last trade
    inside the opening balances of its symbol, None while that is not known. Raises Unbookable for
    an id that cannot be ordered."""
    if booked is not None:
        return Ruling.REPEAT if booked == digest else Ruling.AMENDED
    if opening is None:
        return Ruling.WAIT
    return Ruling.COVERED if trade_number(trade.fill) <= opening else Ruling.BOOK


def trade_number(fill: VenueFill) -> int:
    """The trade id as a number: ids of one symbol rise with time at the venues that we read."""
    if not (fill.trade_id.isascii() and fill.trade_id.isdigit() and len(fill.trade_id) <= 18):
        raise Unbookable(f"a trade id that is not a number: {fill.trade_id[:40]!r}")
    return int(fill.trade_id)


def genesis(shard: int, account: str) -> bytes:
    """The previous hash of a shard's first journal."""
    said = _array("orderonce.ledger.v1", str(shard), account)
    return hashlib.sha256(said.encode()).digest()


def preimage(shard: int, seq: int, draft: Draft, reverses: str = "") -> str:
    """The journal as a JSON array of strings, spaced as Postgres writes jsonb: Postgres computes
    the same text."""
    entries = [
        f'["{line}", {_quoted(entry.dr)}, {_quoted(entry.cr)}, {_quoted(entry.asset)},'
        f' "{render_amount(entry.amount)}", {_quoted(entry.role)}]'
        for line, entry in enumerate(draft.entries, start=1)
    ]
    return (
        f'["orderonce.journal.v1", "{shard}", "{seq}", {_quoted(draft.kind)},'
        f" {_quoted(draft.source)}, {_quoted(draft.source_key)},"
        f' "{draft.payload_hash.hex()}", "{_micros(draft.event_at)}", {_quoted(reverses)},'
        f" [{', '.join(entries)}]]"
    )


def chain(shard: int, seq: int, head: bytes, drafts: Iterable[Draft]) -> list[Journal]:
    """The journals that follow the head (seq, hash) of a shard, in the order given."""
    journals: list[Journal] = []
    for draft in drafts:
        seq += 1
        digest = hashlib.sha256(head + preimage(shard, seq, draft).encode()).digest()
        journals.append(Journal(shard, seq, draft, head, digest))
        head = digest
    return journals


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    found = ZERO
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def _micros(moment: datetime) -> str:
    return str((moment - EPOCH) // _MICROSECOND)


def _array(*strings: str) -> str:
    """A JSON array of strings: spaced as Postgres writes one, and nothing escaped that Postgres
    does not escape."""
    return f"[{', '.join(map(_quoted, strings))}]"
