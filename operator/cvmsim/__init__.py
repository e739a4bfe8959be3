"""A strict local CVM API: the judge of the operator, and a market a person can play by hand.

It shares no code with `spotcompute`: the two meet over HTTP only, as customer and cloud do.
"""
