"""How much one venue account may be asked by this process, with a reserve that only cancels and
look-ups may use.

Why here and not in ccxt: its throttle has no burst, holds a cancel behind a slow read, and queues
without a bound. A token and a free connection are taken before the CAS (R4), so that what is
SENDING leaves at once.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """`requests_per_s` refill, `burst` at most saved up; `reserve` of it and `in_flight`
    connections for creates."""

    requests_per_s: float
    burst: float
    reserve: float
    in_flight: int


@dataclass(slots=True)
class Budget:
    """One account's bucket. All methods take the present monotonic time."""

    limits: BudgetLimits
    tokens: float = field(init=False)
    filled_at: float = 0.0
    creates_in_flight: int = 0
    paused_until: float = 0.0
    taken_creates: int = 0  # these three only grow: lane_numbers.py shows them
    taken_questions: float = 0.0
    waited_s: float = 0.0

    def __post_init__(self) -> None:
        assert 0 <= self.limits.reserve < self.limits.burst
        self.tokens = self.limits.burst

    def creates_ready(self, now: float) -> int:
        """How many creates may leave at this moment."""
        self._refill(now)
        if now < self.paused_until:
            return 0
        free = self.limits.in_flight - self.creates_in_flight
        return max(0, min(free, int(self.tokens - self.limits.reserve)))

    def take_create(self) -> None:
        self.tokens -= 1
        self.creates_in_flight += 1

    def give_back(self, *, unused: bool = False) -> None:
        """A create has ended; `unused` when it never left."""
        self.creates_in_flight -= 1
        assert self.creates_in_flight >= 0
        if unused:
            self.tokens = min(self.tokens + 1, self.limits.burst)
        else:
            self.taken_creates += 1

    def take_question(self, now: float, weight: float = 1.0) -> float:
        """Takes the tokens of a look-up or cancel, from the reserve too. Returns the seconds to
        wait before it leaves: a question is late rather than lost."""
        self._refill(now)
        self.tokens -= weight
        self.taken_questions += weight
        wait_s = max(0.0, -self.tokens / self.limits.requests_per_s)
        self.waited_s += wait_s
        return wait_s

    def left(self, now: float) -> float:
        """Tokens at this moment; below zero while questions wait."""
        self._refill(now)
        return self.tokens

    def may_poll(self, now: float) -> bool:
        """Whether a poll that can wait (open orders) may leave: the reserve is for what cannot."""
        self._refill(now)
        return self.tokens > self.limits.reserve / 2

    def pause(self, now: float, seconds: float) -> None:
        self.paused_until = max(self.paused_until, now + seconds)

    def next_create_at(self, now: float) -> float:
        """When it is worth asking again, given that none may leave now."""
        missing = 1 + self.limits.reserve - self.tokens
        return max(self.paused_until, now + max(0.0, missing / self.limits.requests_per_s))

    def _refill(self, now: float) -> None:
        passed = max(0.0, now - self.filled_at)
        self.filled_at = now
        self.tokens = min(self.limits.burst, self.tokens + passed * self.limits.requests_per_s)
