"""Insight: segments described, named and reported in plain words (may import quality and every room below).

``measures`` says what each figure of a customer is called and counted in, ``profile`` describes segments by them in
original units, ``naming`` finds what sets a segment apart and names it, ``certainty`` says how far to trust the cut,
and ``report`` puts it all on one page. Jobs call this room.
"""
