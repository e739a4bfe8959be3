"""The request table, the answers and the codes, compared with the installed official SDK: none of them can rot."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.cvm.v20170312 import errorcodes, models

import cvmsim
from cvmsim.actions import ACTIONS
from cvmsim.schema import shapes
from cvmsim.switches import BY_NAME

ROOM = Path(cvmsim.__file__).parent
CVM_ACTIONS = sorted(action for service, action in ACTIONS if service == "cvm")
PLATFORM_CODES = {  # common to all products, sent by the gateway, in no product's list
    "AuthFailure.InvalidAuthorization", "AuthFailure.SecretIdNotFound", "AuthFailure.SignatureExpire",
    "AuthFailure.SignatureFailure", "AuthFailure.TokenFailure", "AuthFailure.UnauthorizedOperation",
    "DryRunOperation", "InvalidAction", "InvalidParameter", "InvalidRequest", "MissingParameter",
    "NoSuchProduct", "NoSuchVersion", "RequestLimitExceeded", "RequestSizeLimitExceeded",
    "UnauthorizedOperation", "UnknownParameter", "UnsupportedOperation", "UnsupportedProtocol",
    "UnsupportedRegion",
}  # fmt: skip
STATE_CODE = re.compile(r"UnsupportedOperation\.InstanceState\w+")
OTHER_CODES = {  # of sts, vpc, cbs and tag; `make conformance` compares them with the SDKs of these products
    "InvalidParameter.OverTimeError", "InvalidParameter.ParamError", "ResourceNotFound.RoleNotFound",
    "InvalidParameter.WebIdentityTokenError",
    "InvalidAddressId.NotFound", "InvalidParameter.Coexist", "InvalidParameterValue.Malformed", "ResourceNotFound",
    "InvalidDiskId.NotFound", "ResourceUnavailable.Attached", "InvalidParameterValue.DeleteTagsParamError",
    "InvalidParameterValue.OffsetInvalid", "InvalidParameterValue.ResourceDescriptionError",
    "InvalidParameterValue.ResourceIdInvalid", "InvalidParameterValue.ResourcePrefixInvalid",
    "InvalidParameterValue.ServiceTypeInvalid", "InvalidParameterValue.TagKeyDuplicate",
    "InvalidParameterValue.UinInvalid", "LimitExceeded.ResourceAttachedTags", "LimitExceeded.ResourceNumPerRequest",
    "LimitExceeded.TagNumPerRequest",
}  # fmt: skip
OTHER_STRUCTURES = {"ResourceTag", "TagKeyObject"}  # of tag


def documented_fields(model: str) -> dict[str, str]:
    """Parameter → type as the SDK's own docstring states it, `*` for lists."""
    text = inspect.getdoc(getattr(models, model).__init__) or ""
    found = {}
    for name, type in re.findall(r":type (\w+): (.*)", text):
        base = re.sub(r".*models\.(\w+)`.*", r"\1", type).replace("list of ", "").strip()
        found[name] = ("*" if type.startswith("list of") else "") + base
    return found


def our_fields(shape: str) -> dict[str, str]:
    return {name: ("*" if field.is_list else "") + field.type for name, field in shapes()[shape].items()}


@pytest.mark.parametrize("action", CVM_ACTIONS)
def test_a_request_has_exactly_the_sdks_parameters(action: str) -> None:
    assert our_fields(action) == documented_fields(f"{action}Request")


@pytest.mark.parametrize("structure", sorted(set(shapes()) - {action for _, action in ACTIONS} - OTHER_STRUCTURES))
def test_a_structure_has_exactly_the_sdks_fields(structure: str) -> None:
    assert our_fields(structure) == documented_fields(structure)


def test_every_action_has_a_shape() -> None:
    assert {action for _, action in ACTIONS} <= set(shapes())


def strangers(model: str, value: dict[str, Any], path: str) -> list[str]:
    """Paths of a value that the SDK's model does not know, or knows with another type."""
    fields, found = documented_fields(model), []
    kinds = {"str": str, "int": int, "float": (int, float), "bool": bool}
    for name, item in value.items():
        type, where = fields.get(name), f"{path}.{name}"
        if type is None:
            found.append(f"{where} is unknown")
        elif item is None:
            continue
        elif type.startswith("*") is not isinstance(item, list):
            found.append(f"{where} is no {type}")
        else:
            for part in item if isinstance(item, list) else [item]:
                base = type.lstrip("*")
                if base not in kinds:
                    found += strangers(base, part, where)
                elif not isinstance(part, kinds[base]) or (base == "int" and isinstance(part, bool)):
                    found.append(f"{where}: {part!r} is no {base}")
    return found


def test_every_answer_is_one_the_sdk_can_read(cloud: Any) -> None:
    ids = cloud.buy(2, TagSpecification=cloud.tagged(("env", "a")), DataDisks=[{"DiskSize": 100}],
                    InstanceType="GN7.2XLARGE32",
                    InstanceMarketOptions={"SpotOptions": {"MaxPrice": "1"}})  # fmt: skip
    cloud.wait(10)
    one = {"InstanceIds": ids[:1]}
    timer = {"TimerAction": "TerminateInstances", "ActionTime": "2028-01-01T00:00:00Z"}
    (extra,) = cloud("ImportInstancesActionTimer", InstanceIds=ids[1:], ActionTimer=timer)["ActionTimerIds"]
    asked: dict[str, dict[str, Any]] = {action: {} for action in CVM_ACTIONS} | {
        "RunInstances": {**cloud.ORDER, "Placement": {"Zone": "ap-guangzhou-4"}},
        "InquiryPriceRunInstances": cloud.ORDER,
        "StopInstances": one,
        "ModifyInstancesAttribute": {**one, "InstanceName": "n"},
        "TerminateInstances": {"InstanceIds": ids[1:]},
        "CreateKeyPair": {"KeyName": "one", "ProjectId": 0},
        "DeleteKeyPairs": {"KeyIds": ["skey-gz000001"]},
        "DescribeInstancesAttributes": {**one, "Attributes": ["UserData"]},
        "ImportInstancesActionTimer": {**one, "ActionTimer": timer},
        "DeleteInstancesActionTimer": {"ActionTimerIds": [extra]},
    }
    order = sorted(CVM_ACTIONS, key=lambda action: action == "StartInstances")  # a start needs what was stopped
    for action in order:
        if action == "StartInstances":
            cloud.wait(10)
            asked[action] = one
        answer = cloud(action, **asked[action])
        assert "Error" not in answer, (action, answer)
        assert strangers(f"{action}Response", answer, action) == []


def raised_codes() -> set[str]:
    """Every literal code in the source of the simulator."""
    found: set[str] = set()
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_refusal = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError"
            if is_refusal and isinstance(node.args[0], ast.Constant):  # type: ignore[attr-defined]  # a call
                found.add(node.args[0].value)  # type: ignore[attr-defined]  # a call
            if isinstance(node, ast.Constant) and STATE_CODE.fullmatch(str(node.value)):
                found.add(str(node.value))
    return found | {*BY_NAME["sold-out-code"].settings, *BY_NAME["caller-identity"].settings} - {"answered"}


def test_every_code_is_one_the_vendor_publishes() -> None:
    published = {value for name, value in vars(errorcodes).items() if name.isupper()}
    raised = raised_codes()
    assert len(raised) > 60
    assert raised - published - PLATFORM_CODES - OTHER_CODES == set()


def test_the_simulator_needs_neither_the_sdk_nor_the_operator() -> None:
    code = (
        "import cvmsim.app, cvmsim.cli, sys;"
        "print([name for name in sys.modules if name.split('.')[0] in ('tencentcloud', 'spotcompute', 'kopf')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOM.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
