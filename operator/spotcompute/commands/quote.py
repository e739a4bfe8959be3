"""Quotes a manifest before it is applied: reads it, asks the market, chooses, and lets the cloud check the choice.

It serves the command line, and needs no cluster. Apart from `reconcile`, which keeps the quote of a paused object in
its status. Both use `plan.quote` to choose and `reconcile.dry_run` to find what is wrong.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import yaml

from spotcompute.api.crd import GROUP, KIND, VERSION, unknown_fields
from spotcompute.api.environment import Environment
from spotcompute.api.times import to_text
from spotcompute.cloud.credentials import AnyKey, ProviderFactory
from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.equipment_prices import EquipmentPrices
from spotcompute.cloud.errors import CloudError
from spotcompute.commands.advice import advice_on
from spotcompute.commands.quote_table import quote_table
from spotcompute.kube.client import files_of
from spotcompute.kube.port import NotFound
from spotcompute.kube.sources import SourceUnavailable, UserData, user_data_of
from spotcompute.model.identity import new_environment_id
from spotcompute.model.instance import Ownership
from spotcompute.model.ledger import Ledger
from spotcompute.model.market_readings import quotes_flaw
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market
from spotcompute.plan.field_errors import FieldError, Findings
from spotcompute.plan.limits import with_sizes
from spotcompute.plan.policy import Policy
from spotcompute.plan.quote import Quote, make_quote
from spotcompute.plan.selection import with_pools
from spotcompute.plan.situation import Situation
from spotcompute.reconcile.dry_run import find_field_errors
from spotcompute.report import quote as report

#: Other kinds that the file may hold: user data comes from them.
_SOURCES = ("Secret", "ConfigMap")


class Unusable(ValueError):
    """`Unusable` means that the file holds nothing to quote. `str()` says why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`Manifest` is one environment of a file, with the Secrets and ConfigMaps that it may refer to."""

    raw: Mapping[str, Any]
    sources: FileSources


@dataclass(frozen=True, slots=True)
class Quoted:
    """`Quoted` holds the result for one manifest. `notes` say what the operator would do differently."""

    name: str
    quote: Quote
    findings: Findings
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> report.Verdict:
        """Returns the one answer."""
        return report.verdict_of(self.quote, self.findings)

    def to_json(self, currency: str) -> dict[str, Any]:
        """Returns the result as JSON values, for programs."""
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {"name": self.name, **report.to_json(self.quote, self.findings, currency), **notes}

    def to_text(self, currency: str) -> str:
        """Returns the result as text for people. It ends with a newline."""
        body = quote_table(self.quote, self.findings, currency)
        notes = "".join(f"  Note: {note}.\n" for note in self.notes)
        return f"{self.name}\n{body}" + (f"\n{notes}" if notes else "")


@dataclass(frozen=True, slots=True)
class Terms:
    """`Terms` says who asks which cloud for all quotes of a file, and by which rules the operator would buy."""

    providers: ProviderFactory
    credentials: AnyKey
    endpoint: Endpoint
    cluster_id: str
    policy: Policy
    now: datetime


def exit_code(quotes: Sequence[Quoted]) -> int:
    """Returns that of the worst: 2 when one is wrong, 3 when one would not be had now, 0 when all would."""
    found = {one.verdict for one in quotes}
    return 2 if report.Verdict.WRONG in found else 3 if report.Verdict.NOT_NOW in found else 0


class FileSources:
    """`FileSources` reads Secrets and ConfigMaps of a file in the way `kube.sources` reads those of a cluster."""

    def __init__(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Takes `documents` of any kind, and keeps the Secrets and ConfigMaps among them."""
        self._found = {(one["kind"], one["metadata"].get("name")): one for one in documents if one["kind"] in _SOURCES}

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Returns the data of a Secret, decoded. Raises NotFound, or SourceUnavailable when it is not base64."""
        secret = self._document("Secret", name)
        try:
            data = {key: base64.b64decode(text, validate=True) for key, text in (secret.get("data") or {}).items()}
        except (binascii.Error, ValueError, TypeError):
            raise SourceUnavailable(f"data of Secret {name} is not base64: encode it, or use stringData") from None
        return data | {key: str(text).encode() for key, text in (secret.get("stringData") or {}).items()}

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Returns the data of a ConfigMap. Raises NotFound, or SourceUnavailable when `binaryData` is not base64."""
        try:
            return files_of(self._document("ConfigMap", name))
        except (ValueError, TypeError):
            raise SourceUnavailable(f"binaryData of ConfigMap {name} is not base64: encode it, or use data") from None

    def _document(self, kind: str, name: str) -> Mapping[str, Any]:
        if (kind, name) not in self._found:
            raise NotFound(f"{kind} {name} is not in this file")
        return self._found[kind, name]


def read_manifests(text: str, where: str) -> list[Manifest]:
    """Returns every environment of a YAML file. Raises `Unusable` (correct the file); it quotes no value of it."""
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise Unusable(f"this is not YAML{place}: {getattr(error, 'problem', None) or 'it cannot be read'}") from None
    for number, document in enumerate(documents, start=1):
        _refuse_another(document, f"document {number}" if len(documents) > 1 else "this")
    sources = FileSources(documents)
    found = [Manifest(one, sources) for one in documents if one["kind"] == KIND]
    if not found:
        raise Unusable(f"there is no {KIND} in {where}")
    return found


def _refuse_another(document: Any, what: str) -> None:
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict | None):
        raise Unusable(f"{what} is no Kubernetes object: apiVersion, kind, metadata and spec are needed")
    kind = document.get("kind")
    if kind not in (KIND, *_SOURCES):
        raise Unusable(f"{what} is a {kind}, and only {KIND} can be quoted" if kind else f"{what} has no kind")
    if kind == KIND and document.get("apiVersion") != f"{GROUP}/{VERSION}":
        raise Unusable(f"{what} has apiVersion {document.get('apiVersion')}, and it must be {GROUP}/{VERSION}")
    document.setdefault("metadata", {})
    if not isinstance(document["metadata"].get("name"), str):
        raise Unusable(f"{what} has no metadata.name")


async def quote_all(manifests: Sequence[Manifest], terms: Terms) -> list[Quoted]:
    """Returns a quote of each manifest, in their order. Raises nothing: the findings say what went wrong."""
    return [await _quote(one, terms) for one in manifests]


async def _quote(manifest: Manifest, terms: Terms) -> Quoted:
    environment = _environment(manifest.raw, terms.now)
    mistakes = [*unknown_fields(manifest.raw), *environment.mistakes()]
    field_errors = [FieldError(field, "InvalidSpec", sentence) for field, sentence in mistakes]
    if environment.mistakes():
        return Quoted(environment.label, Quote(0, (), (), "the spec is not valid"), Findings(tuple(field_errors)))
    spec = environment.spec()
    user_data, notes = await _user_data(environment, manifest.sources, field_errors)
    if environment.secret is not None:
        notes.append(f"the quote used the key in TENCENTCLOUD_SECRET_ID, not that of Secret {environment.secret}")
    if not spec.replicas:
        notes.append("spec.replicas is 0 or missing, so nothing would be launched")
    provider = terms.providers(terms.credentials, spec.region)
    try:
        offerings = await provider.list_offerings()
    except CloudError as error:
        return _unread(environment.label, spec.replicas, error, terms, tuple(field_errors), tuple(notes))
    digest = user_data.digest if user_data else None
    desired = environment.desired(spec, _ownership(environment, terms.cluster_id), digest)
    market = Market({one.pool: one for one in offerings}, terms.now, quotes_flaw(offerings, {}))
    desired = with_sizes(with_pools(desired, market), Ledger(""), market)
    pools = [pool for pool, _ in desired.pools]
    prices = EquipmentPrices(lambda: provider, lambda: terms.now)
    extras = await prices.extras_for(desired.template, pools, market, environment.label)
    market = replace(market, extras=extras)
    ledger = Ledger(desired.ownership.environment_id)
    situation = Situation(desired, ledger, Observation(terms.now, market=market), terms.now, terms.policy)
    quote = make_quote(situation)
    encoded = user_data.encoded if user_data else None
    found = await find_field_errors(situation, quote, provider, encoded, environment.label)
    findings = replace(
        found,
        field_errors=(*field_errors, *found.field_errors),
        unchecked=found.unchecked or desired.unmet,
    )
    return Quoted(environment.label, quote, findings, tuple(notes))


def _unread(
    name: str, wanted: int, error: CloudError, terms: Terms, found: tuple[FieldError, ...], notes: tuple[str, ...]
) -> Quoted:
    """Returns the quote when the market could not be read: only a person can change that, or it may pass."""
    advice = advice_on(error, terms.endpoint)
    if advice.is_wrong:
        findings = Findings((*found, FieldError(None, error.code, advice.text)))
    else:
        findings = Findings(found, unchecked=advice.text)
    return Quoted(name, Quote(wanted, (), ()), findings, notes)


def _ownership(environment: Environment, cluster_id: str) -> Ownership:
    identity = new_environment_id(cluster_id, environment.namespace, environment.name, "quoted")
    return Ownership(cluster_id, identity)


def _environment(raw: Mapping[str, Any], now: datetime) -> Environment:
    """Returns the object as an API server would return it: with a namespace, a uid and a time of creation."""
    metadata = raw["metadata"]
    given = {"namespace": metadata.get("namespace") or "default", "name": metadata["name"]}
    spec = raw.get("spec")
    return Environment.of(
        {
            "metadata": {**given, "uid": "", "creationTimestamp": to_text(now)},
            "spec": spec if isinstance(spec, dict) else {},
        }
    )


async def _user_data(
    environment: Environment, sources: FileSources, field_errors: list[FieldError]
) -> tuple[UserData | None, list[str]]:
    template = environment.spec().template
    try:
        user_data = await user_data_of(sources, environment.namespace, template)
        return user_data, [user_data.hint] if user_data and user_data.hint else []
    except SourceUnavailable as error:
        source = template.user_data_from
        ref = (source.secret_key_ref or source.config_map_key_ref) if source else None
        if ref is not None and "does not exist" in str(error):
            return None, [f"user data from {ref.name} is not in this file, so the quote leaves it out"]
        field_errors.append(
            FieldError(f"spec.template.{'userDataFrom' if source else 'userData'}", "InvalidSpec", str(error))
        )
        return None, []
