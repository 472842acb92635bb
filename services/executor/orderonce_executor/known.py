"""PURE: rows of this process as it last stored them, by the id that the venue calls them.

So a word of the stream finds its row without a question to the database, and one about somebody
else's order costs nothing. A row that is missing here, or no longer as it is in the database, makes
no word wrong: the CAS compares, and REST stays behind the stream.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from orderonce_shared.domain.lifecycle import FINAL, State

from orderonce_executor.placement import Placement

LIVE_MAX = 50_000
ENDED_MAX = 2_000  # most reports about an ended order come within the second


@dataclass(slots=True)
class Known:
    """Rows that are or were at the venue."""

    live: dict[str, Placement] = field(default_factory=dict)
    # Oldest first; a plain dict looks at every place that was emptied to find its first.
    ended: OrderedDict[str, Placement] = field(default_factory=OrderedDict)

    def get(self, client_order_id: str) -> Placement | None:
        return self.live.get(client_order_id) or self.ended.get(client_order_id)

    def note(self, row: Placement) -> None:
        """Keeps the row unless a newer version of it is here."""
        name = row.client_order_id
        before = self.get(name)
        if before is not None and (before.order_id != row.order_id or before.version > row.version):
            return
        if row.state in FINAL:
            self.live.pop(name, None)
            self.ended[name] = row
            if len(self.ended) > ENDED_MAX:
                self.ended.popitem(last=False)
        elif before is not None or (row.state is not State.CLAIMED and len(self.live) < LIVE_MAX):
            self.ended.pop(name, None)
            self.live[name] = row
