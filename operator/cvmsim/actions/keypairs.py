"""Answers DescribeKeyPairs, CreateKeyPair and DeleteKeyPairs.

Apart from `order`, which only checks that a key pair exists.
"""

import re
from collections.abc import Collection

from cvmsim.actions.call import Answer, Call, chosen, filters_of, fits, is_id, page, tag_facts
from cvmsim.actions.look import utc
from cvmsim.actions.order import tags_of
from cvmsim.errors import ApiError
from cvmsim.instance import GONE
from cvmsim.keys import KeyPair
from cvmsim.world import World

FILTERS = frozenset({"project-id", "key-name", "tag-key", "tag-value", "tag:"})
NAME, NAME_MAX = re.compile(r"[A-Za-z0-9_]+"), 25


def describe_key_pairs(world: World, call: Call) -> Answer:
    """Answers the key pairs of the region, by ids or by filters. Source: CVM API 2017-03-12, DescribeKeyPairs."""
    ids = chosen(call.params, "KeyIds", "skey", "InvalidKeyPairId.Malformed")
    filters = filters_of(call.params, FILTERS)
    known = world.key_pairs.of(call.account, call.region)
    for one in ids:
        if one not in known:
            raise ApiError("InvalidKeyPairId.NotFound", f"The key pair `{one}` does not exist.")
    found = [pair for pair in known.values() if (not ids or pair.id in ids) and fits(_facts(pair), filters)]
    rows = page(call.params, found)
    users = _users(world, call)
    return {"TotalCount": len(found), "KeyPairSet": [_row(world, pair, users.get(pair.id, [])) for pair in rows]}


def _facts(pair: KeyPair) -> dict[str, Collection[str]]:
    return {"project-id": (str(pair.project_id),), "key-name": (pair.name,), **tag_facts(dict(pair.tags))}


def _users(world: World, call: Call) -> dict[str, list[str]]:
    """Returns the ids of instances by the key pair with which they were launched."""
    found: dict[str, list[str]] = {}
    for instance in world.listed(call.account, call.region).values():
        for key in (instance.order.template.get("LoginSettings") or {}).get("KeyIds") or ():
            if instance.state != GONE:
                found.setdefault(key, []).append(instance.id)
    return found


def _row(world: World, pair: KeyPair, users: list[str]) -> Answer:
    return {
        "KeyId": pair.id,
        "KeyName": pair.name,
        "ProjectId": pair.project_id,
        "Description": "",
        "PublicKey": world.key_pairs.public_key(pair),
        "AssociatedInstanceIds": users,
        "CreatedTime": utc(pair.created_at),
        "Tags": [{"Key": key, "Value": value} for key, value in pair.tags],
    }


def create_key_pair(world: World, call: Call) -> Answer:
    """Makes a key pair, and answers its private half once. Source: CreateKeyPair."""
    name, known = call.params["KeyName"], world.key_pairs.of(call.account, call.region)
    if not name:
        raise ApiError("InvalidKeyPairNameEmpty", "`KeyName` is empty.")
    if len(name) > NAME_MAX:
        raise ApiError("InvalidKeyPairNameTooLong", f"`KeyName` has more than {NAME_MAX} characters.")
    if not NAME.fullmatch(name):
        raise ApiError("InvalidKeyPairNameIncludeIllegalChar", "`KeyName` has letters, digits and underscores only.")
    if any(pair.name == name for pair in known.values()):
        raise ApiError("InvalidKeyPairName.Duplicate", f"The key pair name `{name}` is in use.")
    tags = tuple(tags_of(world, call.params, "keypair").items())
    key_id = world.new_id("skey")
    public, private = world.key_pairs.new_halves(key_id.replace("-", "_"))
    project = call.params["ProjectId"]
    known[key_id] = KeyPair(key_id, name, public, world.now, project, tags)
    world.commits += 1
    return {
        "KeyPair": {
            "KeyId": key_id, "KeyName": name, "ProjectId": project, "PublicKey": public, "PrivateKey": private,
        }
    }  # fmt: skip


def delete_key_pairs(world: World, call: Call) -> Answer:
    """Deletes key pairs that no instance uses, all or none. Source: DeleteKeyPairs."""
    known, users = world.key_pairs.of(call.account, call.region), _users(world, call)
    ids = list(dict.fromkeys(call.params["KeyIds"]))
    for one in ids:
        if not is_id(one, "skey"):
            raise ApiError("InvalidKeyPairId.Malformed", f"The key pair id `{one}` is malformed.")
        if one not in known:
            raise ApiError("InvalidKeyPairId.NotFound", f"The key pair `{one}` does not exist.")
        if one in users:
            raise ApiError("InvalidParameterValue.KeyPairNotSupported", f"`{one}` is in use by {users[one][0]}.")
    for one in ids:
        del known[one]
        world.commits += 1
    return {}
