"""Defines the exceptions of the simulator: a refusal with the vendor's code, and a mistake of a person.

Apart from the modules that raise them, so that the state machine and the wire need not know each other.
"""


class ApiError(Exception):
    """`ApiError` refuses a request: `code` as the vendor spells it, `message` for a person.

    It is raised before anything has changed.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class WorldFileError(Exception):
    """`WorldFileError` means that a person must correct a world file or a control request.

    Its message names the field.
    """
