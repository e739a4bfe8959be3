"""Answers the actions of sts: who signed a request, and temporary credentials of a role in this or another account.

Apart from the cvm actions because it is another product with another version and other error codes on the same port.
"""

import hashlib
import re

from cvmsim.actions.call import Answer, Call
from cvmsim.actions.look import utc
from cvmsim.credentials import Credited
from cvmsim.errors import ApiError
from cvmsim.world import World

ARN = re.compile(r"qcs::cam::uin/(?P<uin>\d+):role(?:Name/(?P<name>[\w+=,.@-]+)|/(?P<id>\d+))")
SECONDS_DEFAULT, SECONDS_MAX = 7200, 43200


def assume_role(world: World, call: Call) -> Answer:
    """Returns a key that expires. Source: STS API 2018-08-13, AssumeRole."""
    asked = call.params.get("DurationSeconds")
    seconds = SECONDS_DEFAULT if asked is None else asked
    if not 0 < seconds <= SECONDS_MAX:
        raise ApiError(
            "InvalidParameter.OverTimeError", f"`DurationSeconds` must be 1 to {SECONDS_MAX}, not {seconds}."
        )
    arn = call.params["RoleArn"]
    uin = account_of(world, arn)
    secret_id, key, token = (world.new_secret(prefix) for prefix in ("AKIDtemporary", "", "token"))
    expires_at = world.now + seconds
    session = f"{role_id(arn)}:{call.params['RoleSessionName']}"
    world.credentials[secret_id] = Credited(secret_id, key, uin, token, expires_at, session, call.account)
    return {
        "Credentials": {"Token": token, "TmpSecretId": secret_id, "TmpSecretKey": key},
        "ExpiredTime": int(expires_at),
        "Expiration": utc(expires_at),
    }


def get_caller_identity(world: World, call: Call) -> Answer:
    """Returns whose key signed the request. Source: STS API 2018-08-13, GetCallerIdentity; forms from its examples."""
    refusal = world.switches["caller-identity"]
    if refusal != "answered":
        raise ApiError(refusal, "you are not authorized to perform operation (sts:GetCallerIdentity)")
    uin, session = call.account, call.caller.session if call.caller else ""
    if not session:
        return {
            "Type": "CAMUser", "AccountId": uin, "UserId": uin, "PrincipalId": uin, "Arn": f"qcs::cam:{uin}:uin/{uin}",
        }  # fmt: skip
    return {
        "Type": "CAMRole",
        "AccountId": uin,
        "UserId": session,
        "PrincipalId": call.caller.applicant if call.caller else uin,
        "Arn": f"qcs::sts:{uin}:assumed-role/{session.partition(':')[0]}",
    }


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
