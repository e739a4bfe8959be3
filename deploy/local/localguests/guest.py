"""Plays one machine from its first second: boot, join, heartbeats, pods, and the notice of its own end.

A machine that the cloud takes away says no goodbye: its guest just stops.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from localcluster.certificates import new_request, write_key
from localguests.apiserver import MERGE, Client, Refused, Server, Simulator

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
NODES, LEASES = "/api/v1/nodes", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
CLIENT_SIGNER, SERVING_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"
BOOTSTRAP_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
#: A node keeps pods away with this taint until the operator has found out which instance it is.
STARTUP_TAINT = "spotcompute.dev/uninitialized"
NOTICE = "SpotInterruption"  # the condition with which a node reports its own notice
NOTICE_PATH = "meta-data/spot/termination-time"
#: An exit code for pods: the container's last word is taken from this annotation, 0 without it.
EXIT_CODE = "guest.spotcompute.dev/exit-code"
#: Seconds that a pod's container works, from this annotation.
SECONDS = "guest.spotcompute.dev/seconds"
ENDED = ("Succeeded", "Failed")
HEARTBEAT_SECONDS, POLL_SECONDS, RETRY_SECONDS = 8.0, 0.5, 0.5
Answer = TypeVar("Answer")
NO_ANSWER = (aiohttp.ClientError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Habits:
    """`Habits` are what all machines of one run have in common.

    `boot_seconds` pass between RUNNING and the first call. `task_seconds` is how long a pod works that does not say so
    itself. `reads_notice` is False for machines without a reporter. `named_by` is "id", or "ip" for clusters in which a
    node is called by its private address.
    """

    boot_seconds: float = 3.0
    task_seconds: float = 12.0
    reads_notice: bool = True
    named_by: str = "id"


class Guest:
    """`Guest` is the inside of one machine. `run` ends when it cannot join; cancel it when the machine is gone."""

    def __init__(
        self, row: dict[str, Any], simulator: Simulator, server: Server, habits: Habits, directory: Path
    ) -> None:
        """`row` is the machine in the simulator's ledger. Its key and certificate are written into `directory`."""
        self.id, self._row = str(row["id"]), row
        self.name = self.id if habits.named_by == "id" else str(row["privateIp"])
        self._simulator, self._server, self._habits, self._directory = simulator, server, habits, directory
        self._noticed = ""  # what was reported last
        self._begun: dict[str, float] = {}  # when each pod began here, by uid

    async def run(self) -> None:
        """Boots, joins, and works. Returns at once when its user data names no bootstrap token."""
        await asyncio.sleep(self._habits.boot_seconds)
        user_data = await self._patiently(lambda: self._simulator.metadata(self.id, "user-data")) or ""
        token = BOOTSTRAP_TOKEN.search(user_data)
        if token is None:
            return
        bootstrap = self._server.client(token=token.group())
        try:
            certificate = await self._certificate(bootstrap)
        finally:
            await bootstrap.close()
        client = self._server.client(certificate=certificate)
        try:
            await self._register(client)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask_for_serving_certificate(client))
                tasks.create_task(self._work(client))
        finally:
            await client.close()

    # -- joining

    async def _certificate(self, bootstrap: Client) -> tuple[Path, Path]:
        """Returns the paths of its certificate and key, once somebody has approved its request."""
        key, request = new_request(f"system:node:{self.name}", "system:nodes")
        name = await self._request(bootstrap, CLIENT_SIGNER, request, "client auth")
        signed = await self._signed(bootstrap, name)
        certificate, private = self._directory / f"{self.id}.crt", self._directory / f"{self.id}.key"
        certificate.write_bytes(signed)
        write_key(key, private)
        return certificate, private

    async def _ask_for_serving_certificate(self, client: Client) -> None:
        """Asks once, as a kubelet with `serverTLSBootstrap` does. Nobody connects here, so it does not wait."""
        names, addresses = [self.name], [ipaddress.ip_address(self._row["privateIp"])]
        _, request = new_request(f"system:node:{self.name}", "system:nodes", names, addresses)
        await self._request(client, SERVING_SIGNER, request, "server auth")

    async def _request(self, client: Client, signer: str, request: bytes, usage: str) -> str:
        """Returns the name of a new request for a certificate."""
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "csr-"},
            "spec": {
                "signerName": signer,
                "usages": ["digital signature", usage],
                "request": base64.b64encode(request).decode(),
            },
        }
        made = await self._patiently(lambda: client.post(REQUESTS, body))
        return str(made["metadata"]["name"])

    async def _signed(self, client: Client, name: str) -> bytes:
        while True:
            found = await self._patiently(lambda: client.get(f"{REQUESTS}/{name}"))
            if signed := found.get("status", {}).get("certificate"):
                return base64.b64decode(signed)
            await asyncio.sleep(POLL_SECONDS / 2)

    async def _register(self, client: Client) -> None:
        """Creates its Node. One of that name that exists already is its own from before a restart, and is kept."""
        try:
            await self._patiently(lambda: client.post(NODES, self._node()))
        except Refused as refusal:
            if refusal.status != 409:
                raise

    def _node(self) -> dict[str, Any]:
        capacity = {
            "cpu": str(self._row["vcpu"]),
            "memory": f"{self._row['memoryGib']}Gi",
            "pods": "110",
            "ephemeral-storage": "40Gi",
            **({"nvidia.com/gpu": str(self._row["gpus"])} if self._row["gpus"] else {}),
        }
        unknown = ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "kubeProxyVersion")
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
            "spec": {
                "providerID": f"qcloud:///{self._row['zone']}/{self.id}",
                "taints": [{"key": STARTUP_TAINT, "effect": "NoSchedule"}],
            },
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "addresses": [{"type": "InternalIP", "address": self._row["privateIp"]}],
                "conditions": [condition("Ready", "True", "KubeletReady")],
                "nodeInfo": {
                    **dict.fromkeys(unknown, ""),
                    "kubeletVersion": "v1.36.4",
                    "containerRuntimeVersion": "guest://1",
                    "operatingSystem": "linux",
                    "architecture": "amd64",
                },
            },
        }

    # -- working

    async def _work(self, client: Client) -> None:
        """Beats, reports its notice and attends to its pods, until it is cancelled."""
        beaten = 0.0
        while True:
            with contextlib.suppress(*NO_ANSWER):  # the API server is away: look again
                if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                    await self._report(client, {"type": "Ready", "status": "True", "reason": "KubeletReady"})
                    beaten = time.monotonic()
                if self._habits.reads_notice:
                    await self._report_notice(client)
                for pod in (await client.get("/api/v1/pods", fieldSelector=f"spec.nodeName={self.name}"))["items"]:
                    await self._attend(client, pod)
            await asyncio.sleep(POLL_SECONDS)

    async def _report_notice(self, client: Client) -> None:
        at = await self._simulator.metadata(self.id, NOTICE_PATH)
        if at and at != self._noticed:
            await self._report(client, condition(NOTICE, "True", "TerminationTime", at))
            self._noticed = at

    async def _report(self, client: Client, said: dict[str, Any]) -> None:
        """Writes one condition of its own Node. Somebody may have deleted that: then it stays deleted."""
        said = {**said, "lastHeartbeatTime": timestamp()}
        with contextlib.suppress(Refused):
            await client.patch(f"{NODES}/{self.name}/status", {"status": {"conditions": [said]}})

    async def _attend(self, client: Client, pod: dict[str, Any]) -> None:
        """Starts a pod, ends it after its time, or gives it up when it is being deleted."""
        metadata, phase = pod["metadata"], pod["status"].get("phase")
        path, uid = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", metadata["uid"]
        annotations = metadata.get("annotations") or {}
        with contextlib.suppress(Refused):  # it is gone, or changed meanwhile: look again
            if metadata.get("deletionTimestamp"):
                if phase not in ENDED:
                    await self._tell(client, path, pod, "Failed", 143)
                await client.delete(path, uid)
            elif uid not in self._begun and phase not in ENDED:
                self._begun[uid] = time.monotonic()
                await self._tell(client, path, pod, "Running", None)
            elif phase == "Running" and self._has_worked(uid, annotations):
                code = int(annotations.get(EXIT_CODE, "0"))
                await self._tell(client, path, pod, "Failed" if code else "Succeeded", code)

    def _has_worked(self, uid: str, annotations: dict[str, str]) -> bool:
        seconds = float(annotations.get(SECONDS, self._habits.task_seconds))
        return time.monotonic() - self._begun[uid] >= seconds

    async def _tell(self, client: Client, path: str, pod: dict[str, Any], phase: str, code: int | None) -> None:
        """Writes the pod's phase, with its containers running, or ended with `code`."""
        state: dict[str, Any] = {"running": {"startedAt": timestamp()}}
        if code is not None:
            reason = "Error" if code else "Completed"
            state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": timestamp()}}
        containers = [
            {"name": each["name"], "image": each.get("image", ""), "imageID": "", "ready": code is None,
             "restartCount": 0, "state": state}
            for each in pod["spec"]["containers"]
        ]  # fmt: skip
        status: dict[str, Any] = {"phase": phase, "containerStatuses": containers}
        if code is None:
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp()}
            status |= {"startTime": timestamp(), "conditions": [ready]}
        await client.patch(f"{path}/status", {"status": status}, MERGE)

    async def _patiently(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Calls until it is answered, as a kubelet does: an error that may pass is tried again without end."""
        while True:
            try:
                return await call()
            except NO_ANSWER:
                pass
            except Refused as refusal:
                if refusal.status not in (401, 403, 429) and refusal.status < 500:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    """Returns a condition that has changed just now."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": timestamp(),
        "lastTransitionTime": timestamp(),
    }


def timestamp() -> str:
    """Returns the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
