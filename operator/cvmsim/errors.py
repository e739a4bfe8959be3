"""The one exception of the simulator: a refusal, with the vendor's code and a sentence.

Apart from the rooms that raise it, so that the state machine and the wire agree on refusals without knowing each other.
"""


class ApiError(Exception):
    """A refused request: `code` as the vendor spells it, `message` for a person.

    Raised before anything changed: who raises it has committed nothing.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class WorldFileError(Exception):
    """A world file or a side door request that a person must correct; the message names the field."""
