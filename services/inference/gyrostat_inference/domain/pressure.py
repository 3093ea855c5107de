"""How much of what is new is kept while the spool fills, so that what is archived covers the whole of a long outage and
not its beginning alone.
"""

SAMPLED_FROM = 0.5


def kept_share(used: float) -> float:
    """The share of predictions to keep when this share of the room is used: all up to the half, then falling.

    The square makes what is left last: with a steady load the spool comes closer to full and does not reach it,
    and the share after n times the time that the second half would have lasted is 1 / (1 + n)².

    >>> [kept_share(used) for used in (0.2, 0.5, 0.75, 0.9, 1.0, 1.7)]
    [1.0, 1.0, 0.25, 0.04, 0.0, 0.0]
    """
    left = max(0.0, 1.0 - used) / (1.0 - SAMPLED_FROM)
    return min(1.0, round(left * left, 4))
