"""The one door to exchanges, over ccxt: import `Door` from `.adapter`, the evidence table from
`.evidence`.

Nothing is imported here, so that whoever wants the table alone does not load ccxt.
"""
