"""The letters that all models share. One letter per state of a row keeps the states small and the
traces short.

tests/model/test_lifecycle.py maps them to orderonce_shared.domain.lifecycle; the models import
nothing of the house.
"""

NO_ROW = "-"
CLAIMED = "C"
SENDING = "S"
UNKNOWN = "U"
OPEN = "O"
FILLED = "F"
REJECTED = "R"
LAPSED = "L"
NOT_PLACED = "N"
CANCELED = "X"

# A coarse clock of one attempt: what has passed since its CAS. Phase 0 is an attempt that does not
# exist yet.
WINDOW_OPEN = 1
WINDOW_CLOSED = 2
BOUND_PASSED = 3  # the venue's bound on late visibility: whatever was placed is visible now

LIVE = "o"  # an order at the venue ...
DONE = "f"  # ... filled ...
ENDED = "x"  # ... or canceled

TWO_CREATES = "venue executed two creates"
