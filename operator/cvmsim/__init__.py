"""Simulates the CVM API strictly on this machine. It judges the operator, and a person can play its market by hand.

It shares no code with `spotcompute`: the two talk over HTTP only, as customer and cloud do.
"""
