"""Lends keys that expire: to who assumes a role, to who shows a token of its pod, and to machines with a role.

Apart from `world`, which holds every key, and from the actions and the metadata, which both lend them.
"""

import hashlib
import re

from cvmsim.credentials import Credited
from cvmsim.errors import ApiError
from cvmsim.world import World

ARN = re.compile(r"qcs::cam::uin/(?P<uin>\d+):role(?:Name/(?P<name>[\w+=,.@-]+)|/(?P<id>\d+))")

#: Seconds for which a machine's key is good. It is replaced when a third of them is left, so no reader meets the end.
MACHINE_SECONDS = 7200


def lend(world: World, arn: str, session: str, seconds: float, applicant: str) -> Credited:
    """Returns a new key of the role that is good for so many seconds. `applicant` is the uin of who asked.

    Raises ApiError when the ARN has a wrong form, or there is no such role.
    """
    uin = account_of(world, arn)
    secret_id, key, token = (world.new_secret(prefix) for prefix in ("AKIDtemporary", "", "token"))
    lent = Credited(secret_id, key, uin, token, world.now + seconds, f"{role_id(arn)}:{session}", applicant)
    world.credentials[secret_id] = lent
    return lent


def key_of_machine(world: World, account: str, role: str) -> Credited:
    """Returns the key that a machine of the account with that role reads in its metadata. All of them read the same."""
    held = world.of_machines.get((account, role))
    if held is None or held.expires_at is None or held.expires_at - world.now < MACHINE_SECONDS / 3:
        arn = f"qcs::cam::uin/{account}:roleName/{role}"
        held = lend(world, arn, "machine", MACHINE_SECONDS, account)
        world.of_machines[account, role] = held
    return held


def role_id(arn: str) -> str:
    """Returns the number of a role. It is the same at each call."""
    return f"4611686018{int(hashlib.sha256(arn.encode()).hexdigest(), 16) % 10**9:09d}"


def account_of(world: World, arn: str) -> str:
    """Returns the uin of a role's ARN. Raises ApiError when the form is wrong or there is no such role."""
    found = ARN.fullmatch(arn)
    if found is None:
        raise ApiError("InvalidParameter.ParamError", f"`RoleArn` {arn!r} is not qcs::cam::uin/<uin>:roleName/<name>.")
    account = world.catalog.accounts.get(found["uin"])
    if account is None or found["name"] not in account.roles:
        raise ApiError("ResourceNotFound.RoleNotFound", f"The role {arn!r} does not exist.")
    return account.uin
