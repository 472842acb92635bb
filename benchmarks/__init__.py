"""What the guarantee costs: each module is one command that prints its figure beside its limit."""
