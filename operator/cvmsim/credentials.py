"""Defines `Credited`: whose key it is that signs a request.

Apart from `world`, which holds the keys, because signatures are verified without a world.
"""

from typing import NamedTuple


class Credited(NamedTuple):
    """`Credited` says whose secret id it is. `token` and `expires_at` (world seconds) are set only for temporary
    credentials.

    `session` is `roleId:roleSessionName` for a role's credentials, and `applicant` is the uin that assumed the role.
    """

    secret_id: str
    secret_key: str
    account: str
    token: str = ""
    expires_at: float | None = None
    session: str = ""
    applicant: str = ""
