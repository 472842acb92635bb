"""The load generator: open-loop arrivals, honest percentiles, an account of every order."""
