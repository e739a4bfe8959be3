"""Runs etcd, kube-apiserver, kube-controller-manager and, for nodes, kube-scheduler, as processes that end with ours.

Apart from `cluster`, which is all that others need to know. This module has the flags, the keys, the order of starting,
and the faults that tests inject (API server away, restart, a cluster restored from a backup).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import ssl
import textwrap
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from types import TracebackType
from typing import IO, Any, Self

from localcluster import assets, certificates, scheduler
from localcluster.cluster import Cluster, ExistingCluster, cluster_entry, write_kubeconfig
from localcluster.kubectl import Kubectl
from localcluster.processes import Child, ProcessError, answers, direct_opener, free_port

READY_SECONDS = 60.0  # generous, because a busy machine is slow but not broken
STARTS = 3  # attempts, because a free port can be taken before etcd or kube-apiserver binds it
GRACE_SECONDS = 2.0  # kube-apiserver would wait a minute for clients to close their watches
MEMORY_FREE_BYTES = 1 << 30  # etcd preallocates its log: about 130 MB from the start
DIRECTORY_PREFIX, CLAIM_FILE = "spotcompute-control-plane-", "claim"
CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "replicaset-controller",
    "horizontal-pod-autoscaler-controller",
    "disruption-controller",
    "resourcequota-controller",
)
# What nodes and the pods on them need, from the request for a certificate until the machine is given up.
NODE_CONTROLLERS = (
    "job-controller",
    "ttl-after-finished-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
    "certificatesigningrequest-signing-controller",
    "certificatesigningrequest-cleaner-controller",
    "bootstrap-signer-controller",
    "token-cleaner-controller",
)
# Kubernetes' own approver signs the name of any node for whoever holds a bootstrap token. A test can ask for it.
APPROVER = "certificatesigningrequest-approving-controller"
# The order of the base point of NIST P-256 (FIPS 186-5): a private key is any number from 1 to below it.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class ControlPlane(Cluster):
    """`ControlPlane` is a cluster of its own. Use it as a context manager, or call `start()` and `stop()`.

    RBAC is on. `kubeconfig` is the admin's, a bearer token in group system:masters. With `audit_policy` (YAML of an
    audit.k8s.io/v1 Policy) the API server writes `audit_log`, one JSON event a line. The manifests in directory `crds`
    are applied before kube-controller-manager starts, so that its garbage collector knows the kinds at once.

    It has no nodes, and accepts none. With `nodes=True` machines can join it: bootstrap tokens, a CA that signs their
    certificates, the Node authorizer and NodeRestriction are on, and a scheduler and the controllers of nodes and jobs
    run. Whether a machine's request is approved is left to others, unless `approves=True` asks for Kubernetes' own
    approver.
    """

    def __init__(
        self,
        *,
        crds: Path | None = None,
        audit_policy: str | None = None,
        binaries: assets.Assets | None = None,
        nodes: bool = False,
        approves: bool = False,
    ) -> None:
        self._crds = crds
        self.directory = Path()  # until started
        self._claim: IO[str] | None = None
        self._audit_policy = audit_policy
        self._binaries = binaries
        self._scheduler: Path | None = None  # until started with nodes
        self._with_nodes, self._approves = nodes, approves
        self._children: dict[str, Child] = {}

    # -- the whole

    def start(self) -> Self:
        """Starts everything. Returns when namespace `default` exists with its ServiceAccount.

        Raises AssetsMissing when a binary cannot be found or made, ProcessError (with the end of its log) when a
        process does not start.
        """
        self._binaries = self._binaries or assets.ensure()
        self._scheduler = scheduler.ensure() if self._with_nodes else None
        self.directory, self._claim = _claim_directory()
        try:
            self._write_files()
            self._start_with_free_ports()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the processes and removes the data. It may be called twice."""
        for name in list(self._children):  # newest first is not needed: nothing is kept
            self._children.pop(name).kill9()
        if self._claim is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self._claim.close()
            self._claim = None

    def __enter__(self) -> Self:
        return self if self._claim is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def server(self) -> str:
        """Returns the API server's address, https://127.0.0.1:<port>. It never changes while the control plane runs."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def pids(self) -> dict[str, int]:
        """Returns the pids of the running processes by name: etcd, kube-apiserver and so on."""
        return {name: child.pid for name, child in self._children.items()}

    # -- faults

    def stop_apiserver(self) -> None:
        """Stops the API server: connections are refused until `start_apiserver`. Data and port are kept."""
        self._children.pop("kube-apiserver").stop(GRACE_SECONDS)

    def kill_apiserver(self) -> None:
        """Kills the API server: open watches are cut, and requests under way get no answer."""
        self._children.pop("kube-apiserver").kill9()

    def start_apiserver(self) -> None:
        """Starts the API server again on the same port. Returns when it is ready."""
        self._start_apiserver()
        self._await_apiserver()

    def restart_apiserver(self) -> None:
        """Stops and starts the API server."""
        self.stop_apiserver()
        self.start_apiserver()

    def snapshot(self) -> Path:
        """Copies etcd's data and returns the path of the copy. The control plane is down for some seconds.

        The copy lives as long as the control plane.
        """
        target = Path(mkdtemp(prefix="snapshot-", dir=self.directory))
        self._stop_all()
        shutil.copytree(self._data, target, dirs_exist_ok=True)
        self._start_all()
        return target

    def restore(self, snapshot: Path) -> None:
        """Goes back to a snapshot, as after a backup: later objects and resourceVersions are gone, and uids return."""
        self._stop_all()
        shutil.rmtree(self._data)
        shutil.copytree(snapshot, self._data)
        self._start_all()

    # -- audit

    @property
    def audit_log(self) -> Path:
        """Returns the path of the audit log."""
        return self.directory / "audit.jsonl"

    def audit_events(self) -> list[dict[str, Any]]:
        """Returns every audit event so far (audit.k8s.io/v1 Event). Empty unless `audit_policy` was given."""
        if not self.audit_log.exists():
            return []
        complete = self.audit_log.read_text().rpartition("\n")[0]  # the last line may be half written
        return [json.loads(line) for line in complete.splitlines()]

    # -- starting

    def _start_with_free_ports(self) -> None:
        for attempt in range(1, STARTS + 1):
            self._port, self._etcd_port, self._peer_port = free_port(), free_port(), free_port()
            try:
                return self._start_all()
            except ProcessError as error:
                self._stop_all()
                if attempt == STARTS or "address already in use" not in str(error):
                    raise
        return None

    def _start_all(self) -> None:
        self._start_etcd()
        self._start_apiserver()
        self._await_apiserver()
        if self._crds:
            self.install_crds(self._crds)
        self._start_controller_manager()
        if self._scheduler:
            self._start_scheduler(self._scheduler)

    def _stop_all(self) -> None:
        """Stops the processes in order, so that no write to etcd's data is under way."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            if child := self._children.pop(name, None):
                child.stop(GRACE_SECONDS)

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        flags = {
            "data-dir": self._data,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",  # the data need not survive the machine
            "log-level": "warn",
        }
        etcd = self._run("etcd", self._assets.etcd, flags)
        etcd.wait_until(lambda: answers(f"{client}/health"), timeout=READY_SECONDS)

    def _start_apiserver(self) -> None:
        flags = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "secure-port": self._port,
            "advertise-address": "127.0.0.1",  # otherwise it exits on a machine without a default route
            "endpoint-reconciler-type": "none",  # otherwise it warns for ever that a loopback address is no endpoint
            "cert-dir": self.directory / "certificates",  # it makes its own CA and certificate there, once
            "token-auth-file": self.directory / "tokens.csv",
            "authorization-mode": "Node,RBAC" if self._with_nodes else "RBAC",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._signing_key,
            "service-account-signing-key-file": self._signing_key,
            "service-cluster-ip-range": "10.0.0.0/24",
            "allow-privileged": "true",
            "profiling": "false",
            **self._audit_flags(),
            **self._joining_flags(),
        }
        self._run("kube-apiserver", self._assets.kube_apiserver, flags)

    def _await_apiserver(self) -> None:
        """Waits until it serves and has created the initial objects of a cluster. Writes the admin's kubeconfig."""
        child = self._children["kube-apiserver"]
        child.wait_until(self._certificate.exists, timeout=READY_SECONDS, what="its certificate")
        child.wait_until(lambda: self._answers("/readyz"), timeout=READY_SECONDS, what="/readyz")
        child.wait_until(
            lambda: self._answers("/api/v1/namespaces/default"), timeout=READY_SECONDS, what="namespace default"
        )
        self._ca_file.write_text(self._ca())
        write_kubeconfig(self.directory / "admin.kubeconfig", cluster_entry(self.server, self._ca()), self._admin_token)
        self.kubectl = Kubectl(self._assets.kubectl, self.directory / "admin.kubeconfig")

    def _start_controller_manager(self) -> None:
        flags = {
            "kubeconfig": self.kubeconfig,
            "controllers": ",".join(self._controllers()),
            "leader-elect": "false",
            "secure-port": 0,
            "service-account-private-key-file": self._signing_key,
            "root-ca-file": self._ca_file,
            "use-service-account-credentials": "false",
            "kube-api-qps": 1000,
            "kube-api-burst": 1000,
            "controller-start-interval": "0s",
            "horizontal-pod-autoscaler-sync-period": "1s",  # 15 s by default, too long for tests
            **self._signing_flags(),
        }
        child = self._run("kube-controller-manager", self._assets.kube_controller_manager, flags)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        child.wait_until(
            lambda: self._answers(account), timeout=READY_SECONDS, what="the ServiceAccount default/default"
        )

    def _start_scheduler(self, binary: Path) -> None:
        flags = {
            "kubeconfig": self.kubeconfig,
            "authentication-kubeconfig": self.kubeconfig,
            "authorization-kubeconfig": self.kubeconfig,
            "leader-elect": "false",
            "secure-port": 0,
            "kube-api-qps": 1000,
            "kube-api-burst": 1000,
        }
        self._run("kube-scheduler", binary, flags)

    def _controllers(self) -> tuple[str, ...]:
        extra = NODE_CONTROLLERS if self._with_nodes else ()
        return (*CONTROLLERS, *extra, *((APPROVER,) if self._approves else ()))

    def _run(self, name: str, binary: Path, flags: dict[str, Any]) -> Child:
        command = [str(binary), *(f"--{flag}={value}" for flag, value in flags.items())]
        self._children[name] = Child.start(name, command, log=self.directory / f"{name}.log")
        return self._children[name]

    def _audit_flags(self) -> dict[str, Any]:
        if self._audit_policy is None:
            return {}
        return {"audit-policy-file": self.directory / "audit-policy.yaml", "audit-log-path": self.audit_log}

    def _joining_flags(self) -> dict[str, Any]:
        """Returns what lets a machine join: with a bootstrap token it asks for a certificate of the nodes' own CA."""
        if not self._with_nodes:
            return {}
        return {
            "client-ca-file": self._node_ca,
            "enable-bootstrap-token-auth": "true",
            "enable-admission-plugins": "NodeRestriction",
        }

    def _signing_flags(self) -> dict[str, Any]:
        if not self._with_nodes:
            return {}
        return {"cluster-signing-cert-file": self._node_ca, "cluster-signing-key-file": self._node_ca_key}

    # -- files

    def _write_files(self) -> None:
        self._admin_token = secrets.token_hex(16)
        (self.directory / "tokens.csv").write_text(f'{self._admin_token},admin,admin,"system:masters"\n')
        self._signing_key.write_text(private_key_pem())
        if self._audit_policy is not None:
            (self.directory / "audit-policy.yaml").write_text(self._audit_policy)
        if self._with_nodes:
            certificates.write_authority("node-ca", self._node_ca, self._node_ca_key)

    @property
    def _assets(self) -> assets.Assets:
        if self._binaries is None:
            raise ProcessError("the control plane is not started")
        return self._binaries

    @property
    def _data(self) -> Path:
        return self.directory / "etcd"

    @property
    def _signing_key(self) -> Path:
        return self.directory / "service-account.key"

    @property
    def _node_ca(self) -> Path:
        return self.directory / "node-ca.crt"

    @property
    def _node_ca_key(self) -> Path:
        return self.directory / "node-ca.key"

    @property
    def _certificate(self) -> Path:
        return self.directory / "certificates" / "apiserver.crt"

    @property
    def _ca_file(self) -> Path:
        return self.directory / "ca.crt"

    def _ca(self) -> str:
        """Returns the CA. kube-apiserver writes its certificate followed by the CA that signed it."""
        begin = "-----BEGIN CERTIFICATE-----"
        return begin + self._certificate.read_text().rpartition(begin)[2]

    def _answers(self, path: str) -> bool:
        request = urllib.request.Request(self.server + path, headers={"Authorization": f"Bearer {self._admin_token}"})
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=self._ca()))
        try:
            with direct_opener(trust).open(request, timeout=5) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False


def private_key_pem() -> str:
    """Returns a new EC P-256 private key (SEC 1 / RFC 5915, without the optional public key), as PEM.

    It signs ServiceAccount tokens. It is made here because it is only a random number in a fixed frame, and an openssl
    command would be one more dependency. Go computes the public key from it.
    """
    scalar = 1 + secrets.randbelow(P256_ORDER - 1)
    version, curve = bytes.fromhex("020101"), bytes.fromhex("a00a06082a8648ce3d030107")
    body = version + b"\x04\x20" + scalar.to_bytes(32) + curve
    lines = textwrap.wrap(base64.b64encode(b"\x30" + bytes([len(body)]) + body).decode(), 64)
    return "\n".join(["-----BEGIN EC PRIVATE KEY-----", *lines, "-----END EC PRIVATE KEY-----", ""])


def open_cluster(crds: Path | None = None) -> ControlPlane | ExistingCluster:
    """Returns a started cluster with our kinds: a new control plane, or with `USE_CLUSTER=1` the one of `$KUBECONFIG`.

    Use it in a `with` block or call `stop()`. Raises what `ControlPlane.start` or `ExistingCluster.from_kubeconfig`
    raises.
    """
    if os.environ.get("USE_CLUSTER") != "1":
        return ControlPlane(crds=crds).start()
    existing = ExistingCluster.from_kubeconfig()
    if crds:
        existing.install_crds(crds)
    return existing


def _claim_directory() -> tuple[Path, IO[str]]:
    """Returns a new private directory, and the open lock that shows that its control plane lives.

    The directory is in memory when there is space, because etcd writes much and nothing of it is kept. First it removes
    directories whose owner was killed before it could (their lock is free). Otherwise each would cost 150 MB of memory.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private directory in it
    base = memory if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_FREE_BYTES else Path(gettempdir())
    for left_over in base.glob(f"{DIRECTORY_PREFIX}*/{CLAIM_FILE}"):
        _remove_if_abandoned(left_over)
    directory = Path(mkdtemp(prefix=DIRECTORY_PREFIX, dir=base))
    claim = (directory / f".{CLAIM_FILE}").open("w")
    fcntl.flock(claim, fcntl.LOCK_EX)
    (directory / f".{CLAIM_FILE}").rename(directory / CLAIM_FILE)  # visible to others only once it is locked
    return directory, claim


def _remove_if_abandoned(claim_file: Path) -> None:
    with contextlib.suppress(OSError), claim_file.open() as claim:  # gone meanwhile, held, or another user's
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(claim_file.parent, ignore_errors=True)
