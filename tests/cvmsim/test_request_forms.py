"""Every form of request that the vendor documents: GET and POST, TC3 and v1, judged with the official SDK."""

import base64
import hashlib
import hmac
import http.client
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.cvm.v20170312 import models
from tencentcloud.cvm.v20170312.cvm_client import CvmClient

SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
FORM = "application/x-www-form-urlencoded"
FORMS = [("TC3-HMAC-SHA256", "POST"), ("TC3-HMAC-SHA256", "GET"), ("HmacSHA256", "POST"), ("HmacSHA256", "GET"),
         ("HmacSHA1", "POST"), ("HmacSHA1", "GET")]  # fmt: skip

#: The vendor's sample purchase, as its query names the parameters.
SAMPLE = {
    "Placement.Zone": "ap-guangzhou-3",
    "InstanceChargeType": "SPOTPAID",
    "InstanceMarketOptions.MarketType": "spot",
    "InstanceMarketOptions.SpotOptions.MaxPrice": "0.0923",
    "InstanceMarketOptions.SpotOptions.SpotInstanceType": "one-time",
    "ImageId": "img-pmqg1cw7",
    "InstanceType": "S2.MEDIUM4",
    "InstanceCount": "1",
}


def sdk(served: Any, sign: str, method: str, key: str = SECRET_KEY) -> CvmClient:
    http_profile = HttpProfile(protocol="http", endpoint=served.address.api, reqMethod=method, reqTimeout=10)
    profile = ClientProfile(signMethod=sign, httpProfile=http_profile, language="en-US")
    return CvmClient(Credential(SECRET_ID, key), "ap-guangzhou", profile)


@pytest.mark.parametrize(("sign", "method"), FORMS)
def test_the_official_sdk_is_understood_in_every_form(served: Any, sign: str, method: str) -> None:
    request = models.RunInstancesRequest()
    request.from_json_string(json.dumps({
        "InstanceChargeType": "SPOTPAID", "Placement": {"Zone": "ap-guangzhou-3"}, "InstanceType": "S2.MEDIUM4",
        "ImageId": "img-pmqg1cw7", "InstanceCount": 2, "DisableApiTermination": True, "InstanceName": "räume & mehr+1",
        "TagSpecification": [{"ResourceType": "instance", "Tags": [{"Key": "env", "Value": "a@b=c+d"}]}],
    }))  # fmt: skip
    ids = sdk(served, sign, method).RunInstances(request).InstanceIdSet
    listing = models.DescribeInstancesRequest()
    listing.from_json_string('{"Filters": [{"Name": "tag:env", "Values": ["x", "a@b=c+d"]}], "Limit": 5}')
    found = sdk(served, sign, method).DescribeInstances(listing).InstanceSet
    assert [row.InstanceId for row in found] == ids
    assert [row.InstanceName for row in found] == ["räume & mehr+11", "räume & mehr+12"]
    assert found[0].DisableApiTermination is True


@pytest.mark.parametrize(("sign", "method"), FORMS)
def test_a_wrong_key_is_refused_in_every_form(served: Any, sign: str, method: str) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        sdk(served, sign, method, "wrong").DescribeInstances(models.DescribeInstancesRequest())
    assert caught.value.get_code() == "AuthFailure.SignatureFailure"
    row = served.control("GET", "ledger")[1]["requests"][-1]
    assert (row["action"], row["region"], row["code"]) == (
        "DescribeInstances", "ap-guangzhou", "AuthFailure.SignatureFailure")  # fmt: skip


def signed(host: str, action: str = "RunInstances", method: str = "GET", **changes: Any) -> dict[str, str]:
    """The parameters of a v1 request, signed last. A change to None leaves a parameter out."""
    common = {"Action": action, "Version": "2017-03-12", "Region": "ap-guangzhou", "Timestamp": str(int(time.time())),
              "Nonce": "11886", "SecretId": SECRET_ID}  # fmt: skip
    pairs = {name: value for name, value in {**common, **changes}.items() if value is not None}
    text = f"{method}{host}/?" + "&".join(f"{name}={pairs[name]}" for name in sorted(pairs))
    digest = hashlib.sha256 if pairs.get("SignatureMethod") == "HmacSHA256" else hashlib.sha1
    signature = hmac.new(SECRET_KEY.encode(), text.encode(), digest).digest()
    return {**pairs, "Signature": base64.b64encode(signature).decode()}


def ask(served: Any, query: str, method: str = "GET", body: bytes | None = None, **headers: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(served.address.api, timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"/?{query}" if query else "/", body, sent)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    found: dict[str, Any] = json.loads(answer.read())["Response"]
    return found


def code(answer: dict[str, Any]) -> str | None:
    found: str | None = answer.get("Error", {}).get("Code")
    return found


def test_the_vendors_sample_url_buys_one_instance(served: Any) -> None:
    answer = ask(served, urlencode(signed(served.address.api, **SAMPLE)))
    assert set(answer) == {"InstanceIdSet", "RequestId"}
    (bought,) = served.control("GET", "ledger")[1]["instances"]
    assert answer["InstanceIdSet"] == [bought["id"]]
    assert (bought["zone"], bought["type"], bought["imageId"], bought["bid"]) == (
        "ap-guangzhou-3", "S2.MEDIUM4", "img-pmqg1cw7", "0.0923")  # fmt: skip


def test_the_host_may_be_signed_without_its_port_and_under_the_vendors_name(served: Any) -> None:
    assert code(ask(served, urlencode(signed("127.0.0.1", **SAMPLE)))) is None
    name = "cvm.tencentcloudapi.com"
    assert code(ask(served, urlencode(signed(name, **SAMPLE)), Host=name)) is None
    assert code(ask(served, urlencode(signed("cvm.example.org", **SAMPLE)))) == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"SecretId": None}, "MissingParameter"),
        ({"SecretId": "AKIDnobody"}, "AuthFailure.SecretIdNotFound"),
        ({"Timestamp": None}, "MissingParameter"),
        ({"Timestamp": "yesterday"}, "AuthFailure.SignatureFailure"),
        ({"Timestamp": "1"}, "AuthFailure.SignatureExpire"),
        ({"Nonce": None}, "MissingParameter"),
        ({"Nonce": "-1"}, "InvalidParameter"),
        ({"Token": "stray"}, "AuthFailure.TokenFailure"),
        ({"SignatureMethod": "HmacMD5"}, None),  # the vendor reads every other word as HmacSHA1
        ({"action": "Dance"}, "InvalidAction"),
        ({"Version": None}, "MissingParameter"),
        ({"Version": "2099-01-01"}, "NoSuchProduct"),
        ({"Region": "eu-nowhere"}, "UnsupportedRegion"),
        ({"InstanceCount": "two"}, "InvalidParameter"),
        ({"InstanceCount": ""}, "InvalidParameter"),
        ({"InstanceCount": "9" * 30}, "InvalidParameter"),
        ({"DryRun": "perhaps"}, "InvalidParameter"),
        ({"Placement": "x"}, "InvalidParameter"),
        ({"InstanceType.Name": "x", "InstanceType": None}, "InvalidParameter"),
        ({"SecurityGroupIds": "sg-gz000001"}, "InvalidParameter"),
        ({"SecurityGroupIds.first": "sg-gz000001"}, "InvalidParameter"),
        ({".".join("abcdefghijklmno"): "x"}, "InvalidParameter"),
        ({"Placement..Zone": "x"}, "InvalidParameter"),
        ({"Colour": "red"}, "UnknownParameter"),
        ({"SystemDisk.Colour": "red"}, "UnknownParameter"),
    ],
)
def test_what_a_wrong_query_gets(served: Any, changes: dict[str, Any], wanted: str | None) -> None:
    assert code(ask(served, urlencode(signed(served.address.api, **{**SAMPLE, **changes})))) == wanted


def test_parameters_that_come_twice_or_are_no_text_are_refused(served: Any) -> None:
    query = urlencode(signed(served.address.api, **SAMPLE))
    assert code(ask(served, f"{query}&ImageId=img-pmqg1cw7")) == "InvalidParameter"
    assert code(ask(served, f"{query}&ImageName=%FF%FE")) == "InvalidParameter"
    assert code(ask(served, "")) == "MissingParameter"
    assert code(ask(served, "", "POST", b"\xff\xfe", Content_Type=FORM)) == "InvalidParameter"
    half = b'{"InstanceName": "\\ud800"}'
    assert code(ask(served, "", "POST", half, Content_Type="application/json")) == "AuthFailure.InvalidAuthorization"


def test_a_url_of_more_than_32_kb_and_a_form_of_more_than_1_mb_are_refused(served: Any) -> None:
    long = urlencode(signed(served.address.api, **{**SAMPLE, "UserData": "QUFB" * 10_000}))
    assert code(ask(served, long)) == "RequestSizeLimitExceeded"
    body = urlencode(signed(served.address.api, method="POST", **{**SAMPLE, "UserData": "QUFB" * 300_000})).encode()
    assert code(ask(served, "", "POST", body, Content_Type=FORM)) == "RequestSizeLimitExceeded"


def test_a_form_buys_too(served: Any) -> None:
    body = urlencode(signed(served.address.api, method="POST", SignatureMethod="HmacSHA256", **SAMPLE)).encode()
    assert len(ask(served, "", "POST", body, Content_Type=f"{FORM}; charset=utf-8")["InstanceIdSet"]) == 1


def test_temporary_credentials_sign_in_the_old_way(served: Any) -> None:
    arn = "qcs::cam::uin/100000000001:roleName/spot-operator"
    query = {"Version": "2018-08-13", "Region": "", "RoleArn": arn, "RoleSessionName": "s", "DurationSeconds": "900"}
    keys = ask(served, urlencode(signed(served.address.api, "AssumeRole", **query)))["Credentials"]
    client = sdk(served, "HmacSHA1", "GET", keys["TmpSecretKey"])
    client.credential = Credential(keys["TmpSecretId"], keys["TmpSecretKey"], keys["Token"])
    assert client.DescribeInstances(models.DescribeInstancesRequest()).TotalCount == 0
