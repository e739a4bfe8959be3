"""The demo: control plane, simulated cloud and operator together on this machine, and the story they tell.

Beside `localcluster` because it is scaffolding too: it speaks to the operator through kubectl alone, and believes the
simulator's ledger alone.
"""
