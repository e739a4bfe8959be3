"""The vendor's wire: signatures, headers, envelopes, judged with the official SDK and with hand-made requests."""

import base64
import hashlib
import http.client
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.common.sign import Sign
from tencentcloud.cvm.v20170312 import models

MAIN, OTHER = "100000000001", "100000000002"
SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"


def code_of(call: Any) -> str:
    with pytest.raises(TencentCloudSDKException) as caught:
        call(models.DescribeInstancesRequest())
    code: str = caught.value.get_code()
    return code


def send(served: Any, *, method: str = "POST", body: bytes = b"{}", path: str = "/", skew: int = 0,
         signed: str = "content-type;host", key: str = SECRET_KEY, date: str | None = None,
         **headers: str) -> tuple[http.client.HTTPResponse, dict[str, Any]]:  # fmt: skip
    """A request signed by hand with the SDK's own key derivation, so that every part of it can be wrong."""
    timestamp = int(time.time()) + skew
    day = date or datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    sent = {
        "Content-Type": "application/json",
        "Host": served.address.api,
        "X-TC-Action": "DescribeInstances",
        "X-TC-Version": "2017-03-12",
        "X-TC-Region": "ap-guangzhou",
        "X-TC-Timestamp": str(timestamp),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lower = {name.lower(): value for name, value in sent.items()}
    listed = "".join(f"{name}:{lower[name].lower()}\n" for name in signed.split(";"))
    canonical = f"{method}\n/\n\n{listed}\n{signed}\n{hashlib.sha256(body).hexdigest()}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"TC3-HMAC-SHA256\n{timestamp}\n{day}/cvm/tc3_request\n{hashed}"
    signature = Sign.sign_tc3(key, day, "cvm", text)
    sent["Authorization"] = (
        f"TC3-HMAC-SHA256 Credential={SECRET_ID}/{day}/cvm/tc3_request, SignedHeaders={signed}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(served.address.api, timeout=60)
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    return answer, json.loads(answer.read())["Response"]


def test_the_official_sdk_is_understood(served: Any) -> None:
    request = models.RunInstancesRequest()
    request.from_json_string(json.dumps(ORDER_BY_SDK))
    answer = served.client().RunInstances(request)
    assert len(answer.InstanceIdSet) == 2
    listed = served.client().DescribeInstances(models.DescribeInstancesRequest())
    assert [row.InstanceId for row in listed.InstanceSet] == answer.InstanceIdSet
    assert listed.InstanceSet[0].LatestOperationRequestId == answer.RequestId


ORDER_BY_SDK = {
    "InstanceChargeType": "SPOTPAID",
    "Placement": {"Zone": "ap-guangzhou-3"},
    "InstanceType": "S2.MEDIUM4",
    "ImageId": "img-pmqg1cw7",
    "InstanceCount": 2,
}


@pytest.mark.parametrize(
    ("secret_id", "key", "token", "code"),
    [
        ("AKIDnobody", SECRET_KEY, None, "AuthFailure.SecretIdNotFound"),
        (SECRET_ID, "wrong", None, "AuthFailure.SignatureFailure"),
        (SECRET_ID, SECRET_KEY, "stray", "AuthFailure.TokenFailure"),
    ],
)
def test_wrong_credentials_get_the_vendors_code(
    served: Any, secret_id: str, key: str, token: str | None, code: str
) -> None:
    assert code_of(served.client(secret_id, key, token).DescribeInstances) == code
    row = served.control("GET", "ledger")[1]["requests"][-1]
    assert (row["code"], row["account"]) == (code, None)


def test_errors_come_with_status_200_and_the_exact_content_type(served: Any) -> None:
    answer, response = send(served, body=b'{"Colour": "red"}')
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert response["Error"]["Code"] == "UnknownParameter"
    assert response["RequestId"]


def test_success_has_the_exact_content_type_too(served: Any) -> None:
    answer, response = send(served)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert response["TotalCount"] == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"skew": -301}, "AuthFailure.SignatureExpire"),
        ({"skew": 302}, "AuthFailure.SignatureExpire"),
        ({"skew": -290}, None),
        ({"date": "2020-01-01"}, "AuthFailure.SignatureFailure"),
        ({"key": "wrong"}, "AuthFailure.SignatureFailure"),
        ({"signed": "host"}, "AuthFailure.SignatureFailure"),
        ({"signed": "content-type;host;x-tc-action"}, None),
        ({"Content_Type": "application/json; charset=utf-8"}, None),
        ({"Content_Type": "application/x-www-form-urlencoded"}, "InvalidRequest"),
        ({"body": b"not json"}, "InvalidRequest"),
        ({"body": b"[]"}, "InvalidRequest"),
        ({"X_TC_Version": "2099-01-01"}, "NoSuchVersion"),
        ({"X_TC_Action": "Dance"}, "InvalidAction"),
        ({"X_TC_Region": "eu-nowhere"}, "UnsupportedRegion"),
        ({"method": "GET"}, None),
        ({"method": "PUT"}, "UnsupportedProtocol"),
    ],
)
def test_what_a_hand_made_request_gets(served: Any, changes: dict[str, Any], code: str | None) -> None:
    _, response = send(served, **changes)
    assert response.get("Error", {}).get("Code") == code


def test_a_tampered_body_is_refused(served: Any) -> None:
    client = served.client()
    genuine = client._build_req_inter
    client._build_req_inter = lambda *a, **k: _tamper(genuine, *a, **k)
    assert code_of(client.DescribeInstances) == "AuthFailure.SignatureFailure"


def _tamper(genuine: Any, action: Any, params: Any, request: Any, *rest: Any) -> None:
    genuine(action, params, request, *rest)
    request.data = '{"Limit": 99}'


def test_no_authorization_at_all(served: Any) -> None:
    connection = http.client.HTTPConnection(served.address.api, timeout=60)
    connection.request("POST", "/", b"{}", {"Content-Type": "application/json"})
    response = json.loads(connection.getresponse().read())["Response"]
    assert response["Error"]["Code"] == "AuthFailure.InvalidAuthorization"


def test_the_worlds_clock_judges_signatures_when_switched(served: Any) -> None:
    served.control("POST", "switches", {"skew-clock": "world"})
    served.control("POST", "clock", {"advance": 600})
    assert code_of(served.client().DescribeInstances) == "AuthFailure.SignatureExpire"
    served.control("POST", "switches", {"skew-clock": "wall"})
    assert served.client().DescribeInstances(models.DescribeInstancesRequest()).TotalCount == 0


def ask_sts(served: Any, key: Credential, action: str, **params: Any) -> dict[str, Any]:
    http = HttpProfile(protocol="http", endpoint=served.address.api)
    sts = CommonClient("sts", "2018-08-13", key, "", ClientProfile(httpProfile=http))
    answer: dict[str, Any] = sts.call_json(action, params)["Response"]
    return answer


def assume(served: Any, arn: str, **params: Any) -> dict[str, Any]:
    key = Credential(SECRET_ID, SECRET_KEY)
    return ask_sts(served, key, "AssumeRole", RoleArn=arn, RoleSessionName="s", **params)


def test_an_assumed_role_works_until_it_expires(served: Any) -> None:
    answer = assume(served, "qcs::cam::uin/100000000001:roleName/spot-operator", DurationSeconds=900)
    keys = answer["Credentials"]
    client = served.client(keys["TmpSecretId"], keys["TmpSecretKey"], keys["Token"])
    assert client.DescribeInstances(models.DescribeInstancesRequest()).TotalCount == 0
    assert code_of(served.client(keys["TmpSecretId"], keys["TmpSecretKey"]).DescribeInstances) == (
        "AuthFailure.TokenFailure"
    )
    served.control("POST", "clock", {"advance": 900})
    assert code_of(client.DescribeInstances) == "AuthFailure.TokenFailure"


@pytest.mark.parametrize(
    ("arn", "params", "code"),
    [
        ("nonsense", {}, "InvalidParameter.ParamError"),
        ("qcs::cam::uin/100000000002:roleName/spot-operator", {}, "ResourceNotFound.RoleNotFound"),
        ("qcs::cam::uin/100000000001:roleName/x", {"DurationSeconds": 99999}, "InvalidParameter.OverTimeError"),
    ],
)
def test_a_role_that_cannot_be_assumed(served: Any, arn: str, params: dict[str, Any], code: str) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        assume(served, arn, **params)
    assert caught.value.get_code() == code


KEYS = [
    pytest.param(SECRET_ID, SECRET_KEY, MAIN, id="main"),
    pytest.param(SECRET_ID[:-1] + "2", SECRET_KEY[:-1] + "2", OTHER, id="other"),
]


@pytest.mark.parametrize(("secret_id", "secret_key", "uin"), KEYS)
def test_a_key_is_told_whose_it_is(served: Any, secret_id: str, secret_key: str, uin: str) -> None:
    answer = ask_sts(served, Credential(secret_id, secret_key), "GetCallerIdentity")
    assert answer.pop("RequestId")
    assert answer == {
        "Type": "CAMUser",
        "AccountId": uin,
        "UserId": uin,
        "PrincipalId": uin,
        "Arn": f"qcs::cam:{uin}:uin/{uin}",
    }


def test_a_second_key_of_an_account_is_told_the_same(served: Any) -> None:
    first = ask_sts(served, Credential(SECRET_ID, SECRET_KEY), "GetCallerIdentity")
    served.control("POST", "credentials", {"op": "add", "secretId": "AKIDsecond", "secretKey": "k", "account": MAIN})
    second = ask_sts(served, Credential("AKIDsecond", "k"), "GetCallerIdentity")
    assert second | {"RequestId": ""} == first | {"RequestId": ""}


def test_temporary_credentials_are_told_whose_role_they_play(served: Any) -> None:
    keys = assume(served, f"qcs::cam::uin/{MAIN}:roleName/spot-operator")["Credentials"]
    key = Credential(keys["TmpSecretId"], keys["TmpSecretKey"], keys["Token"])
    answer = ask_sts(served, key, "GetCallerIdentity")
    role, _, session = answer["UserId"].partition(":")
    assert (answer["Type"], answer["AccountId"], answer["PrincipalId"]) == ("CAMRole", MAIN, MAIN)
    assert (role.isdigit(), session) == (True, "s")
    assert answer["Arn"] == f"qcs::sts:{MAIN}:assumed-role/{role}"
    served.control("POST", "clock", {"advance": 7200})
    with pytest.raises(TencentCloudSDKException) as caught:
        ask_sts(served, key, "GetCallerIdentity")
    assert caught.value.get_code() == "AuthFailure.TokenFailure"


def refusal_of_identity(served: Any, secret_key: str = SECRET_KEY, **params: Any) -> str:
    with pytest.raises(TencentCloudSDKException) as caught:
        ask_sts(served, Credential(SECRET_ID, secret_key), "GetCallerIdentity", **params)
    return str(caught.value.get_code())


def test_who_one_is_takes_a_signature_no_parameters_and_a_rate(served: Any) -> None:
    assert refusal_of_identity(served, "wrong") == "AuthFailure.SignatureFailure"
    assert refusal_of_identity(served, AccountId=MAIN) == "UnknownParameter"
    served.control("POST", "limits", {"GetCallerIdentity": 1})
    ask_sts(served, Credential(SECRET_ID, SECRET_KEY), "GetCallerIdentity")
    assert refusal_of_identity(served) == "RequestLimitExceeded"


@pytest.mark.parametrize("code", ["AuthFailure.UnauthorizedOperation", "UnauthorizedOperation"])
def test_a_policy_may_refuse_to_say_whose_a_key_is(served: Any, code: str) -> None:
    served.control("POST", "switches", {"caller-identity": code})
    assert refusal_of_identity(served) == code
    served.control("POST", "switches", {"caller-identity": "answered"})
    served.control("POST", "faults", {"kind": "error", "action": "GetCallerIdentity", "code": "InternalError"})
    assert refusal_of_identity(served) == "InternalError"
    assert ask_sts(served, Credential(SECRET_ID, SECRET_KEY), "GetCallerIdentity")["AccountId"] == MAIN


def token_of_a_pod(expires_at: float) -> str:
    parts = [{"alg": "none"}, {"exp": expires_at}]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])


def unsigned(served: Any, action: str = "AssumeRoleWithWebIdentity", **changes: Any) -> dict[str, Any]:
    params = {"ProviderId": "cls-sim00001", "WebIdentityToken": token_of_a_pod(4e9), "RoleSessionName": "s"}
    params |= {"RoleArn": f"qcs::cam::uin/{MAIN}:roleName/spot-operator"} | changes
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=served.address.api))
    sts = CommonClient("sts", "2018-08-13", None, "ap-guangzhou", profile)
    answer: dict[str, Any] = sts.call_json(action, params, options={"SkipSign": True})["Response"]
    return answer


def test_a_pod_shows_its_token_instead_of_a_signature(served: Any) -> None:
    answer = unsigned(served, DurationSeconds=900)
    key = Credential(*(answer["Credentials"][name] for name in ("TmpSecretId", "TmpSecretKey", "Token")))
    assert ask_sts(served, key, "GetCallerIdentity")["Type"] == "CAMRole"
    served.control("POST", "clock", {"advance": 900})
    with pytest.raises(TencentCloudSDKException, match="token is wrong or has expired"):
        ask_sts(served, key, "GetCallerIdentity")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"WebIdentityToken": "nonsense"}, "InvalidParameter.WebIdentityTokenError"),
        ({"WebIdentityToken": "a.!.c"}, "InvalidParameter.WebIdentityTokenError"),
        ({"WebIdentityToken": token_of_a_pod(1.0)}, "InvalidParameter.WebIdentityTokenError"),
        ({"ProviderId": "cls-other"}, "InvalidParameter.ParamError"),
        ({"RoleArn": f"qcs::cam::uin/{MAIN}:roleName/none"}, "ResourceNotFound.RoleNotFound"),
        ({"DurationSeconds": 99999}, "InvalidParameter.OverTimeError"),
        ({"ProviderId": 7}, "InvalidParameter"),
        ({"action": "GetCallerIdentity"}, "AuthFailure.InvalidAuthorization"),
        ({"action": "AssumeRole"}, "AuthFailure.InvalidAuthorization"),
    ],
)
def test_what_is_not_signed_is_refused_unless_a_token_stands_for_it(
    served: Any, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        unsigned(served, **changes)
    assert caught.value.get_code() == code


def test_a_machine_with_a_role_reads_keys_that_are_replaced_before_they_end(served: Any) -> None:
    path = "meta-data/cam/security-credentials/"
    assert metadata(served, None, path) == (200, "spot-operator")
    assert metadata(served, None, path + "other")[0] == 404
    seen = set()
    for _ in range(12):
        key = json.loads(metadata(served, None, path + "spot-operator")[1])
        assert key["Code"] == "Success"
        assert key["ExpiredTime"] > served.control("GET", "clock")[1]["now"] + 2000
        seen.add(key["TmpSecretId"])
        signer = Credential(key["TmpSecretId"], key["TmpSecretKey"], key["Token"])
        assert ask_sts(served, signer, "GetCallerIdentity")["AccountId"] == MAIN
        served.control("POST", "clock", {"advance": 1200})
    assert 3 <= len(seen) <= 4


def test_an_instance_reads_keys_only_of_the_role_it_was_bought_with(served: Any) -> None:
    path = "meta-data/cam/security-credentials/"
    request = models.RunInstancesRequest()
    request.from_json_string(json.dumps(ORDER_BY_SDK | {"CamRoleName": "spot-worker", "InstanceCount": 1}))
    with_role = served.client().RunInstances(request).InstanceIdSet[0]
    request.from_json_string(json.dumps(ORDER_BY_SDK | {"InstanceCount": 1}))
    without = served.client().RunInstances(request).InstanceIdSet[0]
    assert metadata(served, with_role, path) == (200, "spot-worker")
    assert json.loads(metadata(served, with_role, path + "spot-worker")[1])["Token"]
    assert metadata(served, with_role, path + "spot-operator")[0] == 404
    assert metadata(served, without, path)[0] == 404


def metadata(served: Any, instance_id: str | None, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(served.address.api, timeout=60)
    connection.request("GET", f"/latest/{path}", headers={"X-Sim-Instance": instance_id} if instance_id else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def notice(served: Any, instance_id: str) -> tuple[int, str]:
    return metadata(served, instance_id, "meta-data/spot/termination-time")


def test_an_instance_reads_what_it_is_in_the_metadata(served: Any) -> None:
    order = ORDER_BY_SDK | {"UserData": base64.b64encode("#!/bin/sh\necho 渲染\n".encode()).decode()}
    request = models.RunInstancesRequest()
    request.from_json_string(json.dumps(order))
    one = served.client().RunInstances(request).InstanceIdSet[0]
    assert metadata(served, one, "user-data") == (200, "#!/bin/sh\necho 渲染\n")
    assert metadata(served, one, "meta-data/instance-id") == (200, one)
    assert metadata(served, one, "meta-data/placement/zone") == (200, order["Placement"]["Zone"])
    assert metadata(served, one, "meta-data/no-such-thing")[0] == 404
    assert metadata(served, "ins-unknown", "user-data")[0] == 404


def test_an_instance_reads_its_notice_in_the_metadata(served: Any) -> None:
    request = models.RunInstancesRequest()
    request.from_json_string(json.dumps(ORDER_BY_SDK))
    one, other = served.client().RunInstances(request).InstanceIdSet
    served.control("POST", "clock", {"advance": 10})
    assert notice(served, one)[0] == 404
    reclaim_at = served.control("POST", "interrupt", {"instances": [one]})[1]["reclaimAt"]
    status, text = notice(served, one)
    assert status == 200
    assert datetime.strptime(f"{text} +0800", "%Y-%m-%d %H:%M:%S %z").timestamp() == int(reclaim_at)
    assert notice(served, other)[0] == 404
    served.control("POST", "clock", {"advance": 120})
    assert notice(served, one)[0] == 404
    assert served.control("GET", "instances")[1]["instances"][0]["state"] == "TERMINATING"
