"""Answers the actions of sts: who signed a request, and temporary keys of a role in this or another account.

Apart from the cvm actions because it is another product with another version and other error codes on the same port.
"""

import base64
import binascii
import json

from cvmsim.actions.call import Answer, Call
from cvmsim.actions.look import utc
from cvmsim.errors import ApiError
from cvmsim.lending import account_of, lend
from cvmsim.world import World

SECONDS_DEFAULT, SECONDS_MAX = 7200, 43200


def assume_role(world: World, call: Call) -> Answer:
    """Returns a key that expires. Source: STS API 2018-08-13, AssumeRole."""
    return _lent(world, call, call.account)


def assume_role_with_web_identity(world: World, call: Call) -> Answer:
    """Returns a key of the role to who shows a token of an identity provider of its account. The request is unsigned.

    The token's form and its `exp` are checked. Its signature is not, because the simulator has no key of the provider.
    Source: STS API 2018-08-13, AssumeRoleWithWebIdentity.
    """
    uin = account_of(world, call.params["RoleArn"])
    provider = call.params["ProviderId"]
    if provider not in world.account(uin).identity_providers:
        raise ApiError("InvalidParameter.ParamError", f"The identity provider `{provider}` does not exist.")
    if not _is_current(call.params["WebIdentityToken"], world.now):
        raise ApiError("InvalidParameter.WebIdentityTokenError", "The web identity token is malformed or has expired.")
    return _lent(world, call, uin)


def _lent(world: World, call: Call, applicant: str) -> Answer:
    asked = call.params.get("DurationSeconds")
    seconds = SECONDS_DEFAULT if asked is None else asked
    if not 0 < seconds <= SECONDS_MAX:
        raise ApiError(
            "InvalidParameter.OverTimeError", f"`DurationSeconds` must be 1 to {SECONDS_MAX}, not {seconds}."
        )
    key = lend(world, call.params["RoleArn"], call.params["RoleSessionName"], seconds, applicant)
    expires_at = world.now + seconds
    return {
        "Credentials": {"Token": key.token, "TmpSecretId": key.secret_id, "TmpSecretKey": key.secret_key},
        "ExpiredTime": int(expires_at),
        "Expiration": utc(expires_at),
    }


def _is_current(token: str, now: float) -> bool:
    """True when it is a JSON Web Token whose `exp` lies ahead."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        return False
    try:
        claims = json.loads(base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return False
    expires_at = claims.get("exp") if isinstance(claims, dict) else None
    return isinstance(expires_at, int | float) and not isinstance(expires_at, bool) and now < expires_at


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
