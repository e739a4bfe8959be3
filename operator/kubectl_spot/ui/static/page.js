// What a browser has to do itself: hear of changes, count seconds, open dialogs, copy text, fill the form.
"use strict";

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

/** Returns a length of time as the server writes it: the two largest units. */
function duration(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = UNITS.map(([size, unit]) => { const count = Math.floor(rest / size); rest -= count * size; return [count, unit]; });
  const first = parts.findIndex(([count]) => count > 0);
  const shown = first < 0 ? [] : parts.slice(first, first + 2);
  return shown.filter(([count]) => count > 0).map(([count, unit]) => count + unit).join("") || "0s";
}

function tick() {
  const now = Date.now();
  for (const one of document.querySelectorAll("time[data-kind]")) {
    const at = Date.parse(one.dateTime);
    const text = one.dataset.kind === "since" ? duration((now - at) / 1000) : at > now ? "in " + duration((at - now) / 1000) : "now";
    if (one.textContent !== text) one.textContent = text;
  }
}

function listen() {
  // What was changed between the making of this page and now is not on it.
  let version = document.querySelector("meta[name=seen]").content;
  const events = new EventSource("/events");
  const ended = document.getElementById("ended");
  events.onmessage = (event) => {
    ended.hidden = true;
    if (version !== event.data) htmx.trigger(document.body, "changed");
    version = event.data;
  };
  events.onerror = () => { ended.hidden = false; };
  window.addEventListener("pagehide", () => events.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

function addWord(input, word) {
  const words = input.value.split(/[\s,]+/).filter(Boolean);
  if (!words.some((one) => one.split("=")[0] === word)) words.push(word);
  input.value = words.join(" ");
}

function choose(button) {
  const form = document.getElementById("create");
  if (form.region.value !== button.dataset.region) {
    form.region.value = button.dataset.region;
    form.zones.value = "";
    form.types.value = "";
  }
  addWord(form.zones, button.dataset.zone);
  addWord(form.types, button.dataset.type);
  form.region.dispatchEvent(new Event("change", { bubbles: true }));
}

/** Shows the offers of the region in the form; all of them while no known region stands there. */
function narrow() {
  const region = document.getElementById("create").region.value;
  const rows = [...document.querySelectorAll("#offers tbody tr")];
  const isKnown = rows.some((row) => row.dataset.region === region);
  for (const row of rows) row.hidden = isKnown && row.dataset.region !== region;
}

function onClick(event) {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.dialog) document.getElementById("dialog-" + button.dataset.dialog).showModal();
  if ("close" in button.dataset) button.closest("dialog").close();
  if (button.dataset.copy) {
    navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent).then(() => {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
  if ("choose" in button.dataset) choose(button);
  if (button.id === "theme") {
    const root = document.documentElement;
    const isDark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  }
}

// A change of the cluster must not undo what a person has typed, chosen or opened.
Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) => !(node instanceof Element && node.matches("form.filters"));
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.localName === "details");
document.addEventListener("click", onClick);
// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
if (document.getElementById("create")) {
  document.getElementById("create").addEventListener("change", narrow);
  narrow();
}
setInterval(tick, 1000);
listen();
