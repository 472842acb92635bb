"""Reading a venue: pages that overlap, the sandwich around the balances, errors that are never "no
trades"."""

from decimal import Decimal

import pytest
from orderonce_ledger import statement
from orderonce_ledger.statement import NotQuiet, last_trade_before, read_opening, read_statement
from orderonce_shared.domain.order import Side
from orderonce_shared.venues.errors import VenueUnreachable

from tests.unit.ledger.making import NOON, FakeVenue, fill

BTC, ETH = "BTC/USDT", "ETH/USDT"


async def test_everything_from_the_cursor_on_is_read_over_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statement, "PAGE_ROWS", 3)
    venue = FakeVenue(fills=[fill(n) for n in range(1, 12)])
    for first in range(1, 12):
        read = await read_statement(venue, {BTC: first}, tries=2)
        assert [int(f.trade_id) for f in read.trades[BTC]] == list(range(first, 12))


async def test_a_page_that_ends_inside_a_shared_id_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statement, "PAGE_ROWS", 3)
    halves = [fill(3, order=30), fill(3, order=31, side=Side.SELL)]
    venue = FakeVenue(fills=[fill(1), fill(2), *halves, fill(4)])
    read = await read_statement(venue, {BTC: 1}, tries=2)
    assert [f.venue_order_id for f in read.trades[BTC]] == ["1", "2", "30", "31", "4"]


async def test_a_row_that_the_venue_lists_twice_stays_twice() -> None:
    venue = FakeVenue(fills=[fill(1), fill(1), fill(2), fill(2)])
    read = await read_statement(venue, {BTC: 1}, tries=2)
    assert [f.trade_id for f in read.trades[BTC]] == ["1", "1", "2", "2"]


async def test_balances_count_only_if_nothing_moved_around_them() -> None:
    venue = FakeVenue(fills=[fill(1)])
    coming = [fill(2), fill(3)]

    def move() -> None:
        if coming:
            venue.fills.append(coming.pop(0))

    venue.on_balances = move
    read = await read_statement(venue, {BTC: 1, ETH: 1}, tries=3)
    assert [f.trade_id for f in read.trades[BTC]] == ["1", "2", "3"]
    assert read.balances is not None
    assert read.balances["BTC"] == Decimal("1.5")  # what all three trades made, not one of them


async def test_an_account_that_never_rests_has_trades_but_no_balances() -> None:
    venue = FakeVenue()
    venue.on_balances = lambda: venue.fills.append(fill(len(venue.fills) + 1))
    read = await read_statement(venue, {BTC: 1}, tries=3)
    assert read.balances is None
    assert len(read.trades[BTC]) == 3


async def test_the_second_half_of_a_self_trade_counts_as_movement() -> None:
    venue = FakeVenue(fills=[fill(1, order=1)])
    late = [fill(1, order=2, side=Side.SELL)]
    venue.on_balances = lambda: venue.fills.extend(late[:1]) if len(venue.fills) < 2 else None
    read = await read_statement(venue, {BTC: 1}, tries=3)
    assert len(read.trades[BTC]) == 2
    assert read.balances is not None
    assert "BTC" not in read.balances


async def test_an_opening_is_read_again_while_the_venue_moves() -> None:
    venue = FakeVenue(fills=[fill(5)])
    coming = [fill(6), fill(3, symbol=ETH, quantity="2", price="10")]

    def move() -> None:
        if coming:
            venue.fills.append(coming.pop(0))

    venue.on_balances = move
    found = await read_opening(venue, [BTC, ETH], tries=3)
    assert found.cursors == {BTC: 6, ETH: 3}
    assert found.balances["BTC"] == Decimal("1.0")
    assert found.balances["ETH"] == Decimal(2)


async def test_an_opening_gives_up_by_name() -> None:
    venue = FakeVenue()
    venue.on_balances = lambda: venue.fills.append(fill(len(venue.fills) + 1))
    with pytest.raises(NotQuiet):
        await read_opening(venue, [BTC], tries=4)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5])
async def test_one_bad_answer_ends_the_reading(after: int) -> None:
    """Whichever question it is: a half-read statement must not look like a whole one."""
    venue = FakeVenue(fills=[fill(1)])
    healthy = venue._ask

    def ask() -> None:
        healthy()
        if venue.asked > after:
            venue.down = "error page"
            healthy()

    venue._ask = ask  # type: ignore[method-assign]
    with pytest.raises(VenueUnreachable):
        await read_statement(venue, {BTC: 1, ETH: 1}, tries=2)


async def test_an_answer_from_before_the_cursor_is_no_answer() -> None:
    class Deaf(FakeVenue):
        async def trades(self, symbol: str, **_: object) -> list[object]:  # type: ignore[override]
            return list(self.fills)

    with pytest.raises(VenueUnreachable):
        await read_statement(Deaf(fills=[fill(1)]), {BTC: 5}, tries=1)  # type: ignore[arg-type]


async def test_what_a_late_symbol_traded_before_the_opening_is_covered() -> None:
    from datetime import timedelta

    fills = [fill(n, at=NOON + timedelta(seconds=n)) for n in (1, 2, 3)]
    venue = FakeVenue(fills=fills)
    assert await last_trade_before(venue, BTC, NOON + timedelta(seconds=2)) == 2
    assert await last_trade_before(venue, BTC, NOON) == 0
