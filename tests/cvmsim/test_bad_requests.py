"""Thousands of requests that no client should send: each gets one of the vendor's codes, none an exception."""

import base64
import hashlib
import hmac
import json
import random
import string
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from cvmsim import catalog, wire
from cvmsim.actions import ACTIONS, VERSIONS
from cvmsim.errors import ApiError
from cvmsim.schema import SCALARS, shapes
from cvmsim.signatures import Message, key_of
from cvmsim.simulator import Simulator, envelope

SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
NOW = 1_800_000_000.0
ODD = (
    "",
    "0",
    "-1",
    "true",
    "null",
    "{}",
    "[]",
    "ap-guangzhou-3",
    "ins-00000000",
    "S2.MEDIUM4",
    "img-pmqg1cw7",
    "\x00",
    "ü",
    "\U0001f600",
    "9" * 40,
    "1e999",
    "NaN",
    "a" * 300,
    "DEFAULT",
    "2026-01-01T00:00:00Z",
    "2026-01-01 00:00:00",
    "vpc-gz000001",
    "subnet-gz000003",
    "skey-gz000001",
    "%",
    "tag:",
    "instance-state",
    "SKIP",
)
ORDER = {"Placement": {"Zone": "ap-guangzhou-3"}, "InstanceType": "S2.MEDIUM4", "ImageId": "img-pmqg1cw7"}


class Fuzz:
    """Makes requests from a seed: mostly well signed, so that what lies behind the signature is reached."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def word(self) -> str:
        if self.random.random() < 0.8:
            return self.random.choice(ODD)
        return "".join(self.random.choices(string.printable, k=self.random.randrange(12)))

    def scalar(self, type: str) -> Any:
        right = {"str": self.word(), "int": self.random.randrange(-2, 200), "bool": self.random.random() < 0.5}
        wrong = (None, 1.5, float("inf"), [], {}, 10**30, True, "x", -1, [[]], {"a": None})
        return right.get(type, 0.5) if self.random.random() < 0.85 else self.random.choice(wrong)

    def value(self, type: str, is_list: bool, depth: int = 0) -> Any:
        if self.random.random() < 0.03:
            return self.scalar("str")
        if is_list:
            return [self.value(type, False, depth) for _ in range(self.random.choice((0, 1, 1, 2, 30)))]
        return self.scalar(type) if type in SCALARS else self.structure(type, depth + 1)

    def structure(self, shape: str, depth: int = 0) -> dict[str, Any]:
        found = {
            name: self.value(field.type, field.is_list, depth)
            for name, field in shapes()[shape].items()
            if self.random.random() < (0.9 if field.is_required else 0.12)
        }
        return found | ({self.word(): self.word()} if self.random.random() < 0.02 else {})

    def message(self) -> Message:
        service, action = self.random.choice(list(ACTIONS))
        params = self.structure(action)
        if action in ("RunInstances", "InquiryPriceRunInstances") and self.random.random() < 0.7:
            params = {**ORDER, **dict(self.random.sample(sorted(params.items()), k=min(2, len(params))))}
        if self.random.random() < 0.05:
            action = self.word()
        version = VERSIONS[service] if self.random.random() < 0.95 else self.word()
        make = self.random.choice((self.json_message, self.query_message, self.query_message))
        return self.torn(make(service, action, version, params))

    def json_message(self, service: str, action: str, version: str, params: Any) -> Message:
        body = json.dumps(params).encode()
        if self.random.random() < 0.05:
            body = self.random.choice((b"", b"[]", b"\xff", b"{", b"[" * 50_000, b'{"a":"\\ud800"}', body[:-1]))
        headers = {"Content-Type": "application/json", "Host": "127.0.0.1:1", "X-TC-Action": action,
                   "X-TC-Version": version, "X-TC-Region": "ap-guangzhou", "X-TC-Timestamp": str(int(NOW))}  # fmt: skip
        return self.sealed("POST", "", headers, body, service)

    def sealed(self, method: str, query: str, headers: dict[str, str], body: bytes, service: str) -> Message:
        date = datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%d")
        listed = f"content-type:{headers['Content-Type']}\nhost:{headers['Host']}\n"
        canonical = f"{method}\n/\n{query}\n{listed}\ncontent-type;host\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{date}/{service}/tc3_request"
        text = f"TC3-HMAC-SHA256\n{int(NOW)}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(key_of(SECRET_KEY, date, service), text.encode(), "sha256").hex()
        headers["Authorization"] = (f"TC3-HMAC-SHA256 Credential={SECRET_ID}/{scope}, "
                                    f"SignedHeaders=content-type;host, Signature={signature}")  # fmt: skip
        return Message(method, "/", query, CIMultiDict(headers), body)

    def query_message(self, service: str, action: str, version: str, params: Any) -> Message:
        pairs = {name: str(item) for name, item in dotted(params)}
        if self.random.random() < 0.3:
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": f"{service}.x", "X-TC-Action": "",
                       "X-TC-Version": version, "X-TC-Timestamp": str(int(NOW))}  # fmt: skip
            headers |= {"X-TC-Action": action, "X-TC-Region": "ap-guangzhou"}
            return self.sealed("GET", encoded(pairs), headers, b"", service)
        method = self.random.choice(("GET", "POST"))
        pairs |= {"Action": action, "Version": version, "Region": "ap-guangzhou", "Timestamp": str(int(NOW)),
                  "Nonce": "1", "SecretId": SECRET_ID, "SignatureMethod": self.random.choice(ODD)}  # fmt: skip
        text = f"{method}127.0.0.1:1/?" + "&".join(f"{name}={pairs[name]}" for name in sorted(pairs))
        digest = hmac.digest(SECRET_KEY.encode(), text.encode(), "sha1")
        query = encoded({**pairs, "Signature": base64.b64encode(digest).decode()})
        if method == "GET":
            return Message("GET", "/", query, CIMultiDict({"Host": "127.0.0.1:1"}), b"")
        form = {"Host": "127.0.0.1:1", "Content-Type": "application/x-www-form-urlencoded"}
        return Message("POST", "/", "", CIMultiDict(form), query.encode())

    def torn(self, message: Message) -> Message:
        """One request in ten is damaged after it was signed."""
        if self.random.random() > 0.1:
            return message
        headers = CIMultiDict(message.headers)
        for name in self.random.sample(sorted(headers), k=1):
            headers[name] = self.random.choice((*ODD, "\udcff", headers[name][: len(headers[name]) // 2]))
        query = self.random.choice((message.query, message.query * 2, "a" * 40_000, "%FF=%00", "&&==", "a.b=1&a=2"))
        return Message(self.random.choice(("GET", "POST", "PUT", "")), "/", query, headers, message.body)


def encoded(pairs: dict[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs.items())


def dotted(value: Any, path: str = "") -> Any:
    """Every leaf with its dotted name."""
    rows = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in rows:
        where = f"{path}.{name}" if path else str(name)
        if isinstance(item, (dict, list)):
            yield from dotted(item, where)
        else:
            yield where, item


def answer_to(simulator: Simulator, message: Message) -> bytes:
    """What the server does with a request, without a socket."""
    try:
        arrival = wire.read(message, simulator.world.credentials, NOW, NOW)
    except ApiError as refusal:
        says = wire.told(message)
        return envelope(simulator.reject(refusal, NOW, says.action, says.service, says.region))
    body = simulator.deliver(arrival, NOW).body
    assert body is not None
    return body


@pytest.mark.parametrize("count", [2_500, pytest.param(10_000, marks=pytest.mark.rare)])
def test_thousands_of_bad_requests_get_an_answer_each(count: int) -> None:
    simulator, fuzz = Simulator(catalog.load(), seed=1, now=NOW), Fuzz(7)
    simulator.limits.rates.clear()
    codes: dict[str, int] = {}
    for number in range(count):
        message = fuzz.message()
        try:
            answer = json.loads(answer_to(simulator, message))["Response"]
        except Exception as problem:
            raise AssertionError(f"request {number} ended in an exception: {message}") from problem
        code = answer.get("Error", {}).get("Code", "OK")
        codes[code] = codes.get(code, 0) + 1
        assert answer["RequestId"]
    assert codes["OK"] > count / 20, codes
    assert len(codes) > 35, codes
