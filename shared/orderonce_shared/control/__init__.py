"""The schema `control`: what all services read (keys, halts, accounts, instruments) and only its
owner writes.
"""
