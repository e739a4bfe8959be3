"""Shows an environment's status as tables for a person at a terminal: `kubectl spot`.

Apart from the operator and without its code, because it only reads what kubectl may read, like any other client.
"""
