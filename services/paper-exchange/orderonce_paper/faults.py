"""Trouble on demand: who meets which fault. Decides; venue.py, feed.py and server.py carry it out.

A fault is armed by name, waits for requests (or for fills, or for a stream's next event) that
match, and is spent after `times` of them. Faults live in memory: a restarted venue has none. What a
fault let through to the book is in the journal.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

ORDER_PATH = "/api/v3/order"

# name -> its own fields with their defaults
FIELDS: Final[dict[str, dict[str, Any]]] = {
    "accept_then_timeout": {"seconds": 60.0},
    "accept_then_reset": {},
    "accept_then_5xx": {"status": 503, "body": "html", "code": -1007},
    "half_body": {},
    "empty_body": {"status": 200},
    "html_200": {},
    "foreign_body": {},
    "accept_late": {"seconds": 2.0, "close_after": 0.0, "window": "kept"},
    "fills_before_ack": {"ms": 500.0},
    "fill_twice": {},
    "fill_late": {"seconds": 2.0},
    "fill_out_of_order": {"seconds": 0.2},
    "ws_drop": {"when": "now", "seconds": 0.0},
    "refuse_5xx": {"status": 503, "body": "html", "code": -1001},
    "rate_limit": {"retry_after": 1},
    "busy": {"status": 503},
    "ban": {"retry_after": 120},
    "slow": {"ms": 1000.0, "where": "arrival"},
    "not_found_lag": {"seconds": 2.0},
    "balance_lag": {"seconds": 2.0},
    "clock_skew": {"ms": 0.0, "drift_ppm": 0.0},
}
ACCEPTING = frozenset(
    {
        "accept_then_timeout",
        "accept_then_reset",
        "accept_then_5xx",
        "half_body",
        "empty_body",
        "html_200",
        "foreign_body",
        "accept_late",
    }
)
REFUSING = frozenset({"refuse_5xx", "rate_limit", "busy", "ban"})
# These change how the venue is, not one request; they stay until cleared.
STANDING = frozenset({"not_found_lag", "balance_lag", "clock_skew"})
# These wait for the fills of an order, whoever caused them, and ws_drop for a stream's next event.
FOR_FILLS = frozenset({"fill_twice", "fill_late", "fill_out_of_order"})
NOT_REQUESTS = STANDING | FOR_FILLS | {"ws_drop"}
# Without a method or path in `match` these wait for an order, not for the next ping.
FOR_ORDERS = ACCEPTING | frozenset({"refuse_5xx", "rate_limit", "busy", "fills_before_ack"})
MATCH_FIELDS = ("method", "path", "door", "account", "symbol", "client_order_id", "side")
MATCH_OF_FILLS = ("account", "symbol", "client_order_id", "side")
COMMON_FIELDS = frozenset({"name", "match", "times", "after", "seed", "probability"})
CHOICES = {
    "where": ("arrival", "engine", "reply"),
    "body": ("html", "json", "empty"),
    "window": ("kept", "ignored"),
    "when": ("now", "event"),
}
ARMED_LIMIT = 1000
NUMBER_LIMIT = 1_000_000_000_000  # any own field; as milliseconds some 30 years


class BadFault(Exception):
    """What the control door was asked to arm makes no sense; the text says why."""


@dataclass(eq=False, slots=True)
class Fault:
    id: int
    name: str
    match: dict[str, str]
    times: int | None
    after: int
    probability: float
    own: dict[str, Any]
    source: random.Random
    matched: int = 0
    fired: int = 0

    @property
    def spent(self) -> bool:
        return self.times is not None and self.fired >= self.times

    def meets(self, fits: Callable[[dict[str, str]], bool]) -> bool:
        """Whether it fires here; counted."""
        if self.spent or not fits(self.match):
            return False
        self.matched += 1
        if self.matched <= self.after:
            return False
        if self.probability < 1 and self.source.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "match": self.match,
            "times": self.times,
            "after": self.after,
            "probability": self.probability,
            **self.own,
            "matched": self.matched,
            "fired": self.fired,
            "spent": self.spent,
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What a fault may look at in a request, known before anything is checked."""

    method: str
    path: str
    account: str | None
    params: dict[str, str]
    door: str = "rest"

    def fits(self, match: dict[str, str]) -> bool:
        for name, wanted in match.items():
            match name:
                case "method":
                    given = [self.method]
                case "path":
                    given = [self.path]
                case "door":
                    given = [self.door]
                case "account":
                    given = [self.account or ""]
                case "client_order_id":
                    names = ("newClientOrderId", "origClientOrderId", "cancelOrigClientOrderId")
                    given = [self.params[name] for name in names if name in self.params]
                case _:
                    given = [self.params.get(name, "")]
            if not any(_same(value, wanted) for value in given):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Filled:
    """What a fault may look at in an order that has just been filled, wholly or in part."""

    account: str
    symbol: str
    client_order_id: str
    side: str

    def fits(self, match: dict[str, str]) -> bool:
        return all(_same(getattr(self, name), wanted) for name, wanted in match.items())


def _same(value: str, wanted: str) -> bool:
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


@dataclass(slots=True)
class Faults:
    armed: list[Fault] = field(default_factory=list)
    last_id: int = 0

    def arm(self, asked: dict[str, Any]) -> Fault:
        if len(self.armed) >= ARMED_LIMIT:
            raise BadFault(f"there are {ARMED_LIMIT} faults already; clear some")
        fault = _parse(asked, self.last_id + 1)
        self.last_id = fault.id
        self.armed.append(fault)
        return fault

    def clear(self, name: str | None = None, fault_id: int | None = None) -> int:
        kept = [
            fault
            for fault in self.armed
            if (name is not None and fault.name != name)
            or (fault_id is not None and fault.id != fault_id)
        ]
        cleared = len(self.armed) - len(kept)
        self.armed = kept
        return cleared

    def take(self, seen: Seen) -> list[Fault]:
        """The faults that this request meets, counted as fired."""
        return [
            fault
            for fault in self.armed
            if fault.name not in NOT_REQUESTS and fault.meets(seen.fits)
        ]

    def take_fill(self, filled: Filled) -> list[Fault]:
        """The faults that the fills of this order meet, counted as fired."""
        return [
            fault for fault in self.armed if fault.name in FOR_FILLS and fault.meets(filled.fits)
        ]

    def take_drop(self, account: str) -> Fault | None:
        """The ws_drop that waits for this account's next event, counted as fired."""
        for fault in self.armed:
            waits = fault.name == "ws_drop" and fault.own["when"] == "event"
            if waits and fault.meets(lambda match: _same(account, match.get("account", "*"))):
                return fault
        return None

    @property
    def delays_balances(self) -> bool:
        return any(fault.name == "balance_lag" and not fault.spent for fault in self.armed)

    def lag_ms(self, name: str, seen: Seen) -> float:
        """How young a thing must be not to be seen by this look-up: orders, or balances."""
        longest = 0.0
        for fault in self.armed:
            if fault.name == name and not fault.spent and seen.fits(fault.match):
                fault.matched += 1
                if fault.matched > fault.after:
                    fault.fired += 1
                    longest = max(longest, fault.own["seconds"] * 1000)
        return longest

    def skew(self) -> tuple[float, float]:
        """Skew in ms and drift in parts per million: the latest clock_skew decides."""
        for fault in reversed(self.armed):
            if fault.name == "clock_skew":
                return fault.own["ms"], fault.own["drift_ppm"]
        return 0.0, 0.0


def _parse(asked: dict[str, Any], fault_id: int) -> Fault:
    name = asked.get("name")
    if not isinstance(name, str) or name not in FIELDS:
        raise BadFault(f"unknown fault {name!r}; known: {', '.join(sorted(FIELDS))}")
    own = dict(FIELDS[name])
    unknown = set(asked) - COMMON_FIELDS - set(own)
    if unknown:
        raise BadFault(
            f"{name} has no field {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(COMMON_FIELDS | set(own)))}"
        )
    for key, default in own.items():
        if key in asked:
            own[key] = _own_field(key, asked[key], default)
    times = asked.get("times", None if name in STANDING else 1)
    after, probability = asked.get("after", 0), asked.get("probability", 1)
    if times is not None and (not _is_int(times) or times < 1):
        raise BadFault("times is a whole number above zero, or null for: until cleared")
    if not _is_int(after) or after < 0:
        raise BadFault("after is a whole number: how many matching requests to let pass first")
    if not isinstance(probability, int | float) or not 0 < probability <= 1:
        raise BadFault("probability is a number above 0 and up to 1")
    source = random.Random(f"{asked.get('seed', 0)}")  # noqa: S311 - a seed, not a secret
    match = _parse_match(name, asked.get("match", {}))
    return Fault(fault_id, name, match, times, after, float(probability), own, source)


def _parse_match(name: str, asked: Any) -> dict[str, str]:
    if not isinstance(asked, dict) or not all(isinstance(v, str) for v in asked.values()):
        raise BadFault("match is an object of strings")
    fields: tuple[str, ...] = MATCH_OF_FILLS if name in FOR_FILLS else MATCH_FIELDS
    if name == "ws_drop":
        fields = ("account",)
    unknown = set(asked) - set(fields)
    if unknown:
        raise BadFault(
            f"match of {name} has no field {', '.join(sorted(unknown))}; it has {', '.join(fields)}"
        )
    match = dict(asked)
    if name in FOR_ORDERS and "method" not in match and "path" not in match:
        match.update(method="POST", path=ORDER_PATH)
    if "method" in match:
        match["method"] = match["method"].upper()
    return match


def _own_field(key: str, given: Any, default: Any) -> Any:
    if key in CHOICES:
        if given not in CHOICES[key]:
            raise BadFault(f"{key} is one of {', '.join(CHOICES[key])}")
        return given
    if isinstance(default, float):
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise BadFault(f"{key} is a number")
        if key in ("seconds", "close_after") and given < 0:
            raise BadFault(f"{key} is not negative")
        if abs(given) > NUMBER_LIMIT:
            raise BadFault(f"{key} is too large")
        return float(given)
    if not _is_int(given) or abs(given) > NUMBER_LIMIT:
        raise BadFault(f"{key} is a whole number")
    if key == "status" and not 200 <= given <= 599:
        raise BadFault("status is an HTTP status from 200 to 599")
    return given


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
