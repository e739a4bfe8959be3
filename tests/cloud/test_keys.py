"""Keys that the cloud lends: renewed before they end, without a call that fails, and explained when refused."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cloud.buying import ENV, several
from cloud.grounds import KEY, SimulatedGround
from spotcompute.cloud.credentials import AnyKey, Identity, OwnIdentity
from spotcompute.cloud.errors import CloudError, InvalidCredentials, KeyNotLent, NotSent
from spotcompute.cloud.tencent import keys
from spotcompute.cloud.tencent.client import UnsafeEndpoint
from spotcompute.cloud.tencent.keys import PAUSE_SECONDS, YOUNG_SECONDS, GivenKey, Lent, LentKey, holder_of
from spotcompute.cloud.tencent.provider import TencentProvider, TencentProviders
from spotcompute.settings import Settings

ACCOUNT = "100000000001"
ROLE = f"qcs::cam::uin/{ACCOUNT}:roleName/spot-operator"
OF_A_ROLE: AnyKey = replace(KEY, role_arn=ROLE)
POD, MACHINE = OwnIdentity(Identity.POD), OwnIdentity(Identity.INSTANCE)
LENT = [pytest.param(OF_A_ROLE, id="role"), pytest.param(POD, id="pod"), pytest.param(MACHINE, id="machine")]
LIFE = 1000.0


# --- when a key is renewed -------------------------------------------------------------------------------------------


class Lender:
    """Lends keys with numbers, at a time of its own; `error` is what it answers instead."""

    def __init__(self) -> None:
        self.now, self.asked, self.error = 1000.0, 0, None
        self.key = LentKey(self.borrow, lambda: self.now)

    error: CloudError | None

    def borrow(self) -> Lent:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Lent(f"AKIDlent{self.asked}", f"secretOfLent{self.asked}", f"tokenOfLent{self.asked}", self.now + LIFE)

    def current(self, seconds: float = 0.0) -> str:
        """The key that is good after so many seconds."""
        self.now += seconds
        return str(self.key.current().secret_id)


def test_a_key_is_lent_once_and_renewed_before_it_ends() -> None:
    lender = Lender()
    assert [lender.current(), lender.current(1), lender.current(700)] == ["AKIDlent1"] * 3
    assert lender.current(60) == "AKIDlent2"
    assert lender.asked == 2


def test_a_renewal_that_fails_counts_only_once_the_key_has_ended() -> None:
    lender = Lender()
    assert lender.current() == "AKIDlent1"
    lender.error = NotSent("ClientNetworkError", "no answer")
    assert [lender.current(760), lender.current(1), lender.current(100)] == ["AKIDlent1"] * 3
    assert lender.asked == 3  # not at every call
    with pytest.raises(NotSent, match="no answer"):
        lender.current(200)
    lender.error = None
    assert lender.current(PAUSE_SECONDS) == "AKIDlent5"


def test_a_lender_that_refuses_is_not_asked_at_every_call() -> None:
    lender = Lender()
    lender.error = KeyNotLent("ResourceNotFound.RoleNotFound", "no such role")
    for _ in range(20):
        with pytest.raises(KeyNotLent):
            lender.current(0.1)
    assert lender.asked == 1


def test_a_key_that_the_cloud_refuses_is_given_up_unless_it_is_young() -> None:
    lender = Lender()
    lender.current()
    used = lender.key.current()
    lender.key.refused(used)
    assert lender.current() == "AKIDlent1"
    lender.now += YOUNG_SECONDS
    lender.key.refused(used)
    assert lender.current() == "AKIDlent2"
    lender.key.refused(used)
    assert lender.current() == "AKIDlent2"
    lender.now += 2 * YOUNG_SECONDS
    lender.key.refused(lender.key.current())
    assert lender.current() == "AKIDlent3"


def test_threads_go_on_with_the_key_that_is_good_while_one_renews() -> None:
    lender, may_answer, is_asking = Lender(), threading.Event(), threading.Event()
    lender.current()

    def slow() -> Lent:
        is_asking.set()
        assert may_answer.wait(10)
        return Lent("AKIDlentLate", "secretOfLentLate", "tokenOfLentLate", lender.now + LIFE)

    lender.key._borrow = slow
    lender.now += 800
    with ThreadPoolExecutor(4) as threads:
        renewing = threads.submit(lender.current)
        assert is_asking.wait(10)
        assert [one.result(10) for one in [threads.submit(lender.current) for _ in range(9)]] == ["AKIDlent1"] * 9
        may_answer.set()
        assert renewing.result(10) == "AKIDlentLate"


def test_a_given_key_with_spaces_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidCredentials) as caught:
        GivenKey(replace(KEY, secret_key="secret with spaces")).current()
    assert "secret with" not in str(caught.value)


# --- who lends -------------------------------------------------------------------------------------------------------


def token_of_a_pod(expires_at: float) -> str:
    parts = [{"alg": "RS256"}, {"iss": "https://cls-sim00001", "sub": "system:serviceaccount:a:b", "exp": expires_at}]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, "c2lnbmF0dXJlT2ZUaGVQb2Q"])


@pytest.fixture(autouse=True)
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What TKE gives a pod with an identity; returns the file of its token."""
    file = tmp_path / "token"
    file.write_text(token_of_a_pod(time.time() + 10**8) + "\n")
    for name, value in (("REGION", "ap-guangzhou"), ("PROVIDER_ID", "cls-sim00001"), ("ROLE_ARN", ROLE)):
        monkeypatch.setenv(f"TKE_{name}", value)
    monkeypatch.setenv("TKE_WEB_IDENTITY_TOKEN_FILE", str(file))
    return file


def provider_of(ground: SimulatedGround, key: AnyKey, threads: ThreadPoolExecutor, **changes: Any) -> TencentProvider:
    """The real provider, whose clock is that of the simulator."""
    api = ground.sim.api
    settings = Settings(endpoint=api, protocol="http", metadata_endpoint=api, request_timeout_seconds=5, **changes)
    return TencentProviders(settings, threads, lambda: ground.now().timestamp())(key, "ap-guangzhou")


@pytest.mark.parametrize("key", LENT)
async def test_a_lent_key_opens_the_account_of_its_role(
    key: AnyKey, simulated: SimulatedGround, threads: ThreadPoolExecutor
) -> None:
    provider = provider_of(simulated, key, threads)
    assert await provider.identify() == ACCOUNT
    receipt = await provider.launch(several(2), None, "token-of-lent", ENV)
    simulated.wait(10)
    assert {one.id for one in await provider.list_instances("cluster-1")} == set(receipt.instance_ids)
    await provider.terminate(receipt.instance_ids, ENV)


@pytest.mark.parametrize(
    ("key", "life"), [(OF_A_ROLE, 120), (POD, 120), (MACHINE, 7200)], ids=["role", "pod", "machine"]
)
async def test_rotation_under_load_loses_nothing(
    key: AnyKey, life: int, simulated: SimulatedGround, threads: ThreadPoolExecutor
) -> None:
    """Launches, looks and releases go on at the same time while a key ends three times, and most of them renew it."""
    provider = provider_of(simulated, key, threads, role_seconds=120)
    name, number = provider.key, await provider.identify()
    simulated.switch("terminate-pending", "accepted")
    launched, secret_ids = dict[str, tuple[str, ...]](), set[str]()

    async def caller(turn: int) -> None:
        token = f"turn-{turn}"
        receipt = await provider.launch(several(2, sequence=turn), None, token, ENV)
        launched[token] = receipt.instance_ids
        looks = [provider.get_instances(receipt.instance_ids, ENV) for _ in range(4)]
        assert {one.id for found in await asyncio.gather(*looks) for one in found} == set(receipt.instance_ids)
        await provider.terminate(receipt.instance_ids, ENV)

    async def passing() -> None:
        await asyncio.to_thread(simulated.wait, life / 60)

    turns = 24
    for turn in range(0, turns, 2):
        await asyncio.gather(caller(turn), passing(), caller(turn + 1), passing())
        secret_ids.add(provider._client._key.current().secret_id)
        simulated.wait(life / 4)
    book = simulated.sim("ledger", "GET")
    assert [row for row in book["requests"] if row["code"]] == []
    assert len(secret_ids) >= 3
    assert len(launched) == turns
    assert sorted(i for ids in launched.values() for i in ids) == sorted(row["id"] for row in book["instances"])
    assert (provider.key, provider.account) == (name, number)
    assert simulated.live(ENV) == set()


async def test_a_loan_that_takes_long_does_not_stop_the_loop(
    simulated: SimulatedGround, threads: ThreadPoolExecutor
) -> None:
    simulated.fault("latency", action="AssumeRole", seconds=0.5)
    provider, lags = provider_of(simulated, OF_A_ROLE, threads), list[float]()
    asking = asyncio.ensure_future(provider.list_instances("cluster-1"))
    while not asking.done():
        began = time.monotonic()
        await asyncio.sleep(0.01)
        lags.append(time.monotonic() - began)
    assert len(lags) > 10
    assert max(lags) < 0.4


async def test_the_regions_of_a_key_share_what_is_lent(simulated: SimulatedGround, threads: ThreadPoolExecutor) -> None:
    settings = Settings(endpoint=simulated.sim.api, protocol="http", request_timeout_seconds=5)
    providers = TencentProviders(settings, threads)
    one, other = providers(OF_A_ROLE, "ap-guangzhou"), providers(OF_A_ROLE, "ap-singapore")
    for provider in (one, other, one):
        await provider.list_instances("cluster-1")
    rows = simulated.sim("ledger", "GET")["requests"]
    assert sum(row["action"] == "AssumeRole" for row in rows) == 1
    assert one.key != other.key


def test_a_key_that_takes_a_role_has_another_name_than_the_key_itself() -> None:
    names = {key.fingerprint for key in (KEY, OF_A_ROLE, replace(KEY, role_arn=ROLE + "2"), POD, MACHINE)}
    assert len(names) == 5


# --- why not ---------------------------------------------------------------------------------------------------------


def without(name: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    return lambda patch, _file: patch.delenv(name)


def written(text: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    return lambda _patch, file: file.write_text(text) and None


REFUSALS = [
    pytest.param(replace(KEY, role_arn=ROLE + "s"), None, KeyNotLent, "does not exist: correct its name", id="no-role"),
    pytest.param(replace(KEY, role_arn="x"), None, KeyNotLent, "correct the names", id="malformed-role"),
    pytest.param(replace(OF_A_ROLE, secret_key="wrongSecretKey0001"), None, KeyNotLent, "correct the key", id="key"),
    pytest.param(
        OF_A_ROLE, "UnauthorizedOperation", KeyNotLent, "allow name/sts:AssumeRole, and .* trust policy", id="no-right"
    ),
    pytest.param(OF_A_ROLE, "AuthFailure.UnauthorizedOperation", KeyNotLent, "allow name/sts:AssumeRole", id="no-cam"),
    pytest.param(OF_A_ROLE, "AuthFailure.SecretIdNotFound", KeyNotLent, "correct the key", id="no-such-key"),
    pytest.param(OF_A_ROLE, "InvalidParameter.OverTimeError", KeyNotLent, "SPOTCOMPUTE_ROLE_SECONDS", id="too-long"),
    pytest.param(OF_A_ROLE, "InternalError.SystemError", NotSent, "asked again", id="trouble-of-sts"),
    pytest.param(OF_A_ROLE, "RequestLimitExceeded", NotSent, "asked again", id="too-often"),
    pytest.param(POD, without("TKE_ROLE_ARN"), KeyNotLent, "TKE_ROLE_ARN not exist.*bind", id="no-pod-identity"),
    pytest.param(
        POD, lambda _patch, file: file.unlink(), KeyNotLent, "No such file.*SPOTCOMPUTE_KEY_FROM", id="no-token-file"
    ),
    pytest.param(POD, written(token_of_a_pod(1.0)), KeyNotLent, "issuer and audience", id="token-has-expired"),
    pytest.param(POD, written("gibberishOfThePod"), KeyNotLent, "issuer and audience", id="token-is-none"),
    pytest.param(
        POD, lambda patch, _: patch.setenv("TKE_PROVIDER_ID", "cls-other"), KeyNotLent, "identity provider", id="idp"
    ),
]


@pytest.mark.parametrize(("key", "trouble", "error", "sentence"), REFUSALS)
async def test_a_key_that_is_not_lent_is_explained_without_a_secret(
    key: AnyKey,
    trouble: Any,
    error: type[CloudError],
    sentence: str,
    simulated: SimulatedGround,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    pod: Path,
) -> None:
    if isinstance(trouble, str):
        simulated.fault("error", action="AssumeRole", code=trouble, message="no", times=0)
    elif trouble is not None:
        trouble(monkeypatch, pod)
    secrets = [KEY.secret_key, "wrongSecretKey0001", "gibberishOfThePod", "c2lnbmF0dXJlT2ZUaGVQb2Q"]
    with capture_logs() as logs, pytest.raises(error, match=sentence) as caught:
        await provider_of(simulated, key, threads).launch(several(2), None, "never-sent", ENV)
    assert type(caught.value) is error
    said = f"{caught.value} {logs}"
    assert [secret for secret in secrets if secret in said] == []
    assert [row for row in simulated.sim("ledger", "GET")["requests"] if row["action"] == "RunInstances"] == []


async def test_a_metadata_service_out_of_reach_is_said_so(
    simulated: SimulatedGround, threads: ThreadPoolExecutor
) -> None:
    settings = Settings(endpoint=simulated.sim.api, protocol="http", metadata_endpoint="127.0.0.1:9")
    with pytest.raises(NotSent, match="allow the pod to reach it"):
        await TencentProviders(settings, threads)(MACHINE, "ap-guangzhou").list_instances("cluster-1")


def test_a_metadata_endpoint_elsewhere_is_refused(threads: ThreadPoolExecutor) -> None:
    with pytest.raises(UnsafeEndpoint, match="unset it"):
        TencentProviders(Settings(metadata_endpoint="10.0.0.1:80"), threads)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="empty"),
        pytest.param({"Credentials": None, "ExpiredTime": 1}, id="null"),
        pytest.param({"Credentials": {"Token": "t"}, "ExpiredTime": 1}, id="half-a-key"),
        pytest.param({"Credentials": {"Token": "t", "TmpSecretId": "i", "TmpSecretKey": "k"}}, id="without-its-end"),
        pytest.param(
            {"Credentials": {"Token": "t", "TmpSecretId": "i", "TmpSecretKey": "k"}, "ExpiredTime": "soon"},
            id="no-time",
        ),
    ],
)
def test_an_answer_of_sts_in_another_shape_is_asked_for_again(
    answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_ask_sts", lambda *_args, **_others: answer)
    with pytest.raises(NotSent, match="an unexpected shape"):
        holder_of(OF_A_ROLE, Settings()).current()
