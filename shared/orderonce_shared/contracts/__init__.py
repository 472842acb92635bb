"""What travels between the services: one frozen model per record. The wire is JSON; amounts are
strings, times RFC 3339.
"""
