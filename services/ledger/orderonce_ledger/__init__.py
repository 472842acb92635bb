"""Writes down what happened to the money, and compares it with the venue's own statement."""
