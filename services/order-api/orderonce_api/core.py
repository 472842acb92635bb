"""PURE: what a request is (its fingerprint), what an existing key means for it, and whether a new
one may go out.

Theory: a key is decided once. The fingerprint is taken over what was asked for, after parsing:
amounts in one notation, static defaults filled in, nothing that depends on the moment; so a bot
that retries with "1.0" for "1" meets its own first request. Checks run in the order of
`DenialCode` and the first that applies is the answer, so that the same order under the same facts
is always denied for the same reason.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import assert_never

from orderonce_shared.domain.money import EXACT, canonical_amount, is_multiple, multiply
from orderonce_shared.domain.order import Instrument, OrderTerms, OrderType, TimeInForce
from orderonce_shared.domain.reasons import DenialCode

FINGERPRINT_VERSION = 1  # rises with every change of `canonical_*`; rows keep theirs
REFERENCE_LIFE = timedelta(seconds=60)  # an older price says nothing about a market order

Canonical = Mapping[str, str | bool | None]

# Made once: json.dumps makes an encoder per call.
_sorted_text = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Stored:
    """A key that was decided before, and the bytes that were answered."""

    command_id: object
    order_id: object
    kind: str
    fingerprint: bytes
    fingerprint_version: int
    canonical: str
    status: int
    body: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Replay:
    """The same request again: the same bytes again."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another request under a used key; `differs` names the fields."""

    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expired:
    """The key's life is over: it never executes again, whatever comes with it."""


@dataclass(frozen=True, slots=True)
class FromAnotherVersion:
    """Fingerprinted by a version of this service that is not known here: a rolling upgrade is
    under way.
    """


Meaning = Replay | Conflict | Expired | FromAnotherVersion


def canonical_place(
    terms: OrderTerms, expires_at: str | None, client_tag: str | None
) -> dict[str, str | bool | None]:
    """What was asked for, in one notation. `expires_at` is None when the sender left it out: the
    default depends on the moment and so is no part of what was asked.
    """
    asked: dict[str, str | bool | None] = {
        "account": terms.account,
        "symbol": terms.symbol,
        "side": terms.side.value,
        "type": terms.type.value,
        "quantity": None if terms.quantity is None else canonical_amount(terms.quantity),
        "price": None if terms.price is None else canonical_amount(terms.price),
        "time_in_force": terms.time_in_force.value,
        "post_only": terms.post_only,
        "expires_at": expires_at,
        "client_tag": client_tag,
    }
    if terms.quote_quantity is not None:  # a member of its own: the text of all others stays
        asked["quote_quantity"] = canonical_amount(terms.quote_quantity)
    return asked


def canonical_text(method: str, route: str, body: Canonical) -> str:
    """The whole request as one JSON text, members sorted."""
    return _sorted_text({"method": method, "route": route, "body": dict(body)})


def fingerprint(account: str, canonical: str) -> bytes:
    """SHA-256 over (version, account, canonical text), as a JSON array so that no separator is
    ambiguous.
    """
    preimage = _sorted_text([FINGERPRINT_VERSION, account, canonical])
    return hashlib.sha256(preimage.encode()).digest()


def differing_fields(first: str, second: str) -> tuple[str, ...]:
    """Names of the members in which two canonical texts differ; `command` when they are not the
    same command.
    """
    one, two = json.loads(first), json.loads(second)
    if (one["method"], one["route"]) != (two["method"], two["route"]):
        return ("command",)
    names = sorted(one["body"].keys() | two["body"].keys())
    return tuple(
        name for name in names if one["body"].get(name, _MISSING) != two["body"].get(name, _MISSING)
    )


_MISSING = object()


def meaning_of(
    stored: Stored, print_: bytes, canonical: str, *, now: datetime, life: timedelta
) -> Meaning:
    """What an existing key means for this request. Asked before any check."""
    if stored.created_at + life <= now:
        return Expired()
    if stored.fingerprint_version != FINGERPRINT_VERSION:
        return FromAnotherVersion()
    if stored.fingerprint == print_:
        return Replay()
    return Conflict(differing_fields(stored.canonical, canonical))


@dataclass(frozen=True, slots=True)
class Defaults:
    """How long an order may wait for its sending when its sender does not say."""

    fast: timedelta  # market, ioc, fok: worth something now only
    slow: timedelta

    def deadline(self, terms: OrderTerms, now: datetime) -> datetime:
        fast = terms.type is OrderType.MARKET or terms.time_in_force is not TimeInForce.GTC
        return now + (self.fast if fast else self.slow)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the world is like at the moment of the decision. `instrument` is None when the venue
    does not list it.
    """

    now: datetime
    halted: bool
    venue_loaded: bool
    instrument: Instrument | None


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits of the asking key; None is no limit."""

    quantity: Decimal | None = None
    notional: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    pass


@dataclass(frozen=True, slots=True)
class Deny:
    code: DenialCode


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Something needed for the decision is missing: no answer, and the key stays free."""

    detail: str


Verdict = Pass | Deny | CannotTell


def check(terms: OrderTerms, deadline: datetime, facts: Facts, caps: Caps) -> Verdict:
    """The pre-trade checks in the order of `DenialCode` (key-revoked is said by authentication
    here).
    """
    rules = facts.instrument
    if rules is None:
        if facts.venue_loaded:
            return Deny(DenialCode.SYMBOL_UNKNOWN)
        return CannotTell("the venue's instruments are not loaded yet")
    if deadline <= facts.now:
        return Deny(DenialCode.EXPIRES_IN_PAST)
    if facts.halted:
        return Deny(DenialCode.ACCOUNT_HALTED)
    broken = _broken_rule(terms, rules)
    if broken is not None:
        return Deny(broken)
    return _check_notional(terms, rules, facts.now, caps)


def _broken_rule(terms: OrderTerms, rules: Instrument) -> DenialCode | None:
    if terms.quantity is None:
        return _broken_quote_rule(terms, rules)
    if not is_multiple(terms.quantity, rules.step_size):
        return DenialCode.QUANTITY_STEP
    if terms.quantity < rules.min_quantity:
        return DenialCode.QUANTITY_MIN
    if terms.quantity > rules.max_quantity:
        return DenialCode.QUANTITY_MAX
    if terms.price is not None and not is_multiple(terms.price, rules.tick_size):
        return DenialCode.PRICE_TICK
    return None


def _broken_quote_rule(terms: OrderTerms, rules: Instrument) -> DenialCode | None:
    """How much of the base asset it becomes is the venue's to say; only its own grid is checked."""
    assert terms.quote_quantity is not None
    if rules.quote_step is not None and not is_multiple(terms.quote_quantity, rules.quote_step):
        return DenialCode.QUOTE_QUANTITY_STEP
    return None


def _check_notional(terms: OrderTerms, rules: Instrument, now: datetime, caps: Caps) -> Verdict:
    notional = _notional(terms, rules, now)
    over_quantity = False
    if caps.quantity is not None:
        quantity = _base_quantity(terms, rules, now)
        if quantity is None:
            return CannotTell("the reference price of this symbol is too old for a market order")
        over_quantity = quantity > caps.quantity
    if notional is None:
        if rules.min_notional == 0 and caps.notional is None:
            return Deny(DenialCode.QUANTITY_CAP) if over_quantity else Pass()
        return CannotTell("the reference price of this symbol is too old for a market order")
    if notional < rules.min_notional:
        return Deny(DenialCode.NOTIONAL_MIN)
    if over_quantity:
        return Deny(DenialCode.QUANTITY_CAP)
    if caps.notional is not None and notional > caps.notional:
        return Deny(DenialCode.NOTIONAL_CAP)
    return Pass()


def _notional(terms: OrderTerms, rules: Instrument, now: datetime) -> Decimal | None:
    """Price times quantity, or the quote amount itself; a market order by quantity takes the
    reference price, None when that one is too old.
    """
    if terms.quote_quantity is not None:
        return terms.quote_quantity
    assert terms.quantity is not None
    match terms.type:
        case OrderType.LIMIT:
            assert terms.price is not None
            return multiply(terms.price, terms.quantity)
        case OrderType.MARKET:
            price = _reference_price(rules, now)
            return None if price is None else multiply(price, terms.quantity)
        case _:
            assert_never(terms.type)


def _base_quantity(terms: OrderTerms, rules: Instrument, now: datetime) -> Decimal | None:
    """In the base asset; of an order by quote amount as the reference price has it, None when that
    one is too old.
    """
    if terms.quantity is not None:
        return terms.quantity
    assert terms.quote_quantity is not None
    price = _reference_price(rules, now)
    return None if price is None else EXACT.divide(terms.quote_quantity, price)


def _reference_price(rules: Instrument, now: datetime) -> Decimal | None:
    """None when there is none that says something about this moment."""
    if rules.reference_price is None or rules.reference_at is None:
        return None
    fresh = rules.reference_at + REFERENCE_LIFE >= now and rules.reference_price > 0
    return rules.reference_price if fresh else None


def line_is_stuck(
    oldest: datetime | None, now: datetime, deadline: datetime, limit: timedelta
) -> bool:
    """Whether an order accepted now would wait past its deadline, or longer than any order should:
    `oldest` is when the first command was accepted that the executor has not reached.
    """
    return oldest is not None and now - oldest > min(limit, deadline - now)
