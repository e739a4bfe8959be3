"""Sign requests in the vendor's older way (HmacSHA256 over a GET URL or a form), without any SDK.

Source: "Signature" of the CVM API documentation. Small requests go as a URL, larger ones as a form.
"""

import base64
import hashlib
import hmac
import json
import random
import time
import urllib.parse
import urllib.request
from typing import Any

SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
VERSIONS = {"cvm": "2017-03-12", "vpc": "2017-03-12", "cbs": "2017-03-12", "tag": "2018-08-13", "sts": "2018-08-13"}
URL_MAX = 2000


def ask(api: str, service: str, action: str, params: dict[str, Any]) -> dict[str, Any]:
    """The content of `Response`."""
    pairs = {name: value if isinstance(value, str) else json.dumps(value) for name, value in dotted(params)} | {
        "Action": action,
        "Version": VERSIONS[service],
        "Region": "ap-guangzhou",
        "Timestamp": str(int(time.time())),
        "Nonce": str(random.randrange(1, 10**6)),
        "SecretId": SECRET_ID,
        "SignatureMethod": "HmacSHA256",
    }
    method = "GET" if sum(map(len, pairs.values())) < URL_MAX else "POST"
    text = f"{method}{api}/?" + "&".join(f"{name}={pairs[name]}" for name in sorted(pairs))
    digest = hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).digest()
    query = urllib.parse.urlencode({**pairs, "Signature": base64.b64encode(digest).decode()})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = (
        urllib.request.Request(f"http://{api}/?{query}")
        if method == "GET"
        else urllib.request.Request(f"http://{api}/", query.encode(), form)
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        found: dict[str, Any] = json.load(answer)["Response"]
        return found


def dotted(value: Any, path: str = "") -> Any:
    """Every leaf with its dotted name."""
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        where = f"{path}.{name}" if path else str(name)
        if isinstance(item, (dict, list)):
            yield from dotted(item, where)
        else:
            yield where, item
