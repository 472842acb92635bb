"""The commands, one file per noun; each talks HTTP like any other user of the system."""
