"""The order API: takes commands in exactly once, tells where they stand."""
