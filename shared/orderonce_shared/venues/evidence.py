"""What is known of each venue, as data: one frozen row per venue, every fact with its mark and
source.

Theory: the protocol's safety stands on a few promises of the venue (which words prove that nothing
was placed, what fences a late request, how far its clock may step, how late an order may become
visible). They are written here once, and the code asks this table. The list of words that prove
"nothing was placed" is an allow-list: what it does not name proves nothing. `docs/venues.md` is
rendered from this file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
DAY_MS = 24 * 60 * MINUTE_MS


class Mark(StrEnum):
    """How a fact is known. Nothing here was seen on a live venue until its mark says `live`."""

    LIVE = "live"  # seen on the venue itself
    CAP = "cap"  # the request that ccxt builds, captured
    RUN = "run"  # provoked against a local server
    CODE = "code"  # read in the source of ccxt
    DOC = "doc"  # the venue's own documentation
    THIRD = "3p"  # somebody else's text that quotes the venue
    MEM = "mem"  # from memory, unverified
    OURS = "ours"  # a choice of ours, on the safe side of what is known


class Ruling(StrEnum):
    """What a parsed error of a create proves."""

    REFUSED = "refused: nothing placed, final"
    UNPROCESSED = "refused before processing: nothing placed, send again later"
    DUPLICATE = "the client id is in use: look it up"
    BY_TEXT = "by its text; an unknown text proves nothing"
    SILENCE = "proves nothing"


class Rung(StrEnum):
    """One step of the look-up ladder."""

    BY_CLIENT_ID = "by client id"
    OPEN_ORDERS = "open orders"
    ALL_ORDERS = "all orders since the stamp"
    TRADES = "trades of the found order"


@dataclass(frozen=True, slots=True)
class Source:
    mark: Mark
    where: str


@dataclass(frozen=True, slots=True)
class WordRule:
    """The ruling on one word of the venue: an error code, or an HTTP status where no code came with
    it.
    """

    ruling: Ruling
    name: str
    source: Source
    pause_ms: int = 0
    clock_is_off: bool = False


@dataclass(frozen=True, slots=True)
class ClientIdRule:
    """Shape and scope of the venue's client order id."""

    alphabet: str  # a regular expression's character class
    max_length: int
    duplicate_scope: str

    def accepts(self, client_order_id: str) -> bool:
        """Whether the venue would take this id as it is."""
        pattern = f"{self.alphabet}{{1,{self.max_length}}}"
        return re.fullmatch(pattern, client_order_id, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class VenueEvidence:
    """One venue's row. Times are milliseconds. `sources` has one entry per field that states a
    fact.
    """

    venue: str
    title: str
    ccxt_id: str
    # errors with HTTP 4xx and a JSON body; with 5xx no code proves anything
    codes: Mapping[int, WordRule]
    texts: Mapping[tuple[int, str], Ruling]  # for codes ruled BY_TEXT: the whole message
    http: Mapping[int, WordRule]  # HTTP statuses that prove something without a code in the body
    not_found_code: int  # a look-up by client id: "no such order"
    cancel_not_found: tuple[int, str]  # a cancel: "no open order of this id" (code, whole message)
    clock_off_code: int  # a signed request outside its window
    ladder: tuple[Rung, ...]
    fence: str
    window_default_ms: int
    window_smallest_ms: int
    window_max_ms: int
    ahead_tolerance_ms: int  # how far a stamp may be ahead of the venue's clock
    step_allowance_ms: int
    late_visibility_ms: int
    client_id: ClientIdRule
    cancel_is_final: bool  # a positive reply to a cancel means that nothing more fills
    look_up_retention_ms: int  # a canceled order without a fill stays visible this long
    # the longest stretch of time that one search of orders or trades may ask for
    search_span_ms: int
    page_rows: int
    quote_orders: bool  # a market buy may say what it spends of the quote asset
    order_stream: bool  # a stream tells of the account's orders (R9); what ccxt.pro follows
    plain_http_anywhere: bool  # False: http:// only to this machine
    sources: Mapping[str, Source]

    @property
    def has_proof_path(self) -> bool:
        """Whether absence can be proven: a look-up ladder, and a fence that refuses a late request
        (rule R11).
        """
        return bool(self.ladder) and bool(self.fence) and self.window_max_ms > 0


class UnknownVenue(LookupError):
    """No row for this venue."""


_ERRORS = Source(Mark.DOC, "Binance spot, error codes")
_HTTP = Source(Mark.DOC, "Binance spot, HTTP return codes")


def _refused(name: str) -> WordRule:
    return WordRule(Ruling.REFUSED, name, _ERRORS)


def _later(name: str, pause_ms: int, *, clock_is_off: bool = False) -> WordRule:
    return WordRule(Ruling.UNPROCESSED, name, _ERRORS, pause_ms, clock_is_off)


def _nothing(name: str) -> WordRule:
    return WordRule(Ruling.SILENCE, name, _ERRORS)


_BINANCE_CODES: dict[int, WordRule] = {
    -1000: _nothing("UNKNOWN"),
    -1001: _nothing("DISCONNECTED"),
    -1002: _refused("UNAUTHORIZED"),
    -1003: _later("TOO_MANY_REQUESTS", SECOND_MS),
    -1006: _nothing("UNEXPECTED_RESP: execution status unknown"),
    -1007: _nothing("TIMEOUT: execution status unknown"),
    # Before processing when it comes with 4xx. With 503 a bot has found its order placed all the
    # same [3p, banbox/banbot issue 114, futures]; 5xx proves nothing anyway.
    -1008: _later("SERVER_BUSY", SECOND_MS),
    -1013: _refused("INVALID_MESSAGE: filters; did not reach the matching engine"),
    -1014: _refused("UNKNOWN_ORDER_COMPOSITION"),
    -1015: _later("TOO_MANY_ORDERS", SECOND_MS),
    -1016: _nothing("SERVICE_SHUTTING_DOWN"),
    -1020: _refused("UNSUPPORTED_OPERATION"),
    # Checked on arrival and again just before the matching engine: nothing was placed either way.
    -1021: _later("INVALID_TIMESTAMP", 0, clock_is_off=True),
    # A request whose signature, key or rights the venue refuses was never taken for the account's
    # own: it cannot have placed anything. Sending it again cannot help before a person changes the
    # key: final.
    -1022: _refused("INVALID_SIGNATURE"),
    -2014: _refused("BAD_API_KEY_FMT"),
    -2015: _refused("REJECTED_MBX_KEY"),
    -1100: _refused("ILLEGAL_CHARS"),
    -1101: _refused("TOO_MANY_PARAMETERS"),
    -1102: _refused("MANDATORY_PARAM_EMPTY_OR_MALFORMED"),
    -1103: _refused("UNKNOWN_PARAM"),
    -1104: _refused("UNREAD_PARAMETERS"),
    -1105: _refused("PARAM_EMPTY"),
    -1106: _refused("PARAM_NOT_REQUIRED"),
    -1108: _refused("PARAM_OVERFLOW"),
    -1111: _refused("BAD_PRECISION"),
    -1112: _refused("NO_DEPTH"),
    -1114: _refused("TIF_NOT_REQUIRED"),
    -1115: _refused("INVALID_TIF"),
    -1116: _refused("INVALID_ORDER_TYPE"),
    -1117: _refused("INVALID_SIDE"),
    -1118: _refused("EMPTY_NEW_CL_ORD_ID"),
    -1121: _refused("BAD_SYMBOL"),
    -1128: _refused("OPTIONAL_PARAMS_BAD_COMBO"),
    -1130: _refused("INVALID_PARAMETER"),
    -1131: WordRule(
        Ruling.REFUSED, "BAD_RECV_WINDOW", Source(Mark.CODE, "ccxt 4.5.90, binance exceptions")
    ),
    -1182: _refused("PARAMS_BAD_COMBO"),
    -2010: WordRule(Ruling.BY_TEXT, "NEW_ORDER_REJECTED", _ERRORS),
    -2016: _refused("NO_TRADING_WINDOW"),
}

_REJECTED_TEXTS = (
    "Account has insufficient balance for requested action.",
    "Order would immediately match and take.",
    "Market is closed.",
    "Market orders are not supported for this symbol.",
    "Limit orders are not supported for this symbol.",
    "Price * QTY is zero or less.",
    "This action is disabled on this account.",
    "This account may not place or cancel orders.",
    "This symbol is not permitted for this account.",
    "This symbol is restricted for this account.",
    "Unsupported order combination",
    "Unsupported order combination.",
    "Rest API trading is not enabled.",
    "Order book liquidity is less than `LOT_SIZE` filter minimum quantity.",
    "Order book liquidity is less than `MARKET_LOT_SIZE` filter minimum quantity.",
    "Order book liquidity is less than symbol minimum quantity.",
)

_BINANCE_SOURCES: dict[str, Source] = {
    "codes": _ERRORS,
    "texts": Source(Mark.DOC, "Binance spot, messages for -1010, -2010 and -2011"),
    "http": _HTTP,
    "not_found_code": _ERRORS,
    "cancel_not_found": Source(Mark.DOC, "Binance spot, messages for -1010, -2010 and -2011"),
    "clock_off_code": _ERRORS,
    "ladder": Source(Mark.CAP, "requests of ccxt 4.5.90; no client id in trades"),
    "fence": Source(Mark.DOC, "Binance spot, timing security: checked again before matching"),
    "window_default_ms": Source(Mark.DOC, "Binance spot, timing security"),
    "window_smallest_ms": Source(Mark.OURS, "the venue names none; less dies on the way"),
    "window_max_ms": Source(Mark.DOC, "Binance spot, timing security"),
    "ahead_tolerance_ms": Source(Mark.DOC, "Binance spot, -1021"),
    "step_allowance_ms": Source(Mark.OURS, "clocks step by minutes; the venue promises nothing"),
    "late_visibility_ms": Source(Mark.OURS, "10 minutes until proven shorter; -1007 after 10 s"),
    "client_id": Source(Mark.MEM, "alphabet and length; scope: Binance spot, new order [doc]"),
    "cancel_is_final": Source(Mark.DOC, "Binance spot, cancel order: the reply shows CANCELED"),
    "look_up_retention_ms": Source(Mark.DOC, "Binance spot, -2026"),
    "search_span_ms": Source(Mark.DOC, "Binance spot, allOrders and myTrades: 24 h"),
    "page_rows": Source(Mark.DOC, "Binance spot, allOrders and myTrades"),
    "quote_orders": Source(Mark.DOC, "Binance spot, new order: quoteOrderQty of a market order"),
    "order_stream": Source(Mark.RUN, "ccxt.pro 4.5.90: userDataStream.subscribe.signature"),
    "plain_http_anywhere": Source(Mark.OURS, "a key must not cross a network in the clear"),
}

BINANCE = VenueEvidence(
    venue="binance",
    title="Binance spot",
    ccxt_id="binance",
    codes=_BINANCE_CODES,
    texts={
        **{(-2010, text): Ruling.REFUSED for text in _REJECTED_TEXTS},
        (-2010, "Duplicate order sent."): Ruling.DUPLICATE,
    },
    http={
        429: WordRule(Ruling.UNPROCESSED, "request rate limit", _HTTP, SECOND_MS),
        418: WordRule(Ruling.UNPROCESSED, "address banned for a while", _HTTP, 2 * MINUTE_MS),
    },
    not_found_code=-2013,
    cancel_not_found=(-2011, "Unknown order sent."),
    clock_off_code=-1021,
    ladder=(Rung.BY_CLIENT_ID, Rung.OPEN_ORDERS, Rung.ALL_ORDERS, Rung.TRADES),
    fence="recvWindow",
    window_default_ms=5 * SECOND_MS,
    window_smallest_ms=500,
    window_max_ms=MINUTE_MS,
    ahead_tolerance_ms=SECOND_MS,
    step_allowance_ms=5 * MINUTE_MS,
    late_visibility_ms=10 * MINUTE_MS,
    client_id=ClientIdRule(
        "[A-Za-z0-9_-]",
        36,
        "refused while an open order has it; free again once that one has ended",
    ),
    cancel_is_final=True,
    look_up_retention_ms=90 * DAY_MS,
    search_span_ms=DAY_MS,
    page_rows=1000,
    quote_orders=True,
    order_stream=True,
    plain_http_anywhere=False,
    sources=_BINANCE_SOURCES,
)

_PAPER = Source(Mark.RUN, "the paper exchange of this project keeps to it")

PAPER = VenueEvidence(
    venue="paper",
    title="Paper exchange (Binance's spot protocol)",
    ccxt_id="binance",
    codes=BINANCE.codes,
    texts=BINANCE.texts,
    http=BINANCE.http,
    not_found_code=BINANCE.not_found_code,
    cancel_not_found=BINANCE.cancel_not_found,
    clock_off_code=BINANCE.clock_off_code,
    ladder=BINANCE.ladder,
    fence=BINANCE.fence,
    window_default_ms=BINANCE.window_default_ms,
    window_smallest_ms=100,
    window_max_ms=BINANCE.window_max_ms,
    ahead_tolerance_ms=BINANCE.ahead_tolerance_ms,
    step_allowance_ms=SECOND_MS,
    late_visibility_ms=2 * SECOND_MS,
    client_id=BINANCE.client_id,
    cancel_is_final=True,
    look_up_retention_ms=BINANCE.look_up_retention_ms,
    search_span_ms=BINANCE.search_span_ms,
    page_rows=BINANCE.page_rows,
    quote_orders=True,
    order_stream=True,
    plain_http_anywhere=True,
    sources=dict.fromkeys(_BINANCE_SOURCES, _PAPER),
)

EVIDENCE: Mapping[str, VenueEvidence] = {row.venue: row for row in (BINANCE, PAPER)}


def evidence_for(venue: str) -> VenueEvidence:
    """The venue's row; raises UnknownVenue with the list of the ones there are."""
    try:
        return EVIDENCE[venue]
    except KeyError:
        known = ", ".join(sorted(EVIDENCE))
        raise UnknownVenue(f"no evidence for the venue {venue!r}; there is: {known}") from None
