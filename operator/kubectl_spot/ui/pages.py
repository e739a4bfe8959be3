"""Answers the requests of the browser: pages, changes, and the stream that says that something has changed.

Apart from `rows`, `market`, `form` and `charts`, which make what is shown, and from `cluster`, which carries out what a
user asks for. Before it stands `guard`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kubectl_spot.problems import Problem
from kubectl_spot.ui import charts, form, market, rows
from kubectl_spot.ui.cluster import Cluster, KubectlFailed
from kubectl_spot.ui.prometheus import Prometheus
from kubectl_spot.ui.state import State

#: Shortest time between two words of a change, and longest silence of the stream.
GATHER_SECONDS, ALIVE_SECONDS = 0.3, 15.0

#: Largest form that is read, messages that wait to be shown, and offers listed in the form.
FORM_BYTES, NOTICES_MAX, OFFERS_MAX = 64 * 1024, 50, 200

#: The actions of an environment's page, by the last part of the address.
ACTIONS = ("scale", "pause", "resume", "price", "delete")


class FormRefused(Exception):
    """`FormRefused` says what is wrong with a form, before anybody else is asked."""


class Pages:
    """`Pages` answers every request. `default_namespace` stands in a new form."""

    def __init__(self, state: State, cluster: Cluster, prometheus: Prometheus | None) -> None:
        self._state, self._cluster, self._prometheus = state, cluster, prometheus
        self._notices: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("kubectl_spot.ui"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"path": lambda value: quote(str(value), safe=""), "amount": rows.amount}
        self._templates.globals |= {"tones": rows.TONES, "sentence": rows.sentence}

    def routes(self) -> list[Route | Mount]:
        """Returns the addresses that are answered."""
        static = files("kubectl_spot.ui") / "static"
        return [
            Route("/", self.environments),
            Route("/instances", self.instances),
            Route("/market", self.market),
            Route("/create", self.create, methods=["GET", "POST"]),
            Route("/create/preview", self.preview, methods=["POST"]),
            Route("/environments/{namespace}/{name}", self.environment),
            Route("/environments/{namespace}/{name}/{action}", self.act, methods=["POST"]),
            Route("/events", self.events),
            Mount("/static", StaticFiles(directory=str(static))),
        ]

    # -- pages

    async def environments(self, request: Request) -> Response:
        """Shows the list of environments, and what they are together."""
        query = request.query_params
        words, phase, order = query.get("q", ""), query.get("phase", ""), query.get("order", "phase")
        found = rows.selected(self._state.summaries.values(), words, phase, order)
        asked = {key: value for key, value in (("q", words), ("phase", phase), ("order", order)) if value}
        now, counts, reclaims = self._state.now().timestamp(), self._state.history.fleet(), []
        if self._prometheus:
            counts = await self._prometheus.counts() or counts
            reclaims = await self._prometheus.reclaims()
        return self._page(
            request,
            "environments.html",
            page=rows.paged(found, query.get("page")),
            totals=rows.totals(self._state.summaries.values()),
            asked=asked,
            here=f"/?{urlencode(asked)}",
            charts=[
                charts.steps("Ready against desired", "instances", counts, now, from_zero=True),
                charts.bars("Reclaims", "instances", reclaims or self._state.history.reclaims(), now),
            ],
        )

    async def environment(self, request: Request) -> Response:
        """Shows one environment."""
        key = f"{request.path_params['namespace']}/{request.path_params['name']}"
        obj, found = self._state.whole(key), self._state.summaries.get(key)
        if obj is None or found is None:
            return self._page(request, "gone.html", status=404, key=key)
        words = request.query_params.get("q", "")
        here = f"/environments/{quote(found.namespace, safe='')}/{quote(found.name, safe='')}"
        return self._page(
            request,
            "environment.html",
            found=found,
            here=here,
            words=words,
            machines=rows.paged(rows.selected_machines(found.machines, words), request.query_params.get("page")),
            activities=rows.activity_rows(obj),
            pools=rows.pool_rows(obj),
            conditions=rows.condition_rows(obj),
            costs=rows.cost_facts(obj, self._state.now()),
            quote=rows.quote_lines(obj),
            max_price=((obj.get("spec") or {}).get("market") or {}).get("maxPrice", ""),
            manifest=form.yaml_of(form.manifest_in(obj)),
            charts=await self._charts_of(key),
        )

    async def _charts_of(self, key: str) -> list[charts.Chart]:
        found, now = self._state.summaries[key], self._state.now().timestamp()
        history, counts = self._state.history, self._state.history.counts(key)
        if self._prometheus:
            counts = await self._prometheus.counts(found.namespace, found.name) or counts
        money = next((pool.currency for pool in found.pools if pool.currency), found.currency)
        return [
            charts.steps("Ready against desired", "instances", counts, now, from_zero=True),
            charts.steps("Price per pool", f"{money} per hour", history.prices(found), now, from_zero=False),
            charts.bars("Reclaims", "instances", history.reclaims(key), now),
        ]

    async def instances(self, request: Request) -> Response:
        """Shows the instances of all environments."""
        words = request.query_params.get("q", "")
        found = rows.selected_machines(self._state.machines(), words)
        here = f"/instances?{urlencode({'q': words} if words else {})}"
        page = rows.paged(found, request.query_params.get("page"))
        return self._page(request, "instances.html", page=page, words=words, here=here)

    async def market(self, request: Request) -> Response:
        """Shows prices and stock, as far as environments tell of them."""
        known = market.offers(self._state.summaries.values())
        region, words = request.query_params.get("region", ""), request.query_params.get("q", "")
        wanted = words.casefold().split()
        found = [
            one
            for one in known
            if region in ("", one.region)
            and all(word in f"{one.instance_type}@{one.zone}".casefold() for word in wanted)
        ]
        asked = {key: value for key, value in (("q", words), ("region", region)) if value}
        return self._page(
            request,
            "market.html",
            page=rows.paged(found, request.query_params.get("page")),
            regions=market.regions(known),
            region=region,
            words=words,
            here=f"/market?{urlencode(asked)}",
        )

    # -- the form

    async def create(self, request: Request) -> Response:
        """Shows the form, has the API server check what it says, and creates the environment."""
        said: Problem | None = None
        is_checked = False
        if request.method == "GET":
            draft = await self._first_draft(request.query_params.get("like", ""))
        else:
            given = await self._given(request)
            draft = form.Draft.of(given)
            manifest = form.manifest_of(draft)
            try:
                await self._cluster.check(manifest)
                is_checked = True
                if given.get("do") == ["create"]:
                    await self._cluster.create(manifest)
                    told = f"{draft.namespace}/{draft.name} is created."
                    return self._back(f"/environments/{quote(draft.namespace)}/{quote(draft.name)}", "good", told)
            except KubectlFailed as failure:
                said = failure.problem
        known = market.offers(self._state.summaries.values())
        return self._page(
            request,
            "create.html",
            draft=draft,
            said=said,
            is_checked=is_checked,
            manifest=form.yaml_of(form.manifest_of(draft)),
            offers=known[:OFFERS_MAX],
            more=max(0, len(known) - OFFERS_MAX),
            regions=market.regions(known),
            strategies=form.STRATEGIES,
        )

    async def preview(self, request: Request) -> Response:
        """Returns the manifest of the form as text."""
        draft = form.Draft.of(await self._given(request))
        text: str = self._templates.from_string("{{ text }}").render(text=form.yaml_of(form.manifest_of(draft)))
        return HTMLResponse(text)

    async def _first_draft(self, like: str) -> form.Draft:
        namespace = await self._cluster.own_namespace()
        obj = self._state.whole(like)
        if obj is not None:
            return form.draft_of(obj, namespace=like.partition("/")[0])
        known = market.regions(market.offers(self._state.summaries.values()))
        return replace(form.Draft(namespace=namespace), region=known[0] if len(known) == 1 else "")

    # -- changes

    async def act(self, request: Request) -> Response:
        """Carries out what was confirmed in a dialog."""
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        here = f"/environments/{quote(namespace, safe='')}/{quote(name, safe='')}"
        action, given = request.path_params["action"], await self._given(request)
        if action not in ACTIONS:
            return PlainTextResponse("There is no such action.\n", 404)
        try:
            said = await self._done(action, namespace, name, {key: values[0] for key, values in given.items()})
        except FormRefused as refusal:
            return self._back(here, "bad", f"Not done: {refusal}")
        except KubectlFailed as failure:
            return self._back(here, "bad", f"Not done. {failure.problem}")
        return self._back("/" if action == "delete" else here, "good", said)

    async def _done(self, action: str, namespace: str, name: str, given: dict[str, str]) -> str:
        key = f"{namespace}/{name}"
        if action == "scale":
            wanted = given.get("replicas", "").strip()
            if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 7):
                raise FormRefused("the number of instances must be a whole number, 0 or more.")
            await self._cluster.scale(namespace, name, int(wanted))
            return f"{key} is to have {int(wanted)} instances."
        if action in ("pause", "resume"):
            await self._cluster.patch(namespace, name, {"paused": action == "pause"})
            return f"{key} is paused: nothing is launched or released." if action == "pause" else f"{key} goes on."
        if action == "price":
            price = given.get("max_price", "").strip()
            await self._cluster.patch(namespace, name, {"market": {"maxPrice": price or None}})
            return f"{key} pays at most {price} per instance and hour." if price else f"{key} pays any market price."
        if given.get("name", "").strip() != name:
            raise FormRefused(f"type the name of the environment, {name}, to delete it.")
        await self._cluster.delete(namespace, name, given.get("uid", ""))
        return f"{key} is being deleted: the operator releases its instances first."

    # -- the stream

    async def events(self, request: Request) -> Response:
        """Says that something has changed, soon after it has."""
        return StreamingResponse(self._changes(), media_type="text/event-stream")

    async def _changes(self) -> AsyncIterator[str]:
        version = self._state.version
        yield f"data: {version}\n\n"
        while True:
            try:
                await asyncio.wait_for(self._state.changed(version), ALIVE_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            await asyncio.sleep(GATHER_SECONDS)
            version = self._state.version
            yield f"data: {version}\n\n"

    # -- what all pages have

    def _page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        now = self._state.now()
        told = self._notices.pop(request.query_params.get("said", ""), None)
        problems = self._state.problems()
        if self._prometheus and self._prometheus.problem:
            problems.append(self._prometheus.problem)
        values = {"words": "", "here": "/", **values}
        text = self._templates.get_template(template).render(
            now=now,
            version=self._state.version,
            since=lambda at: _time(at, now, "since"),
            until=lambda at: _time(at, now, "until"),
            notice=told,
            problems=problems,
            is_stale=self._state.problem is not None,
            is_listed=self._state.is_listed,
            seen_at=datetime.fromtimestamp(self._state.seen_at).astimezone() if self._state.seen_at else None,
            scope=self._state.scope,
            path=request.url.path,
            **values,
        )
        return HTMLResponse(text, status)

    def _back(self, path: str, tone: str, said: str) -> Response:
        name = secrets.token_urlsafe(8)
        self._notices[name] = (tone, said)
        while len(self._notices) > NOTICES_MAX:
            self._notices.popitem(last=False)
        return RedirectResponse(f"{path}?said={name}", 303)

    @staticmethod
    async def _given(request: Request) -> dict[str, list[str]]:
        """Returns the fields of a form. A form that is too large is as one that is empty."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES:
                return {}
        return parse_qs(body.decode(errors="replace"), keep_blank_values=True)


def _time(at: datetime | None, now: datetime, kind: str) -> dict[str, str] | None:
    """Returns what a template needs for a moment: its time for programs, and the distance for people."""
    if at is None:
        return None
    distance = now - at if kind == "since" else at - now
    words = rows.duration(distance)
    if kind == "until":
        words = f"in {words}" if at > now else "now"
    return {"at": at.isoformat(), "kind": kind, "words": words}
