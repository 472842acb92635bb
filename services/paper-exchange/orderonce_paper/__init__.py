"""Binance's spot protocol on paper: a venue for tests that keeps what it said, and makes trouble.

It imports nothing of the house, so that the executor and the venue cannot share a misconception.
"""
