"""Everything an install can choose, read once from the environment (prefix ``SPOTCOMPUTE_``).

Separate from `app` so that every part can be given its settings as a value; no part reads the environment itself.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field says its unit, and why its default is what it is."""

    model_config = SettingsConfigDict(env_prefix="SPOTCOMPUTE_", extra="forbid")

    # --- the cloud -----------------------------------------------------------------------------------------------
    site: Literal["mainland", "international"] = Field(
        default="mainland",
        description="Which Tencent Cloud site the accounts belong to. It decides the endpoint and the currency shown.",
    )
    endpoint: str | None = Field(
        default=None, description="host[:port] of the CVM API, without a scheme, instead of the site's own endpoint."
    )
    protocol: Literal["https", "http"] = Field(
        default="https", description="http is refused for any endpoint that is not on loopback."
    )
    request_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Connect and read timeout of one API call. A RunInstances answers in 1-3 s."
    )
    cloud_threads: int = Field(
        default=16, ge=1, description="Threads for the synchronous SDK: calls in flight at once."
    )
    allow_default_credentials: bool = Field(
        default=True,
        description="May environments without credentialsSecretRef use TENCENTCLOUD_SECRET_ID/_KEY of the operator?",
    )
    cluster_id: str | None = Field(
        default=None,
        description="Name of this cluster in the cloud's tags; default: the uid of namespace kube-system. Must differ"
        " between clusters that share an account, and must not change while instances exist.",
    )

    # --- the pace ------------------------------------------------------------------------------------------------
    sweep_seconds: float = Field(
        default=15.0, gt=0, description="Between two inventory sweeps of an account: how soon a loss is noticed."
    )
    suspect_sweep_seconds: float = Field(
        default=5.0, gt=0, description="Between sweeps while an instance is missing and its absence is being confirmed."
    )
    market_seconds: float = Field(default=60.0, gt=0, description="Between two market reads of an account and region.")
    resync_seconds: float = Field(default=300.0, gt=0, description="Look at every environment at least this often.")
    audit_seconds: float = Field(
        default=300.0, gt=0, description="Between metadata lists that find what the watch has missed."
    )
    orphan_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Between two looks for instances whose environment no longer exists. They are ended when they have"
        " been seen for 1.5 times as long and are 3 times as old.",
    )
    workers: int = Field(default=16, ge=1, description="Environments reconciled at once.")
    rest_base_seconds: float = Field(default=5.0, gt=0, description="First rest of a pool after a refusal; it doubles.")
    rest_limit_seconds: float = Field(default=60.0, gt=0, description="Longest wait between two attempts, for ever.")
    recheck_seconds: float = Field(
        default=300.0, gt=0, description="Between attempts with a configuration the cloud has called invalid."
    )
    early_loss_seconds: float = Field(
        default=600.0,
        gt=0,
        description="An instance taken back sooner than this after its launch counts against its pool.",
    )
    early_half_life_seconds: float = Field(
        default=1800.0,
        gt=0,
        description="After this, such a loss counts half. A pool with two of them is left alone for about as long.",
    )
    launch_timeout_seconds: float = Field(
        default=600.0, gt=0, description="PENDING for longer than this is stuck, and the instance is replaced."
    )

    # --- the protocol of a launch: see docs/concepts -----------------------------------------------------------------
    replay_seconds: float = Field(
        default=120.0,
        gt=0,
        description="An unanswered launch is repeated under its token for this long. Shorter than any token lifetime.",
    )
    signature_seconds: float = Field(
        default=300.0, gt=0, description="The cloud refuses requests signed longer ago than this (CVM: 5 minutes)."
    )
    visibility_seconds: float = Field(
        default=180.0, gt=0, description="Lists and tags may lag behind a launch for this long."
    )
    absence_sweeps: int = Field(
        default=3, ge=2, description="Complete sweeps without an instance, plus a look-up by id, before it is gone."
    )

    # --- the process ---------------------------------------------------------------------------------------------
    home_namespace: str = Field(
        default="spotcompute-system", description="The operator's own namespace: it notes there which keys are in use."
    )
    lease: str | None = Field(
        default=None,
        description="Lease in the home namespace by which replicas agree which of them acts; without it each one does.",
    )
    identity: str | None = Field(
        default=None, description="Name of this replica in the Lease, such as its pod's; default: host and a nonce."
    )
    namespace: str | None = Field(default=None, description="Watch this namespace only; default: all namespaces.")
    listen_host: str = Field(default="0.0.0.0", description="Address of /healthz, /readyz and /metrics.")  # noqa: S104 - probes and scrapes come from outside the pod
    health_port: int = Field(default=8080, ge=0, description="Port of /healthz and /readyz; 0 to disable.")
    metrics_port: int = Field(default=9090, ge=0, description="Port of /metrics; 0 to disable.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Level of all logs.")
    log_format: Literal["console", "json"] = Field(default="json", description="json for machines, console for people.")
