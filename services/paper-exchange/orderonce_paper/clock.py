"""The venue's own clock: the machine's, plus a skew and a drift that a fault may set."""

import time


class Clock:
    """Milliseconds since 1970 as the venue believes them."""

    def __init__(self) -> None:
        self._skew_ms = 0.0
        self._drift_ppm = 0.0
        self._drift_since_ns = time.monotonic_ns()

    def now_ms(self) -> int:
        drifted = (time.monotonic_ns() - self._drift_since_ns) * self._drift_ppm / 1e12
        return int(time.time_ns() / 1e6 + self._skew_ms + drifted)

    def wall_ms(self) -> int:
        """The machine's time, for the request log: what really was when."""
        return time.time_ns() // 1_000_000

    def set(self, skew_ms: float, drift_ppm: float) -> None:
        """Step to `skew_ms` off the machine's time and run `drift_ppm` fast from here."""
        self._skew_ms, self._drift_ppm = skew_ms, drift_ppm
        self._drift_since_ns = time.monotonic_ns()
