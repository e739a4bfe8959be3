"""`kubectl spot ui` in a real browser, on a real API server, about environments that run in a simulated cloud."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from e2e.page import Plugin, open_browser, watched
from e2e.simulator import IMAGE, REGION
from e2e.stage import SECRET, Stage
from waiting import allowed, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]

#: Milliseconds: a busy machine is slow, not broken.
PATIENCE = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def plugin(stage: Stage, tmp_path: Path) -> Iterator[Plugin]:
    kubectl = stage.kubectl
    plugin = Plugin.start(kubectl.binary, kubectl.kubeconfig, tmp_path, f"--namespace={stage.namespace}")
    yield plugin
    plugin.stop()


@pytest.fixture
def page(browser: Browser, plugin: Plugin) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    with watched(context.new_page(), plugin.origin) as page:
        page.goto(plugin.url)
        yield page
    context.close()


def confirm(page: Page, action: str, **fields: str) -> None:
    """Press the button of an action, fill the dialog that asks, and press its own."""
    page.get_by_role("button", name=action, exact=True).click()
    dialog = page.get_by_role("dialog")
    for name, value in fields.items():
        dialog.locator(f"[name={name}]").fill(value)
    dialog.locator("button").first.click()


def tile(page: Page, label: str) -> str:
    return page.locator(".tiles > div", has=page.get_by_text(label, exact=True)).locator("dd").inner_text()


def ready(page: Page, said: str) -> None:
    expect(page.locator(".tiles > div", has_text="Ready of desired").locator("dd")).to_have_text(said)


def fill_form(page: Page, stage: Stage, name: str, quantity: int) -> None:
    page.get_by_role("link", name="Create", exact=True).first.click()
    values = {
        "name": name,
        "region": REGION,
        "zones": stage.account.zones[0],
        "types": "S5.MEDIUM4",
        "image": IMAGE,
        "quantity": str(quantity),
        "secret": SECRET,
    }
    for field, value in values.items():
        page.locator(f"#create [name={field}]").fill(value)


def test_the_life_of_an_environment_is_seen_in_the_page_alone(page: Page, stage: Stage) -> None:
    """It is created and fills, is listed with log and cost, waits and says why, is taken back and replaced."""
    zone = stage.account.zones[0]
    pool = {"zone": zone, "type": "S5.MEDIUM4"}
    fill_form(page, stage, "web", 2)
    expect(page.locator("#manifest")).to_contain_text("replicas: 2")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("status")).to_contain_text("The API server accepts this manifest. Nothing is created yet.")
    assert stage.get() is None
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("web is created.")
    expect(page.locator("h1")).to_contain_text("Ready")
    ready(page, "2 of 2")
    assert len(stage.cloud.running(stage.account)) == 2

    for one in stage.cloud.instances(stage.account):
        expect(page.locator(f"tr[id$='{one['id']}']")).to_contain_text("RUNNING")
    expect(page.locator("section", has=page.locator("#instances"))).to_contain_text("10.")
    expect(page.locator("section", has=page.locator("#activity"))).to_contain_text("Launch")
    expect(page.locator("section", has=page.locator("#cost"))).to_contain_text("Saved per hour")
    expect(page.locator("section", has=page.locator("#pools"))).to_contain_text("0.0226")
    expect(page.locator("figure.chart", has_text="Price per pool").locator("path.line")).to_have_count(1)

    stage.cloud.post("stock", **pool, stock=0)
    confirm(page, "Scale", replicas="3")
    expect(page.locator("h1")).to_contain_text("Waiting")
    expect(page.locator(".lead")).to_contain_text("ResourceInsufficient")
    ready(page, "2 of 3")
    expect(page.locator("section", has=page.locator("#pools"))).to_contain_text(
        "Has refused, and is not asked for a while"
    )
    assert tile(page, "Next attempt") != "–"

    stage.cloud.post("interrupt", count=1, notice_seconds=0, account=stage.account.uin)
    expect(page.locator(".tiles > div", has_text="Taken back so far").locator("dd")).to_have_text("1")
    expect(page.locator("section", has=page.locator("#activity"))).to_contain_text("Loss")
    expect(page.locator("figure.chart", has_text="Reclaims").locator("rect.bar")).to_have_count(1)
    stage.cloud.post("stock", **pool, stock=100)
    expect(page.locator("h1")).to_contain_text("Ready")
    ready(page, "3 of 3")


def test_it_is_priced_paused_scaled_found_by_its_address_and_deleted(page: Page, stage: Stage, plugin: Plugin) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    page.goto(f"{plugin.origin}/environments/{stage.namespace}/web")
    confirm(page, "Price cap", max_price="0.09")
    expect(page.get_by_role("status")).to_contain_text("pays at most 0.09")
    confirm(page, "Pause")
    expect(page.locator("h1")).to_contain_text("Paused")
    confirm(page, "Resume")
    expect(page.locator("h1")).to_contain_text("Ready")
    assert (stage.get() or {})["spec"]["market"]["maxPrice"] == "0.09"
    confirm(page, "Scale", replicas="1")
    ready(page, "1 of 1")

    page.get_by_role("link", name="Instance list").click()
    stage.until_ready(1)
    found = stage.until(lambda obj: len(obj["status"]["instances"]) == 1, "the other is gone")
    (survivor,) = found["status"]["instances"]
    page.get_by_role("searchbox").fill(survivor["privateIP"])
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text(survivor["id"])
    page.get_by_role("link", name=f"{stage.namespace}/web").click()
    confirm(page, "Delete", name="web")
    expect(page.get_by_role("status")).to_contain_text("is being deleted")
    expect(page.locator("main")).to_contain_text("There is no environment yet.")
    assert stage.cloud.running(stage.account) == []


def test_prices_are_asked_without_buying(page: Page, stage: Stage) -> None:
    """The way to live prices where no environment tells of them: the operator asks the market for a paused one."""
    page.get_by_role("link", name="Create", exact=True).first.click()
    expect(page.locator("main")).to_contain_text("Create this one paused: the operator then asks the market")
    fill_form(page, stage, "probe", 2)
    page.get_by_label("Instance types").fill("")
    page.get_by_label("vCPUs from").fill("2")
    page.get_by_label("Paused").check()
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("section", has=page.locator("#quote"))).to_contain_text(
        "2 of 2 missing instances would be bought."
    )
    expect(page.locator("section", has=page.locator("#pools"))).to_contain_text("0.019")
    assert stage.cloud.instances(stage.account, gone=True) == []
    page.get_by_role("link", name="Create", exact=True).first.click()
    page.get_by_role("button", name=f"Choose SA2.MEDIUM4@{stage.account.zones[0]}").click()
    expect(page.get_by_label("Instance types")).to_have_value("SA2.MEDIUM4")
    expect(page.get_by_label("Zones")).to_have_value(stage.account.zones[0])
    expect(page.locator("#manifest")).to_contain_text("- SA2.MEDIUM4")


def test_what_the_api_server_refuses_is_said_in_its_words_and_the_form_stays(page: Page, stage: Stage) -> None:
    fill_form(page, stage, "web", 1)
    page.get_by_label("Zones").fill("ap-shanghai-2")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("alert").first).to_contain_text("every placement's zone must belong to the region")
    expect(page.get_by_label("Zones")).to_have_value("ap-shanghai-2")
    assert stage.get() is None


def test_a_change_made_elsewhere_is_seen_at_once_and_a_dialog_stays_open(
    page: Page, stage: Stage, plugin: Plugin
) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    page.goto(f"{plugin.origin}/environments/{stage.namespace}/web")
    page.get_by_role("button", name="Price cap").click()
    field = page.get_by_role("dialog").locator("[name=max_price]")
    field.fill("0.0")
    begun = time.monotonic()
    stage.scale(2)
    expect(page.locator(".tiles > div", has_text="Ready of desired").locator("dd")).to_contain_text("of 2")
    assert time.monotonic() - begun < allowed(2.0)
    expect(field).to_have_value("0.0")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    stage.until_ready(2)


def test_what_a_person_types_or_opens_stays_when_the_cluster_changes(page: Page, stage: Stage, plugin: Plugin) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    page.goto(plugin.origin)
    page.get_by_role("searchbox").fill("half a wo")
    stage.scale(2)
    ready(page, "2 of 2")
    expect(page.get_by_role("searchbox")).to_have_value("half a wo")
    page.goto(f"{plugin.origin}/environments/{stage.namespace}/web")
    page.get_by_text("Manifest", exact=True).click()
    stage.scale(1)
    ready(page, "1 of 1")
    expect(page.locator("#manifest")).to_be_visible()
    expect(page.locator("#manifest")).to_contain_text("replicas: 1")


def test_it_is_used_with_the_keyboard_alone(page: Page, stage: Stage, plugin: Plugin) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    page.goto(f"{plugin.origin}/environments/{stage.namespace}/web")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(":focus").inner_text() == "Scale":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").locator("[name=replicas]")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("is to have 2 instances")
    stage.until_ready(2)


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 360),
        ("dark", 1280),
        *(
            pytest.param(scheme, width, marks=pytest.mark.rare)
            for scheme, width in (("light", 768), ("light", 1280), ("dark", 360), ("dark", 768))
        ),
    ],
)
def test_it_fits_every_screen_and_can_be_read_in_light_and_dark(
    page: Page, stage: Stage, plugin: Plugin, width: int, scheme: str
) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    for path in ("/", f"/environments/{stage.namespace}/web", "/create", "/instances", "/market"):
        page.goto(plugin.origin + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        poor = page.evaluate(CONTRAST)
        assert poor == [], (path, scheme)
    page.get_by_role("button", name="Theme").click()
    assert page.locator("html").get_attribute("data-theme") == ("dark" if scheme == "light" else "light")


#: Texts whose contrast with what is behind them is below 4.5, the bound of WCAG AA.
CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => channels(text).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, index) => sum + v * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      const parts = channels(colour);
      if (parts.length < 4 || parts[3] > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || node instanceof SVGElement || !node.offsetParent) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(node.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
  }
  return found;
}"""


def test_a_page_of_another_origin_can_do_nothing(browser: Browser, page: Page, stage: Stage, plugin: Plugin) -> None:
    """It posts a form, fetches, embeds a frame: nothing is changed, nothing is read, though the cookie is there."""
    stage.apply(replicas=1)
    stage.until_ready(1)
    target = f"{plugin.origin}/environments/{stage.namespace}/web"
    other = page.context.new_page()
    other.route("http://localhost:1/", lambda route: route.fulfill(body="<body>", content_type="text/html"))
    other.goto("http://localhost:1/")
    form = "<form method=post action='${target}/scale'><input name=replicas value=9></form>"
    with other.expect_navigation():
        other.evaluate(f"target => {{ document.body.innerHTML = `{form}`; document.forms[0].submit(); }}", target)
    assert "the request came from another page" in other.content()
    other.goto("http://localhost:1/")
    blind = "fetch(target + '/scale', {method: 'POST', mode: 'no-cors', credentials: 'include'}).then(r => r.type)"
    assert other.evaluate(f"target => {blind}.catch(() => 'failed')", target) in ("opaque", "failed")
    read = "fetch(target, {credentials: 'include'}).then(r => r.text()).catch(() => 'nothing')"
    assert other.evaluate(f"target => {read}", target) == "nothing"
    status, _, _ = plugin.ask(
        f"/environments/{stage.namespace}/web/scale", {"replicas": "9"}, Origin="http://localhost:1"
    )
    assert status == 403
    status, _, _ = plugin.ask("/", Host=f"rebound.example:{plugin.port}")
    assert status == 403
    assert (stage.get() or {})["spec"]["replicas"] == 1
    other.close()


def test_hostile_names_and_messages_stay_text(page: Page, stage: Stage, plugin: Plugin) -> None:
    """`watched` fails on any dialog, any script error and any request to elsewhere."""
    hostile = "<img src=//evil.example/x onerror=alert(1)><script>alert(2)</script>"
    stage.cloud.post("faults", action="RunInstances", account=stage.account.uin, kind="error", code="InternalError",
                     message=hostile, times=0)  # fmt: skip
    stage.apply(replicas=1)
    page.goto(f"{plugin.origin}/environments/{stage.namespace}/web")
    expect(page.locator("section", has=page.locator("#activity"))).to_contain_text("InternalError")
    assert page.locator("main img, main script").count() == 0
    page.goto(f"{plugin.origin}/?q={hostile}")
    assert page.locator("main img, main script").count() == 0
    stage.cloud.clear_faults()
    stage.until_ready(1)


@pytest.mark.rare  # test_page_troubles.py sees an API server go
def test_when_the_program_ends_the_page_says_so_and_keeps_what_it_shows(
    page: Page, stage: Stage, plugin: Plugin
) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    page.goto(plugin.origin)
    expect(page.locator("tbody")).to_contain_text("Ready")
    plugin.kill9()
    expect(page.locator("#ended")).to_contain_text("The program behind this page has ended.")
    expect(page.locator("tbody")).to_contain_text("Ready")
    page.context.unroute_all()


@pytest.mark.rare  # a time, and no right or wrong
def test_the_first_paint_comes_within_a_second(browser: Browser, stage: Stage, plugin: Plugin) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    eventually(lambda: "1 of 1" in plugin.text("/"), "the page has seen it")
    context = browser.new_context()
    page = context.new_page()
    page.goto(plugin.url)
    page.wait_for_selector("tbody tr")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < allowed(1000), json.dumps({"milliseconds": painted})
    context.close()
