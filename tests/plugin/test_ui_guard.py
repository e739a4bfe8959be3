"""Only who started the page gets in: no other user of the machine, no page of another origin, no rebound name."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kubectl_spot.ui.guard import Guard, Keys
from plugin.ui_objects import ask

HOSTS = {"127.0.0.1:9000", "localhost:9000"}
OURS = "http://127.0.0.1:9000"


@pytest.fixture
def keys() -> Keys:
    return Keys("kubectl-spot-9000")


@pytest.fixture
def app(keys: Keys) -> Guard:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"seen {request.method}")

    return Guard(Starlette(routes=[Route("/{rest:path}", page, methods=["GET", "POST"])]), keys, HOSTS)


def cookie(keys: Keys) -> dict[str, str]:
    return {"cookie": f"other=1; {keys.cookie_name}={keys.session}"}


async def test_the_token_gives_a_cookie_that_no_script_can_read_and_leaves_the_address(app: Guard, keys: Keys) -> None:
    answer = await ask(app, f"/?token={keys.token}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    given = answer.headers["set-cookie"].casefold()
    assert "httponly" in given
    assert "samesite=strict" in given
    assert keys.token not in answer.headers["set-cookie"]
    assert (await ask(app, "/", cookie(keys))).text == "seen GET"


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/events", "/static/page.css", "/create"])
async def test_without_it_nothing_is_shown(app: Guard, path: str) -> None:
    answer = await ask(app, path)
    assert answer.status == 403
    assert "Open the address that `kubectl spot ui` has printed" in answer.text


async def test_the_browser_gets_a_token_that_works_once(app: Guard, keys: Keys) -> None:
    token = keys.once()
    assert (await ask(app, f"/?token={token}")).status == 303
    assert (await ask(app, f"/?token={token}")).status == 403


async def test_a_token_opens_nothing_but_the_first_page(app: Guard, keys: Keys) -> None:
    assert (await ask(app, f"/create?token={keys.token}")).status == 403
    assert (await ask(app, f"/?token={keys.token}", {"origin": OURS}, form={})).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example:9000", "127.0.0.1", "127.0.0.1:9001", "[::1]:9000", "", "localhost:9000."]
)
async def test_a_name_that_was_pointed_here_is_refused(app: Guard, keys: Keys, host: str) -> None:
    """DNS rebinding: a page of that name would be of one origin with itself."""
    for path in ("/", f"/?token={keys.token}"):
        answer = await ask(app, path, cookie(keys) | {"host": host})
        assert answer.status == 403
    answer = await ask(app, "/x", cookie(keys) | {"host": host, "origin": f"http://{host}"}, form={})
    assert answer.status == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9001", "null", "https://127.0.0.1:9000", ""]
)
async def test_a_page_of_another_origin_changes_nothing(app: Guard, keys: Keys, origin: str) -> None:
    """Even with the cookie: browsers send it along from other ports of the same host."""
    assert (await ask(app, "/x", cookie(keys) | {"origin": origin}, form={})).status == 403
    assert (await ask(app, "/x", cookie(keys) | {"origin": origin})).status == 403


async def test_a_change_without_an_origin_is_refused(app: Guard, keys: Keys) -> None:
    assert (await ask(app, "/x", cookie(keys), form={})).status == 403
    assert (await ask(app, "/x", cookie(keys) | {"origin": OURS}, form={})).text == "seen POST"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_page_cannot_load_ours_into_itself(app: Guard, keys: Keys, site: str) -> None:
    assert (await ask(app, "/", cookie(keys) | {"sec-fetch-site": site})).status == 403
    embedded = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    assert (await ask(app, f"/?token={keys.token}", embedded)).status == 403
    followed = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert (await ask(app, f"/?token={keys.token}", followed)).status == 303


async def test_every_answer_forbids_scripts_and_frames_of_others(app: Guard, keys: Keys) -> None:
    for answer in (await ask(app, "/"), await ask(app, "/", cookie(keys))):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


def test_secrets_are_not_in_what_is_printed_of_them(keys: Keys) -> None:
    once = keys.once()
    assert not any(secret in repr(keys) for secret in (keys.token, keys.session, once))
