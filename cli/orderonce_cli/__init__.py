"""The `orderonce` command: the whole system on one machine, and its HTTP routes for people."""
