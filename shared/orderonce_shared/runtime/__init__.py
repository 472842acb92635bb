"""Plumbing: clock, ids, database, Kafka, process life, admin port, settings, logs. Decides nothing
about an order.
"""
