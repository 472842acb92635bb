"""Fingerprints, the meaning of an existing key, and the checks in their order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from orderonce_api import core
from orderonce_shared.domain.order import Instrument, OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.reasons import DenialCode

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
RULES = Instrument(
    "paper",
    "BTC/USDT",
    "BTC",
    "USDT",
    tick_size=Decimal("0.01"),
    step_size=Decimal("0.001"),
    min_quantity=Decimal("0.01"),
    max_quantity=Decimal("10"),
    min_notional=Decimal("5"),
    reference_price=Decimal("1000"),
    reference_at=NOW,
)
GOOD = OrderTerms(
    "paper-1",
    "BTC/USDT",
    Side.BUY,
    OrderType.LIMIT,
    Decimal("0.100"),
    Decimal("1000.00"),
    TimeInForce.GTC,
    False,
)
MARKET = replace(GOOD, type=OrderType.MARKET, price=None)
FACTS = core.Facts(NOW, halted=False, venue_loaded=True, instrument=RULES)
NO_CAPS = core.Caps()


def denied(code: DenialCode) -> core.Deny:
    return core.Deny(code)


def test_a_good_order_passes() -> None:
    assert core.check(GOOD, LATER, FACTS, NO_CAPS) == core.Pass()
    assert core.check(MARKET, LATER, FACTS, NO_CAPS) == core.Pass()


@pytest.mark.parametrize(
    ("terms", "facts", "caps", "deadline", "code"),
    [
        (GOOD, replace(FACTS, instrument=None), NO_CAPS, LATER, DenialCode.SYMBOL_UNKNOWN),
        (GOOD, FACTS, NO_CAPS, NOW, DenialCode.EXPIRES_IN_PAST),
        (GOOD, replace(FACTS, halted=True), NO_CAPS, LATER, DenialCode.ACCOUNT_HALTED),
        (
            replace(GOOD, quantity=Decimal("0.0105")),
            FACTS,
            NO_CAPS,
            LATER,
            DenialCode.QUANTITY_STEP,
        ),
        (replace(GOOD, quantity=Decimal("0.009")), FACTS, NO_CAPS, LATER, DenialCode.QUANTITY_MIN),
        (replace(GOOD, quantity=Decimal("10.001")), FACTS, NO_CAPS, LATER, DenialCode.QUANTITY_MAX),
        (replace(GOOD, price=Decimal("1000.001")), FACTS, NO_CAPS, LATER, DenialCode.PRICE_TICK),
        (replace(GOOD, price=Decimal("49.99")), FACTS, NO_CAPS, LATER, DenialCode.NOTIONAL_MIN),
        (GOOD, FACTS, core.Caps(quantity=Decimal("0.099")), LATER, DenialCode.QUANTITY_CAP),
        (GOOD, FACTS, core.Caps(notional=Decimal("99.99")), LATER, DenialCode.NOTIONAL_CAP),
        (MARKET, FACTS, core.Caps(notional=Decimal("99.99")), LATER, DenialCode.NOTIONAL_CAP),
    ],
)
def test_each_denial(
    terms: OrderTerms, facts: core.Facts, caps: core.Caps, deadline: datetime, code: DenialCode
) -> None:
    assert core.check(terms, deadline, facts, caps) == denied(code)


def test_limits_themselves_are_allowed() -> None:
    at_limits = replace(GOOD, quantity=Decimal("0.01"), price=Decimal("500.00"))
    caps = core.Caps(Decimal("0.010"), Decimal("5.0"))
    assert core.check(at_limits, LATER, FACTS, caps) == core.Pass()
    assert core.check(replace(GOOD, quantity=Decimal("10")), LATER, FACTS, NO_CAPS) == core.Pass()


def test_the_first_denial_in_the_order_of_precedence_is_the_answer() -> None:
    """Everything is wrong at once; taking away the first fault shows the next one."""
    worst = replace(GOOD, quantity=Decimal("10.0005"), price=Decimal("0.0001"))
    caps = core.Caps(Decimal("1"), Decimal("0.0000001"))
    halted = replace(FACTS, halted=True)
    assert core.check(worst, NOW, replace(halted, instrument=None), caps) == denied(
        DenialCode.SYMBOL_UNKNOWN
    )
    assert core.check(worst, NOW, halted, caps) == denied(DenialCode.EXPIRES_IN_PAST)
    assert core.check(worst, LATER, halted, caps) == denied(DenialCode.ACCOUNT_HALTED)
    assert core.check(worst, LATER, FACTS, caps) == denied(DenialCode.QUANTITY_STEP)
    on_step = replace(worst, quantity=Decimal("10.001"))
    assert core.check(on_step, LATER, FACTS, caps) == denied(DenialCode.QUANTITY_MAX)
    fits = replace(worst, quantity=Decimal("5"))
    assert core.check(fits, LATER, FACTS, caps) == denied(DenialCode.PRICE_TICK)
    on_tick = replace(fits, price=Decimal("0.01"))
    assert core.check(on_tick, LATER, FACTS, caps) == denied(DenialCode.NOTIONAL_MIN)
    worth = replace(fits, price=Decimal("1000"))
    assert core.check(worth, LATER, FACTS, caps) == denied(DenialCode.QUANTITY_CAP)
    small = replace(worth, quantity=Decimal("1"))
    assert core.check(small, LATER, FACTS, caps) == denied(DenialCode.NOTIONAL_CAP)


def test_an_unloaded_venue_is_no_denial() -> None:
    facts = replace(FACTS, instrument=None, venue_loaded=False)
    assert isinstance(core.check(GOOD, LATER, facts, NO_CAPS), core.CannotTell)


@pytest.mark.parametrize("price", [None, Decimal("1000")])
def test_an_old_reference_price_stops_market_orders_only(price: Decimal | None) -> None:
    at = None if price is None else NOW - timedelta(seconds=61)
    old = replace(FACTS, instrument=replace(RULES, reference_price=price, reference_at=at))
    assert isinstance(core.check(MARKET, LATER, old, NO_CAPS), core.CannotTell)
    assert core.check(GOOD, LATER, old, NO_CAPS) == core.Pass()


def test_an_old_reference_price_does_not_matter_where_nothing_needs_it() -> None:
    rules = replace(RULES, min_notional=Decimal(0), reference_at=NOW - timedelta(hours=1))
    facts = replace(FACTS, instrument=rules)
    assert core.check(MARKET, LATER, facts, NO_CAPS) == core.Pass()
    assert core.check(MARKET, LATER, facts, core.Caps(quantity=Decimal("0.01"))) == denied(
        DenialCode.QUANTITY_CAP
    )
    capped = core.check(MARKET, LATER, facts, core.Caps(notional=Decimal("1000000")))
    assert isinstance(capped, core.CannotTell)


def test_18_digits_are_exact() -> None:
    rules = replace(
        RULES, step_size=Decimal("0.000000000000000001"), max_quantity=Decimal(10) ** 19
    )
    huge = replace(GOOD, quantity=Decimal("1234567890123456789.123456789012345678"))
    facts = replace(FACTS, instrument=rules)
    assert core.check(huge, LATER, facts, NO_CAPS) == core.Pass()
    cap = core.Caps(quantity=Decimal("1234567890123456789.123456789012345677"))
    assert core.check(huge, LATER, facts, cap) == denied(DenialCode.QUANTITY_CAP)


def canonical(terms: OrderTerms = GOOD, expires: str | None = None, tag: str | None = None) -> str:
    return core.canonical_text("POST", "/v1/orders", core.canonical_place(terms, expires, tag))


def print_of(text: str) -> bytes:
    return core.fingerprint("paper-1", text)


def stored(text: str, created_at: datetime = NOW, version: int = 1) -> core.Stored:
    return core.Stored(None, None, "place", print_of(text), version, text, 202, b"", created_at)


def meaning(first: core.Stored, second: str, now: datetime = NOW) -> core.Meaning:
    return core.meaning_of(first, print_of(second), second, now=now, life=timedelta(hours=24))


def test_another_notation_of_the_same_amount_is_a_replay() -> None:
    other = replace(GOOD, quantity=Decimal("0.1"), price=Decimal("1000"))
    assert meaning(stored(canonical()), canonical(other)) == core.Replay()


@pytest.mark.parametrize(
    ("second", "differs"),
    [
        (canonical(replace(GOOD, quantity=Decimal("0.2"))), ("quantity",)),
        (canonical(replace(GOOD, side=Side.SELL)), ("side",)),
        (canonical(replace(GOOD, account="paper-2")), ("account",)),
        (canonical(MARKET), ("price", "type")),
        (canonical(tag="x"), ("client_tag",)),
        (canonical(expires="2026-11-22T10:00:05.000000Z"), ("expires_at",)),
        (canonical(replace(GOOD, post_only=True)), ("post_only",)),
        (
            core.canonical_text("POST", "/v1/orders/{order_id}/cancel", {"order_id": "1"}),
            ("command",),
        ),
    ],
)
def test_a_conflict_names_what_differs(second: str, differs: tuple[str, ...]) -> None:
    assert meaning(stored(canonical()), second) == core.Conflict(differs)


def test_an_old_key_is_expired_even_for_the_same_request() -> None:
    text = canonical()
    day = timedelta(hours=24)
    assert meaning(stored(text, NOW - day + timedelta(seconds=1)), text) == core.Replay()
    assert meaning(stored(text, NOW - day), text) == core.Expired()
    assert meaning(stored(text, NOW - day), canonical(MARKET)) == core.Expired()


def test_a_fingerprint_of_another_version_is_not_compared() -> None:
    assert meaning(stored(canonical(), version=2), canonical()) == core.FromAnotherVersion()


def test_the_fingerprint_covers_account_and_text() -> None:
    text = canonical()
    assert len(core.fingerprint("a", text)) == 32
    assert core.fingerprint("a", text) != core.fingerprint("b", text)
    assert core.fingerprint("a", text) != core.fingerprint("a", text + " ")


def test_default_deadlines() -> None:
    defaults = core.Defaults(timedelta(seconds=30), timedelta(seconds=120))
    assert defaults.deadline(GOOD, NOW) == NOW + timedelta(seconds=120)
    for fast in (
        MARKET,
        replace(GOOD, time_in_force=TimeInForce.IOC),
        replace(GOOD, time_in_force=TimeInForce.FOK),
    ):
        assert defaults.deadline(fast, NOW) == NOW + timedelta(seconds=30)


def test_a_stuck_line() -> None:
    limit = timedelta(seconds=20)

    def stuck(age_s: float, remaining_s: float) -> bool:
        oldest, deadline = NOW - timedelta(seconds=age_s), NOW + timedelta(seconds=remaining_s)
        return core.line_is_stuck(oldest, NOW, deadline, limit)

    assert not core.line_is_stuck(None, NOW, LATER, limit)
    assert not stuck(19, 60)
    assert stuck(21, 60)
    assert stuck(6, 5)
    assert not stuck(4, 5)


BY_QUOTE = replace(MARKET, quantity=None, quote_quantity=Decimal("50.00"))
QUOTE_FACTS = replace(FACTS, instrument=replace(RULES, quote_step=Decimal("0.01")))
STALE = replace(RULES, reference_at=NOW - timedelta(hours=1), quote_step=Decimal("0.01"))


@pytest.mark.parametrize(
    ("amount", "caps", "verdict"),
    [
        ("50.00", NO_CAPS, core.Pass()),
        ("50.001", NO_CAPS, denied(DenialCode.QUOTE_QUANTITY_STEP)),
        ("4.99", NO_CAPS, denied(DenialCode.NOTIONAL_MIN)),
        ("5.00", NO_CAPS, core.Pass()),
        ("50.00", core.Caps(notional=Decimal("49.99")), denied(DenialCode.NOTIONAL_CAP)),
        ("50.00", core.Caps(quantity=Decimal("0.0499")), denied(DenialCode.QUANTITY_CAP)),
        ("50.00", core.Caps(quantity=Decimal("0.05")), core.Pass()),
    ],
)
def test_an_order_by_quote_amount(amount: str, caps: core.Caps, verdict: core.Verdict) -> None:
    """Its notional is exact; how much of the base asset it is, the reference price says."""
    terms = replace(BY_QUOTE, quote_quantity=Decimal(amount))
    assert core.check(terms, LATER, QUOTE_FACTS, caps) == verdict


def test_a_quote_amount_needs_no_price_unless_a_cap_on_quantity_does() -> None:
    stale = replace(FACTS, instrument=STALE)
    assert core.check(BY_QUOTE, LATER, stale, NO_CAPS) == core.Pass()
    told = core.check(BY_QUOTE, LATER, stale, core.Caps(quantity=Decimal("1")))
    assert isinstance(told, core.CannotTell)
    unknown = replace(BY_QUOTE, quote_quantity=Decimal("50.0000001"))
    assert core.check(unknown, LATER, FACTS, NO_CAPS) == core.Pass()  # the venue is the judge


def test_a_quote_amount_leaves_the_text_of_other_orders_as_it_was() -> None:
    """A fingerprint that changed would answer honest retries of yesterday's keys with a 422."""
    assert "quote_quantity" not in core.canonical_place(GOOD, None, None)
    first = core.canonical_text("POST", "/v1/orders", core.canonical_place(MARKET, None, None))
    second = core.canonical_text("POST", "/v1/orders", core.canonical_place(BY_QUOTE, None, None))
    assert core.differing_fields(first, second) == ("quantity", "quote_quantity")
