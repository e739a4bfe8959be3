"""Lets in only the person who started the page: nobody else on the machine, and no page of another origin.

Apart from `pages`, so that no page can be added without it. A browser sends requests to 127.0.0.1 for any page that it
shows, so being local proves nothing. Three things are asked for: the Host must be ours (a foreign name that resolves to
127.0.0.1 is refused), the Origin of every change must be ours, and the cookie must hold the secret of this start.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Nothing from elsewhere, nothing inline, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers call the Origin of our own forms "null". The token is in no address that has links.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

SAFE = frozenset({"GET", "HEAD"})

NO_TOKEN = "Open the address that `kubectl spot ui` has printed: it holds the token of this start.\n"  # noqa: S105 - a sentence, no password
FOREIGN = "This page answers only to itself: the request came from another page.\n"
STRANGE_HOST = "This page answers only under the address that `kubectl spot ui` has printed.\n"


@dataclass(frozen=True)
class Keys:
    """`Keys` holds the secrets of one start: the printed token, one for the browser that is opened, and the cookie."""

    cookie_name: str
    token: str = field(default_factory=secrets.token_urlsafe, repr=False)
    session: str = field(default_factory=secrets.token_urlsafe, repr=False)
    _once: set[str] = field(default_factory=set, repr=False)

    def once(self) -> str:
        """Returns a token that opens the page one time: other users may read the command line of a browser."""
        found = secrets.token_urlsafe()
        self._once.add(found)
        return found

    def opens(self, given: str) -> bool:
        """True when the token is ours. One that is good for one time is used up by this."""
        if hmac.compare_digest(given.encode(), self.token.encode()):
            return True
        found = next((one for one in self._once if hmac.compare_digest(given.encode(), one.encode())), None)
        self._once.discard(found or "")
        return found is not None

    def admits(self, cookies: Mapping[str, str]) -> bool:
        """True when the cookie is the one that we have given."""
        return hmac.compare_digest(cookies.get(self.cookie_name, "").encode(), self.session.encode())


def objection(method: str, headers: Mapping[str, str], hosts: Collection[str], *, has_token: bool) -> str | None:
    """Returns why a request is refused whoever sends it. None when it is not."""
    host, origin, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site")
    if host not in hosts:
        return STRANGE_HOST
    if origin is not None and origin != f"http://{host}":
        return FOREIGN
    if method not in SAFE:
        return FOREIGN if origin is None else None
    # A link on another page may open this one if it has the token; without it, nothing of ours is shown there.
    if site in ("cross-site", "same-site") and not (has_token and headers.get("sec-fetch-mode") == "navigate"):
        return FOREIGN
    return None


class Guard:
    """`Guard` stands before the application, and puts the protective headers on every answer."""

    def __init__(self, app: ASGIApp, keys: Keys, hosts: Collection[str]) -> None:
        self._app, self._keys, self._hosts = app, keys, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no page uses a WebSocket: the server refuses it when nothing answers

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                # Our files are asked for again and again, and answered with 304; pages are never kept on the disk.
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, protected)

    def _answer(self, scope: Scope) -> Response | None:
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        token = query.get("token", "") if scope["path"] == "/" and scope["method"] == "GET" else ""
        said = objection(scope["method"], headers, self._hosts, has_token=bool(token))
        if said:
            return PlainTextResponse(said, 403)
        if token:
            if not self._keys.opens(token):
                return PlainTextResponse(NO_TOKEN, 403)
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._keys.cookie_name, self._keys.session, httponly=True, samesite="strict", path="/")
            return answer
        if not self._keys.admits(cookie_parser(headers.get("cookie", ""))):
            return PlainTextResponse(NO_TOKEN, 403)
        return None
