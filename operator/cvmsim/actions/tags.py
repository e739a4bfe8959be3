"""Answers DescribeResourceTagsByResourceIds and ModifyResourceTags of the product tag, about instances.

Apart from the cvm actions because it is another product with other names for the same things.
"""

import hashlib
import re

from cvmsim.actions.call import Answer, Call, Params
from cvmsim.actions.order import TAGS_MAX, check_tag
from cvmsim.errors import ApiError
from cvmsim.instance import GONE, Instance
from cvmsim.world import World

IDS_MAX, PAGE, TAGS_PER_REQUEST = 50, 15, 10
RESOURCE = re.compile(r"qcs::(?P<service>\w+):(?P<region>[\w-]*):uin/(?P<uin>\d+):(?P<prefix>\w+)/(?P<id>[\w-]+)")
CODES = {
    "FailedOperation.TagKeyReserved": "InvalidParameterValue.ReservedTagKey",
    "FailedOperation.IllegalTagKey": "InvalidParameterValue.TagKeyCharacterIllegal",
    "FailedOperation.IllegalTagValue": "InvalidParameterValue.TagValueCharacterIllegal",
    "InvalidParameter": "InvalidParameterValue.TagValueEmpty",
}


def describe_resource_tags_by_resource_ids(world: World, call: Call) -> Answer:
    """Answers the tags of instances, one row for each. Source: Tag API 2018-08-13, the action of this name."""
    params = call.params
    _check_kind(params["ServiceType"], params["ResourcePrefix"])
    ids, region = params["ResourceIds"], params["ResourceRegion"]
    if len(ids) > IDS_MAX:
        raise ApiError("LimitExceeded.ResourceNumPerRequest", f"At most {IDS_MAX} `ResourceIds`, not {len(ids)}.")
    offset, limit = params.get("Offset") or 0, params.get("Limit") or PAGE
    if offset < 0 or limit < 0 or offset % limit:
        raise ApiError("InvalidParameterValue.OffsetInvalid", "`Offset` must be a multiple of `Limit`.")
    listed = world.listed(call.account, region)
    rows = [row for one in dict.fromkeys(ids) if one in listed for row in _rows(world, listed[one])]
    return {"TotalCount": len(rows), "Offset": offset, "Limit": limit, "Tags": rows[offset : offset + limit]}


def _rows(world: World, instance: Instance) -> list[Answer]:
    if instance.state == GONE or instance.tags_readable_at > world.now:
        return []
    return [
        {
            "TagKey": key,
            "TagValue": value,
            "ResourceId": instance.id,
            "TagKeyMd5": _md5(key),
            "TagValueMd5": _md5(value),
            "ServiceType": "cvm",
            "Category": "Custom",
        }
        for key, value in instance.tags.items()
    ]


def _md5(word: str) -> str:
    return hashlib.md5(word.encode(), usedforsecurity=False).hexdigest()


def _check_kind(service: str, prefix: str) -> None:
    if service != "cvm":
        raise ApiError("InvalidParameterValue.ServiceTypeInvalid", f"`{service}` has no tags here: only cvm has.")
    if prefix != "instance":
        raise ApiError(
            "InvalidParameterValue.ResourcePrefixInvalid", f"`{prefix}` has no tags here: only instance has."
        )


def modify_resource_tags(world: World, call: Call) -> Answer:
    """Replaces and removes tags of one instance. Source: Tag API 2018-08-13, ModifyResourceTags."""
    instance = _resource(world, call)
    replaced = _replaced(world, call.params)
    deleted = [row["TagKey"] for row in call.params.get("DeleteTags") or ()]
    if not replaced and not deleted:
        raise ApiError("MissingParameter", "One of `ReplaceTags` and `DeleteTags` is needed.")
    if max(len(replaced), len(deleted)) > TAGS_PER_REQUEST:
        raise ApiError("LimitExceeded.TagNumPerRequest", f"At most {TAGS_PER_REQUEST} tags at a time.")
    if set(replaced) & set(deleted):
        raise ApiError("InvalidParameterValue.DeleteTagsParamError", "A tag cannot be replaced and deleted at once.")
    tags = {key: value for key, value in {**instance.tags, **replaced}.items() if key not in deleted}
    if len(tags) > TAGS_MAX:
        raise ApiError("LimitExceeded.ResourceAttachedTags", f"At most {TAGS_MAX} tags, not {len(tags)}.")
    world.retag(instance, tags)
    return {}


def _replaced(world: World, params: Params) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in params.get("ReplaceTags") or ():
        try:
            check_tag(world.switches["tag-charset"], row["TagKey"], row["TagValue"])
        except ApiError as refusal:
            raise ApiError(CODES[refusal.code], refusal.message) from refusal
        if row["TagKey"] in found:
            raise ApiError("InvalidParameterValue.TagKeyDuplicate", f"`{row['TagKey']}` is given twice.")
        found[row["TagKey"]] = row["TagValue"]
    return found


def _resource(world: World, call: Call) -> Instance:
    """Returns the instance that `Resource` names in the vendor's six parts. Raises ApiError."""
    found = RESOURCE.fullmatch(call.params["Resource"])
    if found is None:
        raise ApiError("InvalidParameterValue.ResourceDescriptionError", "`Resource` has not the six parts qcs::….")
    _check_kind(found["service"], found["prefix"])
    if found["uin"] not in (call.account, "0"):
        raise ApiError("InvalidParameterValue.UinInvalid", f"The resource is not of the account {call.account}.")
    try:
        return world.find(call.account, found["region"], found["id"])
    except ApiError as absent:
        raise ApiError("InvalidParameterValue.ResourceIdInvalid", absent.message) from absent
