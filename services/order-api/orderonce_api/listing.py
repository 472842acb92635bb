"""What GET /v1/orders may be asked, read strictly, and its cursors.

A page goes on below (time of acceptance, sequence) of its last order. Both are fixed when an order
is accepted, so that orders which come or change between two pages neither repeat nor hide one.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from orderonce_shared.contracts.commands import Name, Symbol
from orderonce_shared.contracts.http import Moment
from orderonce_shared.domain.lifecycle import FINAL_STATUSES, Status
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orderonce_api import errors
from orderonce_api.documents import Json, query_parameter

MAX_PAGE = 200
MAX_NUMBER = 2**63 - 1
MAX_MICROS = 2**53  # of a cursor: some 285 years after 1970
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = datetime(2000, 1, 1, tzinfo=UTC)  # before any order
# The partial indexes over orders (migrations/0003_order_lists.sql), and the statuses of which each
# holds every order.
HELD: tuple[tuple[str, frozenset[Status]], ...] = (
    ("live", frozenset(Status) - FINAL_STATUSES),
    ("filled", frozenset({Status.FILLED})),
    ("canceled", frozenset({Status.CANCELED})),
    ("failed", FINAL_STATUSES - {Status.FILLED, Status.CANCELED}),
)
LAST = datetime(2200, 1, 1, tzinfo=UTC)


def _statuses(text: str) -> str:
    known = {status.value for status in Status}
    for word in text.split(","):
        if word not in known:
            raise ValueError(f"one or more of {', '.join(sorted(known))}, joined by commas")
    return text


def _page_size(text: str) -> str:
    if not 1 <= int(text) <= MAX_PAGE:
        raise ValueError(f"between 1 and {MAX_PAGE}")
    return text


class ListQuery(BaseModel):
    """The query string. Every parameter narrows; `since` is included, `until` is not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: Name | None = None
    symbol: Symbol | None = None
    status: Annotated[str, Field(max_length=200), AfterValidator(_statuses)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[str, Field(pattern=r"^[0-9]{1,3}$"), AfterValidator(_page_size)] = "50"
    cursor: Annotated[str, Field(max_length=64)] | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One page as the store is asked for it. `held_by` names the index that holds every order of
    these statuses, None where none does. `accounts` is what the caller may see, None for all.
    """

    below: tuple[datetime, int]
    account: str | None
    accounts: list[str] | None
    symbol: str | None
    statuses: list[str] | None
    held_by: str | None
    since: datetime
    limit: int


def read_list(query: ListQuery, accounts: list[str] | None) -> Listed:
    """Raises RequestInvalid for a cursor that is none of ours, and for a span that ends before it
    begins.
    """
    if query.since is not None and query.until is not None and query.until <= query.since:
        raise errors.RequestInvalid("see errors", [("/until", "must lie after since")])
    below = (LAST, 0) if query.cursor is None else _read_cursor(query.cursor)
    asked = None if query.status is None else {Status(word) for word in query.status.split(",")}
    return Listed(
        below=min(below, (query.until or LAST, 0)),  # sequences begin at 1
        account=query.account,
        accounts=accounts if query.account is None else None,
        symbol=query.symbol,
        statuses=None if asked is None else sorted(status.value for status in asked),
        held_by=next((name for name, held in HELD if asked and asked <= held), None),
        since=query.since or FIRST,
        limit=int(query.limit),
    )


def cursor_after(row: Any) -> str:
    """The cursor of a page that ends with this order."""
    micros = (row["accepted_at"] - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"2:{micros}:{row['accept_seq']}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[datetime, int]:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, *numbers = raw.decode("ascii").split(":")
        if version == "2" and len(numbers) == 2 and all(map(str.isdigit, numbers)):
            micros, number = map(int, numbers)
            if micros <= MAX_MICROS and number <= MAX_NUMBER:
                return EPOCH + timedelta(microseconds=micros), number
    except (binascii.Error, ValueError):
        pass
    raise errors.RequestInvalid("see errors", [("/cursor", "not a cursor of ours")])


_TIME: Json = {"type": "string", "format": "date-time"}
LIST_PARAMETERS = [
    query_parameter("account", {"type": "string"}, "only this account"),
    query_parameter("symbol", {"type": "string", "examples": ["BTC/USDT"]}, "only this symbol"),
    query_parameter(
        "status",
        {"type": "string", "examples": ["open", "filled,canceled"]},
        "only these, joined by commas: " + ", ".join(status.value for status in Status),
    ),
    query_parameter("since", _TIME, "accepted at this moment or later"),
    query_parameter("until", _TIME, "accepted before this moment"),
    query_parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}, "page size"
    ),
    query_parameter("cursor", {"type": "string"}, "`next_cursor` of the page before"),
]
