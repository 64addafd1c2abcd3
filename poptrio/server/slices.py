"""How much of a long walk is done at once, so that packets have their turn in between."""

SLICE = 200
"""Calls that are looked at between two checkpoints: less than a millisecond."""

VIEWS = 50
"""Calls or events that are put into words between two checkpoints."""
