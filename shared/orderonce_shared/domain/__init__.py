"""The vocabulary of orderonce, on the standard library alone: no I/O, no clock, no randomness."""
