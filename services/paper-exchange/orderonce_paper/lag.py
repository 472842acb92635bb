"""balance_lag: the balances that an account is shown are those of some seconds ago.

While the fault is armed, what each change is about to overwrite is written down; a look-up undoes
the youngest changes. What happened before the fault was armed is seen at once.
"""

from collections import deque
from dataclasses import dataclass, field

from orderonce_paper.model import (
    Accepted,
    Account,
    Balance,
    Book,
    Busted,
    Closed,
    Credited,
    Event,
    Traded,
)

REMEMBERED_LIMIT = 100_000  # changes; older ones count as seen

Before = tuple[int, str, str, Balance]  # time, account, asset, the balance until then


@dataclass(slots=True)
class BalanceLag:
    changes: deque[Before] = field(default_factory=lambda: deque(maxlen=REMEMBERED_LIMIT))

    def remember(self, book: Book, event: Event, now_ms: int) -> None:
        """Call before the event is applied."""
        for name, asset in _touched(book, event):
            found = book.accounts[name].balances.get(asset, Balance())
            self.changes.append((now_ms, name, asset, Balance(found.free, found.locked)))

    def seen(self, name: str, account: Account, since_ms: float) -> dict[str, Balance]:
        """The balances without the changes after `since_ms`."""
        shown = dict(account.balances)
        for time, owner, asset, before in reversed(self.changes):
            if time <= since_ms:
                break
            if owner == name:
                shown[asset] = before
        return shown


def _touched(book: Book, event: Event) -> list[tuple[str, str]]:
    """Account and asset of every balance that the event may change."""
    match event:
        case Credited():
            return [(event.account, event.asset)]
        case Accepted():
            names = [event.account]
        case Closed():
            names = [book.markets[event.symbol].orders[event.order_id - 1].made.account]
        case Traded():
            names = [leg.account for leg, _, _ in event.legs()]
        case Busted():
            trade = book.markets[event.symbol].trades[event.trade_id - 1]
            names = [leg.account for leg, _, _ in trade.legs()]
        case _:
            return []
    rules = book.markets[event.symbol].symbol
    return [(name, asset) for name in names for asset in (rules.base, rules.quote)]
