"""Drive cvmsim with the vendor's SDKs for Go, Node.js and Java, and with every signature, none of them modified.

Each SDK is installed by its package name into an environment of its own under `.cache`. A small program in `speakers`
speaks for it: it reads a key, an action and parameters, lets the SDK's typed client send them, and writes the answer.
So all three are asked the same. A language whose tools are not installed is skipped, and the table says so.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SPEAKERS = Path(__file__).parent / "speakers"
SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
SAMPLE: dict[str, Any] = {
    "Placement": {"Zone": "ap-guangzhou-3"},
    "InstanceChargeType": "SPOTPAID",
    "InstanceMarketOptions": {
        "MarketType": "spot",
        "SpotOptions": {"MaxPrice": "0.0923", "SpotInstanceType": "one-time"},
    },
    "ImageId": "img-pmqg1cw7",
    "InstanceType": "S2.MEDIUM4",
    "InstanceCount": 1,
}
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>conformance</groupId><artifactId>conformance</artifactId><version>1</version><dependencies><dependency>
<groupId>com.tencentcloudapi</groupId><artifactId>tencentcloud-sdk-java-cvm</artifactId><version>[3.1,4)</version>
</dependency></dependencies></project>
"""
GO_SDK = "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud"
GO_MODULES = (f"{GO_SDK}/cvm@v1.0.1000", f"{GO_SDK}/common@v1.0.1000")


class Refused(AssertionError):
    """The code that an SDK reports."""


class Speaker:
    """One running program that speaks for an SDK."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, action: str, params: dict[str, Any] | None = None, key: str = SECRET_KEY) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{key}\t{action}\t{json.dumps(params or {})}\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline() or '{"Error": "the program ended"}')
        if "Error" in found:
            raise Refused(found["Error"])
        answer: dict[str, Any] = found["Answer"]
        return answer


def node(folder: Path) -> list[str]:
    """The command of the speaker for Node.js, installed on the first run."""
    if not (folder / "node_modules").exists():
        run(["npm", "install", "--silent", "--no-fund", "--no-audit", "tencentcloud-sdk-nodejs-cvm"], folder)
    shutil.copy(SPEAKERS / "client.js", folder)
    return ["node", "client.js"]


def java(folder: Path) -> list[str]:
    """The command of the speaker for Java."""
    if not (folder / "lib").exists():
        (folder / "pom.xml").write_text(POM, encoding="utf-8")
        run(["mvn", "--quiet", "dependency:copy-dependencies", "-DoutputDirectory=lib"], folder)
    return ["java", "-cp", "lib/*", str(SPEAKERS / "Client.java")]


def go(folder: Path) -> list[str]:
    """The command of the speaker for Go."""
    shutil.copy(SPEAKERS / "client.go", folder)
    if not (folder / "go.sum").exists():
        (folder / "go.mod").write_text("module conformance\n", encoding="utf-8")
        run(["go", "get", *GO_MODULES], folder)
    run(["go", "build", "-o", "speaker", "."], folder)
    return ["./speaker"]


#: Language → the tools that it needs, and how its command is made.
SDKS: dict[str, tuple[tuple[str, ...], Callable[[Path], list[str]]]] = {
    "node": (("node", "npm"), node),
    "java": (("java", "mvn"), java),
    "go": (("go",), go),
}


def run(words: list[str], folder: Path) -> None:
    subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=600)


@contextmanager
def speaking(language: str, api: str) -> Iterator[Speaker]:
    """A speaker for the SDK of a language, pointed at the simulator."""
    folder = ROOT / ".cache" / f"conformance-{language}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [*SDKS[language][1](folder), api, SECRET_ID]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Speaker(process)
    finally:
        process.terminate()
        process.wait(10)


def lacks(language: str) -> str:
    """The first tool of a language that is not installed, or nothing."""
    return next((tool for tool in SDKS[language][0] if shutil.which(tool) is None), "")


def refusal(ask: Callable[[], object]) -> str:
    """The code with which a request is refused, or OK."""
    try:
        ask()
    except Refused as problem:
        return str(problem)
    return "OK"


def lost(raw: object, typed: object, path: str) -> list[str]:
    """The fields of an answer that the SDK reads as something else. A field that is newer than its model is skipped;
    that no field is a stranger is seen with the command line's description.
    """
    if isinstance(raw, dict):
        fields = typed if isinstance(typed, dict) else {}
        given = ((name, item) for name, item in raw.items() if fields.get(name) is not None and name != "RequestId")
        return [where for name, item in given for where in lost(item, fields[name], f"{path}.{name}")]
    if isinstance(raw, list):
        items = typed if isinstance(typed, list) else []
        if len(items) != len(raw):
            return [path] if raw else []
        return [where for one, other in zip(raw, items, strict=True) for where in lost(one, other, f"{path}[]")]
    return [] if raw == typed else [path]


def life(speak: Speaker, sim: Callable[..., Any], plain: Callable[..., Any]) -> list[str]:
    """A machine's life and the usual refusals, in the words of the SDK. `plain` asks without it. Returns what was
    wrong.
    """
    wrong: list[str] = []

    def check(what: str, seen: object, right: object) -> None:
        if seen != right:
            wrong.append(f"{what}: {seen!r}, not {right!r}")

    check("dry run", speak("RunInstances", {**SAMPLE, "DryRun": True}).get("InstanceIdSet"), None)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "渲染部 a+b"}]}]
    internet = {"InternetChargeType": "TRAFFIC_POSTPAID_BY_HOUR", "InternetMaxBandwidthOut": 5}
    ids = speak(
        "RunInstances", {**SAMPLE, "InstanceCount": 2, "TagSpecification": tags, "InternetAccessible": internet}
    )["InstanceIdSet"]
    sim("POST", "clock", advance=10)
    by_tag = {"Filters": [{"Name": "tag:team", "Values": ["渲染部 a+b"]}], "Limit": 1, "Offset": 1}
    found = speak("DescribeInstances", by_tag)
    check("list", [row["InstanceId"] for row in found["InstanceSet"]], ids[1:])
    check("public addresses", len(found["InstanceSet"][0]["PublicIpAddresses"]), 1)
    check("total", found["TotalCount"], 2)
    states = speak("DescribeInstancesStatus", {"InstanceIds": ids})["InstanceStatusSet"]
    check("states", {row["InstanceState"] for row in states}, {"RUNNING"})
    spot = {"Filters": [{"Name": "instance-charge-type", "Values": ["SPOTPAID"]}]}
    check("market", len(speak("DescribeZoneInstanceConfigInfos", spot)["InstanceTypeQuotaSet"]) > 5, True)
    for action, params in (("DescribeInstances", {}), ("DescribeZoneInstanceConfigInfos", spot)):
        check(f"fields of {action}", sorted(set(lost(plain("cvm", action, params), speak(action, params), ""))), [])
    low = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.001", "SpotInstanceType": "one-time"}}
    for what, right, ask in (
        ("a page of 101", "InvalidParameterValue.LimitExceeded", lambda: speak("DescribeInstances", {"Limit": 101})),
        ("a wrong key", "AuthFailure.SignatureFailure", lambda: speak("DescribeInstances", {}, "wrong")),
        ("a bid too low", "InvalidParameterValue.InsufficientPrice",
         lambda: speak("RunInstances", {**SAMPLE, "InstanceMarketOptions": low})),
    ):  # fmt: skip
        check(what, refusal(ask), right)
    sim("POST", "stock", zone="ap-guangzhou-3", type="S2.MEDIUM4", stock=0)
    check("sold out", refusal(lambda: speak("RunInstances", SAMPLE)), "ResourceInsufficient.SpecifiedInstanceType")
    speak("TerminateInstances", {"InstanceIds": ids})
    sim("POST", "clock", advance=10)
    check("live at the end", sim("GET", "ledger/summary")["live"], 0)
    return wrong
