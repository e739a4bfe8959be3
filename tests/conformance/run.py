"""Drive cvmsim with the vendor's own command line, unmodified: the proof that it speaks CVM and not our dialect.

Makes a virtual environment of its own under `.cache/conformance-venv` (tccli brings the whole SDK, 0.6 GB, so this
stays out of `make test`), starts a simulator over https, which is all that tccli speaks, with a certificate made for
the occasion, runs one scenario after the other and prints a table. Exits non-zero when one fails.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import clients
import declared
import samples
import signing

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".cache" / "conformance-venv"
REQUIREMENTS = ("tccli>=3.1,<4", "trustme>=1.2,<2")  # the second makes the certificate
SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
READY_SECONDS = 20
ORDER = (
    "--Placement", '{"Zone": "ap-guangzhou-3"}', "--InstanceType", "S2.MEDIUM4", "--ImageId", "img-pmqg1cw7",
    "--InstanceChargeType", "SPOTPAID", "--InstanceName", "conformance",
    "--TagSpecification", '[{"ResourceType": "instance", "Tags": [{"Key": "run", "Value": "conformance"}]}]',
)  # fmt: skip

GENERIC = """
import json, sys
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
product, version, action, params, endpoint, *key = sys.argv[1:]
profile = ClientProfile(httpProfile=HttpProfile(endpoint=endpoint))
client = CommonClient(product, version, Credential(*key), "ap-guangzhou", profile)
try:
    print(json.dumps(client.call_json(action, json.loads(params))))
except TencentCloudSDKException as refusal:
    print(refusal.get_code())
"""


class Failed(AssertionError):
    """What was expected of a scenario, and what came instead."""


@dataclass
class Bench:
    """A running simulator and the command line pointed at it."""

    tccli: Path
    api: str
    control: str
    token: str
    home: Path

    def cvm(self, action: str, *words: str, key: str = SECRET_KEY) -> dict[str, Any]:
        """One tccli call: its answer, or {"Error": code} when it printed the SDK's exception."""
        command = [
            str(self.tccli), "cvm", action, "--secretId", SECRET_ID, "--secretKey", key, "--region", "ap-guangzhou",
            "--endpoint", self.api, "--language", "en-US", *words,
        ]  # fmt: skip
        env = {**os.environ, "HOME": str(self.home)}  # a home without credentials of its own
        env.pop("PYTHONPATH", None)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        found = re.search(r"code:\s*([\w.]+)", done.stdout + done.stderr)
        if done.returncode or found:
            return {"Error": found[1] if found else f"exit {done.returncode}: {done.stderr.strip()[-300:]}"}
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def generic(self, action: str, params: dict[str, Any], product: str = "cvm") -> str:
        """The code that the SDK's untyped client gets for any parameters, or its answer."""
        words = [product, signing.VERSIONS[product], action, json.dumps(params), self.api, SECRET_ID, SECRET_KEY]
        python = str(ENVIRONMENT / "bin" / "python")
        done = subprocess.run([python, "-c", GENERIC, *words], capture_output=True, text=True, timeout=60, check=False)
        return (done.stdout or done.stderr).strip()

    def plain(self, service: str, action: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a v1-signed request over plain http, made without any SDK."""
        return signing.ask(self.api, service, action, params)

    def sim(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        data = json.dumps(body).encode() if method == "POST" else None
        headers = {"X-Sim-Token": self.token}
        request = urllib.request.Request(f"{self.control}/_sim/{path}", data, headers, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            found: dict[str, Any] = json.load(answer)
            return found

    def buy(self, count: int, *words: str, price: str = "0.0923") -> dict[str, Any]:
        market = {"MarketType": "spot", "SpotOptions": {"MaxPrice": price, "SpotInstanceType": "one-time"}}
        return self.cvm("RunInstances", *ORDER, "--InstanceCount", str(count), "--InstanceMarketOptions",
                        json.dumps(market), *words)  # fmt: skip

    def begin_again(self) -> None:
        self.sim("POST", "reset")
        self.sim("POST", "limits", **{"*": 0})

    def launched(self) -> int:
        return int(self.sim("GET", "ledger/summary")["launched"])


def expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise Failed(f"wanted {wanted!r}, found {found!r}")


# --- scenarios ----------------------------------------------------------------------------------------


def buy(bench: Bench) -> None:
    """RunInstances answers ids, and the ledger has them."""
    expect(len(bench.buy(3)["InstanceIdSet"]), 3)
    expect(bench.launched(), 3)


def list_by_tag(bench: Bench) -> None:
    """DescribeInstances finds them by tag, as written."""
    ids = bench.buy(2)["InstanceIdSet"]
    filters = json.dumps([{"Name": "tag:run", "Values": ["conformance"]}])
    answer = bench.cvm("DescribeInstances", "--Filters", filters)
    expect([row["InstanceId"] for row in answer["InstanceSet"]], ids)
    expect(answer["InstanceSet"][0]["Tags"], [{"Key": "run", "Value": "conformance"}])


def page(bench: Bench) -> None:
    """Offset and Limit walk through 25 instances without gap or repetition."""
    ids = bench.buy(25)["InstanceIdSet"]
    found: list[str] = []
    for offset in (0, 10, 20):
        answer = bench.cvm("DescribeInstances", "--Offset", str(offset), "--Limit", "10")
        expect(answer["TotalCount"], 25)
        found += [row["InstanceId"] for row in answer["InstanceSet"]]
    expect(found, ids)


def terminate(bench: Bench) -> None:
    """TerminateInstances is refused in PENDING, then ends them, and the ledger agrees."""
    ids = json.dumps(bench.buy(2)["InstanceIdSet"])
    refused = bench.cvm("TerminateInstances", "--InstanceIds", ids)
    expect(refused, {"Error": "UnsupportedOperation.InstanceStatePending"})
    bench.sim("POST", "clock", advance=10)
    expect(set(bench.cvm("TerminateInstances", "--InstanceIds", ids)), {"RequestId"})
    bench.sim("POST", "clock", advance=10)
    expect(bench.cvm("DescribeInstances")["TotalCount"], 0)
    expect(bench.sim("GET", "ledger/summary")["live"], 0)


def sold_out(bench: Bench) -> None:
    """Without stock the purchase is refused with a shortage code."""
    bench.sim("POST", "stock", zone="ap-guangzhou-3", type="S2.MEDIUM4", stock=1)
    expect(bench.buy(2), {"Error": "ResourceInsufficient.SpecifiedInstanceType"})
    expect(bench.launched(), 0)


def price_too_low(bench: Bench) -> None:
    """A bid below the market is refused."""
    bench.sim("POST", "price", zone="ap-guangzhou-3", type="S2.MEDIUM4", price="0.1")
    expect(bench.buy(1), {"Error": "InvalidParameterValue.InsufficientPrice"})


def dry_run(bench: Bench) -> None:
    """DryRun checks and buys nothing."""
    answer = bench.buy(1, "--DryRun", "True")
    expect({name: value for name, value in answer.items() if value is not None}.keys(), {"RequestId"})
    expect(bench.launched(), 0)


def same_token_twice(bench: Bench) -> None:
    """One ClientToken buys once, and answers the same ids again."""
    first = bench.buy(2, "--ClientToken", "one")["InstanceIdSet"]
    expect(bench.buy(2, "--ClientToken", "one")["InstanceIdSet"], first)
    expect(bench.launched(), 2)


def bad_signature(bench: Bench) -> None:
    """Another secret key gives another signature."""
    expect(bench.cvm("DescribeInstances", key="wrong"), {"Error": "AuthFailure.SignatureFailure"})


def unknown_parameter(bench: Bench) -> None:
    """A parameter that does not exist is refused, at the top and inside a structure.

    The command line drops strangers before they leave, so they are sent by the generic client of the SDK it brings.
    """
    expect(bench.generic("DescribeInstances", {"Colour": "red"}), "UnknownParameter")
    expect(bench.generic("RunInstances", {"SystemDisk": {"DiskColour": "red"}}), "UnknownParameter")
    expect(bench.launched(), 0)


def market(bench: Bench) -> None:
    """DescribeZoneInstanceConfigInfos quotes stock and price of spot."""
    filters = [{"Name": "instance-charge-type", "Values": ["SPOTPAID"]}, {"Name": "zone", "Values": ["ap-guangzhou-3"]}]
    answer = bench.cvm("DescribeZoneInstanceConfigInfos", "--Filters", json.dumps(filters))
    prices = {row["InstanceType"]: row["Price"]["UnitPriceDiscount"] for row in answer["InstanceTypeQuotaSet"]}
    expect(prices["S2.MEDIUM4"], 0.0214)


def every_other_action(bench: Bench) -> None:
    """The remaining actions answer with their own fields."""
    ids = json.dumps(bench.buy(1)["InstanceIdSet"])
    bench.sim("POST", "clock", advance=10)
    for action, field, words in (
        ("DescribeInstancesStatus", "InstanceStatusSet", ()),
        ("DescribeZones", "ZoneSet", ()),
        ("DescribeRegions", "RegionSet", ()),
        ("DescribeImages", "ImageSet", ()),
        ("DescribeInstanceTypeConfigs", "InstanceTypeConfigSet", ()),
        ("DescribeAccountQuota", "AccountQuotaOverview", ()),
        ("InquiryPriceRunInstances", "Price", ORDER),
        ("ModifyInstancesAttribute", "RequestId", ("--InstanceIds", ids, "--InstanceName", "renamed")),
        ("StopInstances", "RequestId", ("--InstanceIds", ids)),
    ):
        answer = bench.cvm(action, *words)
        expect((action, bool(answer.get(field))), (action, True))
    bench.sim("POST", "clock", advance=10)
    expect(set(bench.cvm("StartInstances", "--InstanceIds", ids)), {"RequestId"})


def required_parameters(bench: Bench) -> None:
    """The parameters we require are those that the command line's own api.json marks as required."""
    sys.path.insert(0, str(ROOT / "operator"))
    from cvmsim.actions import ACTIONS
    from cvmsim.schema import shapes

    known = {product: api_of(product)["objects"] for product in PRODUCTS}
    for name, fields in shapes().items():
        product = next((service for service, action in ACTIONS if action == name), "cvm")
        objects = known["tag"] if name in ("ResourceTag", "TagKeyObject") else known[product]
        theirs = objects.get(f"{name}Request") or objects["Tag" if name == "ResourceTag" else name]
        members = {member["name"]: bool(member.get("required")) for member in theirs["members"]}
        expect((name, {field: shape.is_required for field, shape in fields.items()}), (name, members))


def published_actions(bench: Bench) -> None:
    """The actions that are refused by name are those that the command line knows."""
    from cvmsim.actions import published

    for product in PRODUCTS:
        expect((product, published()[product]), (product, set(api_of(product)["actions"])))


def answers_of_other_products(bench: Bench) -> None:
    """What vpc, cbs and tag answer has no field that their models lack."""
    (one,) = bench.buy(1)["InstanceIdSet"]
    resource = {"ServiceType": "cvm", "ResourcePrefix": "instance", "ResourceRegion": "ap-guangzhou"}
    for product, action, params in (
        ("vpc", "DescribeVpcs", {}), ("vpc", "DescribeSubnets", {}), ("vpc", "DescribeSecurityGroups", {}),
        ("vpc", "DescribeUsedIpAddress", {"VpcId": "vpc-gz000001"}), ("vpc", "DescribeAddresses", {}),
        ("cbs", "DescribeDisks", {}),
        ("tag", "DescribeResourceTagsByResourceIds", {**resource, "ResourceIds": [one]}),
    ):  # fmt: skip
        answer = json.loads(bench.generic(action, params, product))["Response"]
        expect((action, strangers(api_of(product)["objects"], f"{action}Response", answer)), (action, []))


def strangers(objects: dict[str, Any], name: str, answer: dict[str, Any]) -> list[str]:
    """Fields of an answer that its model lacks."""
    members = {member["name"]: member for member in objects[name]["members"]}
    found = [field for field in answer if field not in members]
    for field, value in answer.items():
        inner = members.get(field, {}).get("member", "")
        rows = value if isinstance(value, list) else [value]
        found += [where for row in rows if isinstance(row, dict) for where in strangers(objects, inner, row)]
    return found


PRODUCTS = {"cvm": "v20170312", "vpc": "v20170312", "cbs": "v20170312", "tag": "v20180813", "sts": "v20180813"}


def api_of(product: str) -> dict[str, Any]:
    """The command line's own description of a product."""
    (path,) = ENVIRONMENT.glob(f"lib/python*/site-packages/tccli/services/{product}/{PRODUCTS[product]}/api.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


SCENARIOS: tuple[Callable[[Bench], None], ...] = (
    buy, list_by_tag, page, terminate, sold_out, price_too_low, dry_run, same_token_twice, bad_signature,
    unknown_parameter, market, every_other_action, required_parameters, published_actions, answers_of_other_products,
)  # fmt: skip


# --- setting up ---------------------------------------------------------------------------------------


def install() -> Path:
    """The command line's path, installed on the first run."""
    tccli, installed = ENVIRONMENT / "bin" / "tccli", ENVIRONMENT / "installed"
    if not installed.exists():
        print(
            f"installing {' '.join(REQUIREMENTS)} into {ENVIRONMENT.relative_to(ROOT)} (0.6 GB, some minutes) …",
            flush=True,
        )
        if not (ENVIRONMENT / "bin" / "pip").exists():
            venv.create(ENVIRONMENT, with_pip=True, symlinks=True)
        pip = [str(ENVIRONMENT / "bin" / "pip"), "install", "--disable-pip-version-check", "--no-compile", "--quiet"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        trust_a_certificate()
        installed.touch()
    return tccli


def trust_a_certificate() -> None:
    """Make a certificate for loopback, trusted in this environment only.

    The SDK insists on certifi's bundle whatever the environment variables say, so the authority is added to that.
    """
    python = str(ENVIRONMENT / "bin" / "python")
    subprocess.run([python, "-m", "trustme", "-q", "-i", "127.0.0.1", "-d", str(ENVIRONMENT)], check=True)
    (bundle,) = ENVIRONMENT.glob("lib/python*/site-packages/certifi/cacert.pem")
    authority = (ENVIRONMENT / "client.pem").read_text(encoding="ascii")
    bundle.write_text(f"{bundle.read_text(encoding='utf-8')}\n{authority}", encoding="utf-8")


@contextlib.contextmanager
def serving(tccli: Path, *, tls: bool = True) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        certificate = [str(ENVIRONMENT / name) for name in ("server.pem", "server.key")]
        words = ["serve", "--seed", "1", "--clock", "stepped", "--ready-file", str(ready)]
        words += ["--tls", *certificate] if tls else []
        env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
        process = subprocess.Popen([sys.executable, "-m", "cvmsim", *words], env=env, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("cvmsim did not start")
                time.sleep(0.01)
            found = json.loads(ready.read_text(encoding="utf-8"))
            yield Bench(tccli, found["api"], found["control"], found["token"], Path(folder))
        finally:
            process.terminate()
            process.wait(10)


def outcome(scenario: Callable[[Bench], None], bench: Bench) -> str:
    """Empty when it passed, else what went wrong."""
    bench.begin_again()
    try:
        scenario(bench)
    except (Failed, KeyError, ValueError, subprocess.TimeoutExpired) as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""


def speak_every_language(tccli: Path) -> int:
    """Drive the simulator with what else speaks the vendor's language. Returns how many failed."""
    failures = 0
    with serving(tccli, tls=False) as bench:
        for language in clients.SDKS:
            if tool := clients.lacks(language):
                print(f"SKIP  {'SDK for ' + language:<20} {tool} is not installed", flush=True)
                continue
            bench.begin_again()
            try:
                with clients.speaking(language, bench.api) as speak:
                    wrong = clients.life(speak, bench.sim, bench.plain)
            except (clients.Refused, KeyError, ValueError, subprocess.SubprocessError) as problem:
                wrong = [f"{type(problem).__name__}: {problem}"]
            failures += bool(wrong)
            claim = "; ".join(wrong) or "lives a machine's life with it, unmodified"
            print(f"{'FAIL' if wrong else 'PASS'}  {'SDK for ' + language:<20} {claim}", flush=True)
        for name, problem in (*samples.replayed(bench), *declared.played(bench)):
            failures += bool(problem)
            print(f"{'FAIL' if problem else 'PASS'}  {name:<20} {problem}", flush=True)
    return failures


def main() -> int:
    failures = 0
    tccli = install()
    with serving(tccli) as bench:
        version = subprocess.run([str(bench.tccli), "--version"], capture_output=True, text=True, check=False)
        print(f"tccli {(version.stdout or version.stderr).strip()} against cvmsim at {bench.api}")
        for scenario in SCENARIOS:
            problem = outcome(scenario, bench)
            failures += bool(problem)
            claim = (scenario.__doc__ or "").splitlines()[0]
            print(f"{'FAIL' if problem else 'PASS'}  {scenario.__name__:<20} {problem or claim}", flush=True)
    print(f"{len(SCENARIOS) - failures} of {len(SCENARIOS)} scenarios of the command line passed")
    failures += speak_every_language(tccli)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
