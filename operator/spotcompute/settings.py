"""Reads everything that an installation can choose, once, from the process environment (prefix ``SPOTCOMPUTE_``).

Apart from `__main__` so that every part is given its settings as a value. No other module reads the environment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _names(value: Any) -> Any:
    """Splits a text at commas and spaces. A list, as JSON too, stays one."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        return json.loads(value)
    return value.replace(",", " ").split() if isinstance(value, str) else value


class Settings(BaseSettings):
    """`Settings` holds what an installation can choose. Each field states its unit and the reason for its default."""

    model_config = SettingsConfigDict(env_prefix="SPOTCOMPUTE_", extra="forbid")

    # --- the cloud -----------------------------------------------------------------------------------------------
    site: Literal["mainland", "international"] = Field(
        default="mainland",
        description="Which Tencent Cloud site the accounts belong to. It decides the endpoint and the currency shown.",
    )
    endpoint: str | None = Field(
        default=None, description="host[:port] of the CVM API, without a scheme, in place of the site's own endpoint."
    )
    protocol: Literal["https", "http"] = Field(
        default="https", description="http is allowed only for an endpoint on loopback."
    )
    ca_bundle: Annotated[Path | None, BeforeValidator(lambda path: path or None)] = Field(
        default=None,
        validation_alias=AliasChoices(
            "SPOTCOMPUTE_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "ca_bundle"
        ),
        description="File of the certificates (PEM) that sign the endpoint's, such as those of a company's proxy, in"
        " place of the public ones. REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and SSL_CERT_FILE count when it is not set.",
    )
    request_timeout_seconds: float = Field(
        default=10.0, gt=0, description="Connect and read timeout of one API call. A RunInstances call takes 1-3 s."
    )
    cloud_threads: int = Field(
        default=40,
        ge=1,
        description="Threads for the synchronous SDK, which is the highest number of calls at the same time. Launches"
        " that take 3 seconds need 27 at the rate of one account. A thread is started when it is needed.",
    )
    key_from: Literal["environment", "pod-identity", "instance-role"] = Field(
        default="environment",
        description="Where the operator's own key comes from: TENCENTCLOUD_SECRET_ID/_KEY, the identity that TKE gives"
        " to the pod's ServiceAccount, or the CAM role of the machine (metadata service). The last two are keys that"
        " the cloud lends and the operator renews.",
    )
    role_arn: str | None = Field(
        default=None,
        pattern=r"^qcs::cam::uin/[0-9]{1,32}:role(Name)?/[^\s/]{1,128}$",
        description="CAM role that TENCENTCLOUD_SECRET_ID/_KEY take, as spec.roleArn is for the key of a Secret.",
    )
    role_seconds: int = Field(
        default=7200,
        ge=1,
        le=43200,
        description="For how long the operator asks for the keys of a role. A role may allow less; CAM shows it as its"
        " longest session.",
    )
    metadata_endpoint: str | None = Field(
        default=None, description="host[:port] of this machine, in place of the metadata service. For tests."
    )
    allow_default_credentials: bool = Field(
        default=True,
        description="Whether environments without credentialsSecretRef may use the operator's own key or identity.",
    )
    cluster_id: str | None = Field(
        default=None,
        description="Name of this cluster in the cloud's tags; default: the uid of namespace kube-system. It must"
        " differ between clusters that share an account, and must not change while instances exist.",
    )

    # --- intervals ------------------------------------------------------------------------------------------------
    sweep_seconds: float = Field(
        default=2.0,
        gt=0,
        description="Shortest time between two inventory sweeps of an account. It decides how soon a loss is noticed.",
    )
    sweep_share: float = Field(
        default=0.2,
        gt=0,
        le=0.8,
        description="Share of the documented rate of DescribeInstances that sweeps use. At 0.2 an account is swept"
        " every 2 seconds up to 1,500 instances, and every 13 seconds with 10,000. The rest is for look-ups and for"
        " other programs.",
    )
    sweep_limit_seconds: float = Field(
        default=60.0,
        gt=0,
        description="An account with very many instances is swept this often, even if it takes more than the share."
        " SPOTCOMPUTE_SWEEP_SECONDS wins if it is longer.",
    )
    suspect_sweep_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Time between two sweeps while an instance is missing, where they are rarer otherwise, and between"
        " two looks at something on its way. It never makes sweeps exceed their share.",
    )
    market_seconds: float = Field(
        default=60.0, gt=0, description="Time between two market reads of an account and region."
    )
    resync_seconds: float = Field(default=300.0, gt=0, description="Longest time between two runs for one environment.")
    audit_seconds: float = Field(
        default=300.0, gt=0, description="Time between two metadata lists that find what the watch has missed."
    )
    orphan_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Time between two searches for instances whose environment no longer exists. They are released when"
        " they have been seen for 1.5 times as long and are 3 times as old.",
    )
    object_writes_per_second: float = Field(
        default=100.0,
        gt=0,
        le=1000,
        description="Writes per second to objects of kind SpotInstance, of the whole operator. While environments are"
        " worked on, a tenth of it.",
    )
    workers: int = Field(default=32, ge=1, description="Number of environments that are reconciled at the same time.")
    rest_base_seconds: float = Field(
        default=5.0, gt=0, description="First backoff of a pool after a refusal. It doubles with each further refusal."
    )
    rest_limit_seconds: float = Field(
        default=60.0, gt=0, description="Longest backoff between two attempts. Attempts never end."
    )
    recheck_seconds: float = Field(
        default=300.0,
        gt=0,
        description="Time between two attempts with a configuration that the cloud has called invalid. A release that"
        " was refused is asked for again after twice this time, or when the state of the instance changes.",
    )
    early_loss_seconds: float = Field(
        default=600.0,
        gt=0,
        description="An instance that is taken back sooner than this after its launch counts against its pool.",
    )
    early_half_life_seconds: float = Field(
        default=1800.0,
        gt=0,
        description="Time after which such a loss counts half. A pool with two of them is avoided for about this long.",
    )
    launch_timeout_seconds: float = Field(
        default=600.0,
        gt=0,
        description="Time after which an instance that is still PENDING, STARTING, STOPPING or REBOOTING is released.",
    )

    # --- the protocol of a launch: see docs/concepts -----------------------------------------------------------------
    replay_seconds: float = Field(
        default=120.0,
        gt=0,
        description="How long a launch without an answer is repeated under its token. Shorter than the lifetime of a"
        " token.",
    )
    signature_seconds: float = Field(
        default=300.0, gt=0, description="Age at which the cloud refuses a signed request (CVM: 5 minutes)."
    )
    visibility_seconds: float = Field(
        default=180.0, gt=0, description="Longest time by which lists and tags may lag behind a launch."
    )
    absence_sweeps: int = Field(
        default=3,
        ge=2,
        description="Complete sweeps without an instance, in addition to look-ups by id, before it counts as gone. They"
        " decide where look-ups alone cannot: for young instances, and while no other instance is alive.",
    )

    # --- the process ---------------------------------------------------------------------------------------------
    home_namespace: str = Field(
        default="spotcompute-system",
        description="The operator's own namespace, in which it records which keys are in use.",
    )
    lease: str | None = Field(
        default=None,
        description="Lease in the home namespace by which replicas agree which of them acts. Without it, every replica"
        " acts.",
    )
    identity: str | None = Field(
        default=None,
        description="Name of this replica in the Lease, such as its pod's name; default: the host's name and a random"
        " part.",
    )
    namespace: str | None = Field(default=None, description="Watch only this namespace; default: all namespaces.")
    namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=(),
        description="Watch only these namespaces, separated by commas; default: all namespaces, or the one of"
        " SPOTCOMPUTE_NAMESPACE. One that cannot be read is left out until it can.",
    )
    nodes: bool = Field(
        default=False,
        description="Whether instances may join this cluster as nodes. It needs the rights of the overlay nodes.",
    )
    claims: bool = Field(
        default=False,
        description="Whether work decides how many instances there are (spec.capacity). It needs the rights of the"
        " overlay jobs, and the setting for nodes as well.",
    )
    listen_host: str = Field(
        default="::",
        description="Address of /healthz, /readyz and /metrics. `::` is every address, of IPv6 and of IPv4; `0.0.0.0`"
        " is every IPv4 address.",
    )
    health_port: int = Field(default=8080, ge=0, description="Port of /healthz and /readyz; 0 to disable.")
    metrics_port: int = Field(default=9090, ge=0, description="Port of /metrics; 0 to disable.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Level of all logs.")
    log_format: Literal["console", "json"] = Field(default="json", description="json for programs, console for people.")

    @property
    def watched(self) -> tuple[str, ...]:
        """Returns every namespace that either setting names, once, in their order; empty for all namespaces."""
        return tuple(dict.fromkeys(([self.namespace] if self.namespace else []) + list(self.namespaces)))
