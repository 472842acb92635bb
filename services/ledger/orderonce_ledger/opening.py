"""VERB: open the books of an admitted account, then book what waited for it.

The opening is apart from the booking of fills, so that a venue that does not answer for one account
never holds up the others: its fills wait in `parked`, committed. Dies at any point: the next round
asks again; the books open in one transaction or not at all, and a parked fill leaves the waiting
room in the transaction that books it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orderonce_shared.runtime.logs import Logger
from orderonce_shared.venues.errors import VenueUnreachable

from orderonce_ledger.book import Received, book_opening, book_parked
from orderonce_ledger.core import Ruling, Unbookable
from orderonce_ledger.ports import Admitted, Venue
from orderonce_ledger.statement import NotQuiet, last_trade_before, read_opening
from orderonce_ledger.store import Store

PARKED_AT_ONCE = 500


@dataclass(slots=True)
class Openings:
    """`closed` says why an account's books are not open: account -> sentence."""

    store: Store
    venues: Mapping[str, Venue]
    tries: int
    log: Logger
    read: Callable[[str], Received]
    booked: Callable[[Mapping[Ruling, int]], None]
    closed: dict[str, str] = field(default_factory=dict)

    async def step(self) -> None:
        """One round over all admitted accounts, side by side."""
        accounts = await self.store.admitted()
        waiting = await self.store.parked_symbols()
        unread = await self.store.symbols_without_cursor()
        await asyncio.gather(
            *(
                self._attend(account, waiting.get(account.account, set()), unread)
                for account in accounts
            )
        )

    async def _attend(
        self, account: Admitted, waiting: set[str], unread: Mapping[str, set[str]]
    ) -> None:
        name = account.account
        try:
            if account.shard is None:
                await self._open(account, waiting)
            missing = unread.get(name, set()) | await self._unknown(account, waiting)
            if missing:
                await self._add_symbols(account, missing)
            while waiting and await self._book_parked(name):
                pass
        except (VenueUnreachable, NotQuiet, Unbookable) as error:
            self._stays_closed(name, str(error))
        else:
            self.closed.pop(name, None)

    async def _open(self, account: Admitted, waiting: set[str]) -> None:
        venue = self._venue(account)
        uid = await venue.uid()
        if uid != account.venue_uid:
            raise Unbookable(f"the read-only key is of user {uid}, not {account.venue_uid}")
        symbols = set(await self.store.symbols(account.venue)) | waiting
        if not symbols:
            raise Unbookable(f"the instruments of {account.venue} are not known yet")
        found = await read_opening(venue, symbols, self.tries)
        await book_opening(
            self.store, account.venue, account.account, found.balances, found.at, found.cursors
        )
        self.log.info("books-opened", account=account.account, assets=len(found.balances))

    async def _unknown(self, account: Admitted, waiting: set[str]) -> set[str]:
        """Symbols of parked fills that no instrument list has named."""
        return waiting - set(await self.store.cursors(account.account)) if waiting else set()

    async def _add_symbols(self, account: Admitted, symbols: set[str]) -> None:
        venue = self._venue(account)
        opened_at = account.opened_at
        if opened_at is None:
            return  # opened a moment ago: the next round knows when
        openings = {s: await last_trade_before(venue, s, opened_at) for s in sorted(symbols)}
        async with self.store.books() as books:
            await books.add_cursors(account.account, openings)

    async def _book_parked(self, account: str) -> bool:
        """Whether there may be more."""
        counts = await book_parked(self.store, account, PARKED_AT_ONCE, self.read)
        self.booked(counts)
        return counts.total() == PARKED_AT_ONCE and not counts[Ruling.WAIT]

    def _venue(self, account: Admitted) -> Venue:
        venue = self.venues.get(account.account)
        if venue is None:
            raise Unbookable("no read-only key for this account in the credentials file")
        return venue

    def _stays_closed(self, account: str, why: str) -> None:
        if self.closed.get(account) != why:
            self.log.warning("books-wait", account=account, why=why)
        self.closed[account] = why
