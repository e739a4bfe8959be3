"""Plays the demo: control plane, simulated cloud and operator together on this machine, and a story that shows them.

Apart from the operator because it uses the operator only through kubectl, and believes only the simulator's ledger.
"""
