// Interaction with the tracks: pointer and keys, the details of an event, the table, the filter.

const KINDS = story.events.map((event) => event.kind);
const nameOf = (n) => KINDS[n] === "violation" ? "" : story.tracks[story.trackOf[n]];
const searchable = story.events.map((event, n) => [
  KINDS[n], nameOf(n), story.lines[n], event.outcome ?? "", ...story.jobsOf[n].map((job) => story.jobs[job].join(" ")),
].join(" ").toLowerCase());

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children.filter((child) => child != null));
  return made;
}

// Choosing an event

const BEFORE = 20; // Events to see before a violation that is an instant.

function choose(n, { reveal = true, scroll = true } = {}) {
  view.chosen = n;
  if (n != null && reveal) bringIntoView(n);
  details(n);
  if (n != null && scroll) scrollRows(n);
  drawRows();
  redraw();
}
function bringIntoView(n) {
  const where = place(story.events[n].at), span = view.to - view.from;
  if (where < view.from + span * 0.04 || where > view.to - span * 0.04) setView(where - span / 2, where + span / 2);
  const track = layout.tracks[story.trackOf[n]];
  if (track.y < view.scroll) scrollTo(track.y);
  else if (track.y + track.tall > view.scroll + height - AXIS) scrollTo(track.y + track.tall - height + AXIS);
}
function toViolation() {
  const mine = story.leases.filter((lease) => lease.job === story.job && lease.since <= story.at);
  let since = Math.min(story.since, ...mine.slice(-2).map((lease) => lease.since));
  if (since >= story.at) { // It has no length, and nothing of a job's life tells how it came: what happened last may.
    const before = order.slice(0, order.indexOf(LAST)).filter((n) => shown(n) && story.events[n].at < story.at);
    since = story.events[before.at(-BEFORE) ?? before[0] ?? LAST].at;
  }
  showTimes(since, story.at, 0.25);
  choose(LAST, { reveal: false });
}
function step(by, accepts, around = false) {
  const from = view.chosen == null ? (by > 0 ? -1 : order.length) : order.indexOf(view.chosen);
  const steps = around ? order.length : by > 0 ? order.length - 1 - from : from;
  for (let k = 1; k <= steps; k++) {
    const n = order[(from + by * k + order.length * 2) % order.length];
    if (accepts(n)) return choose(n);
  }
}
const stepFault = (by) => step(by, (n) => KINDS[n] === "fault", true);

// The details

const FIELDS = new Set(["kind", "at", "row", "was", "set"]);
const tidy = (_, value) => typeof value === "number" ? Number(value.toPrecision(12)) : value;
const text = (value) => typeof value === "string" ? value : JSON.stringify(value, tidy, 2);
function pairs(table, className = "") {
  return element("dl", {}, ...Object.entries(table).flatMap(([name, value]) =>
    [element("dt", { textContent: name }), element("dd", { className, textContent: text(value) })]));
}
const jump = (label, n) => element("button", { type: "button", textContent: label, onclick: () => choose(n) });

function details(n) {
  const panel = $("details");
  panel.replaceChildren();
  if (n == null) {
    panel.append(element("p", { className: "hint", textContent: "Choose a bar, a mark or a row to see all that is known of it. Press ? for the keys." }));
    return;
  }
  const event = story.events[n];
  panel.append(
    element("h2", { textContent: KINDS[n] === "violation" ? `✗ ${event.rule}` : story.lines[n] }),
    element("p", { className: "when", textContent: `${seconds(event.at, 6)} · ${wall(event.at)}${nameOf(n) && ` · ${nameOf(n)}`}` }),
    actions(n));
  if (KINDS[n] === "violation") {
    panel.append(element("p", { className: "broken", textContent: event.text }),
      pairs({ interval: `${seconds(event.since)} to ${seconds(event.at)}` }));
  } else if (event.set) changed(panel, event);
  const about = KINDS[n] === "fault" && story.faultKinds[event.fault];
  if (about) panel.append(element("p", { textContent: `${event.fault}: ${about}.` }));
  const rest = Object.fromEntries(Object.entries(event).filter(([name, value]) => !FIELDS.has(name) && value !== null));
  if (KINDS[n] !== "violation") panel.append(element("h3", { textContent: KINDS[n] }), pairs(rest));
  if (KINDS[n] === "change") panel.append(rowAt(n, event));
  for (const job of story.jobsOf[n].slice(0, 3)) panel.append(lifeOf(job));
}
function changed(panel, event) {
  const list = element("dl");
  for (const [name, value] of Object.entries(event.set)) {
    list.append(element("dt", { textContent: name }), element("dd", {},
      element("span", { className: "was", textContent: text(event.was[name]) }), " → ",
      element("span", { className: "set", textContent: text(value) })));
  }
  panel.append(element("h3", { textContent: "what changed" }), list);
}
function rowAt(n, event) {
  let row = {};
  for (let k = 0; k <= n; k++) {
    const other = story.events[k];
    if (other.kind !== "change" || other.job !== event.job || other.table !== event.table) continue;
    row = other.row ? { ...other.row } : { ...row, ...other.set };
  }
  return element("details", {}, element("summary", { textContent: event.state ? "The row after it" : "The row before it" }), pairs(row));
}
function actions(n) {
  const call = story.calls.find((one) => one.first === n || one.last === n);
  const [job] = story.jobsOf[n];
  const other = call && (call.first === n ? call.last : call.first);
  return element("div", { className: "acts" },
    job == null ? null : element("button", { type: "button", textContent: view.job === job ? "All jobs" : "Only this job",
      onclick: () => filter(view.job === job ? null : job) }),
    other != null && other !== n ? jump(call.first === n ? `Answer after ${seconds(call.until - call.since)}` : "Its call", other) : null,
    element("button", { type: "button", textContent: "Previous", onclick: KEYS.k }),
    element("button", { type: "button", textContent: "Next", onclick: KEYS.j }));
}
function lifeOf(job) {
  const [id, , task] = story.jobs[job];
  const held = story.leases.filter((lease) => lease.job === job);
  const life = element("div", {}, element("h3", { textContent: "job" }), pairs({ task, id }));
  const list = element("div", { className: "acts" });
  for (const lease of held.slice(-12)) {
    const until = lease.until == null ? "" : `–${number(lease.until, 3)}`;
    list.append(jump(`#${lease.attempt} ${story.tracks[lease.track]} ${number(lease.since, 3)}${until} s ${lease.outcome}`, lease.first));
  }
  life.append(list);
  return life;
}

// The table: only visible rows are rendered

const TALL = 22;
let found = [];
function search() {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  found = order.filter((n) => shown(n) && words.every((word) => searchable[n].includes(word)));
  $("spacer").style.height = `${found.length * TALL}px`;
  $("rows").setAttribute("aria-rowcount", found.length + 1);
  const hidden = view.polls ? 0 : quiet.reduce((sum, one) => sum + one, 0);
  $("count").textContent = `${found.length} of ${story.events.length} events` + (hidden ? `, ${hidden} quiet hidden` : "");
  drawRows();
}
function drawRows() {
  const box = $("rows"), spacer = $("spacer");
  const first = Math.max(0, Math.floor(box.scrollTop / TALL) - 4);
  const last = Math.min(found.length, first + Math.ceil(box.clientHeight / TALL) + 8);
  const rows = [];
  for (let k = first; k < last; k++) {
    const n = found[k], event = story.events[n];
    const cells = [n, event.at.toFixed(3), brief(nameOf(n)), KINDS[n], story.lines[n]];
    const mood = event.outcome === "unknown" || event.alive === false ? " unknown" : quiet[n] ? " quiet" : "";
    const row = element("div", { className: `row ${KINDS[n]}${mood}${n === view.chosen ? " chosen" : ""}`, id: `row${n}` },
      ...cells.map((cell, column) => {
        const made = element("span", { textContent: cell });
        made.setAttribute("role", "gridcell");
        if (column === 4) made.title = cell;
        return made;
      }));
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", k + 2);
    row.setAttribute("aria-selected", n === view.chosen);
    row.style.top = `${k * TALL}px`;
    row.onclick = () => choose(n, { scroll: false });
    rows.push(row);
  }
  spacer.replaceChildren(...rows);
  const chosen = view.chosen != null && $(`row${view.chosen}`);
  if (chosen) box.setAttribute("aria-activedescendant", chosen.id); else box.removeAttribute("aria-activedescendant");
}
function scrollRows(n) {
  const k = found.indexOf(n), box = $("rows"), room = box.clientHeight - TALL;
  if (k < 0) return;
  if (k * TALL < box.scrollTop || (k + 1) * TALL > box.scrollTop + room) box.scrollTop = k * TALL - room / 2;
}

// The filter, and the toggles

function filter(job) {
  view.job = job;
  $("job").value = job ?? "";
  if (job != null) view.life = lifeSpan(job);
  refresh();
  if (job != null) showTimes(...view.life, 0.1);
  choose(view.chosen, { reveal: false });
}
function refresh() {
  arrange();
  search();
}
function squeeze(on) {
  const [low, high] = whole(), all = view.to - view.from > (high - low) * 0.99;
  const [since, until] = [timeAt(view.from), timeAt(view.to)];
  view.squeezed = $("squeeze").checked = on;
  if (all) setView(...whole()); else setView(place(since), place(until));
}
function polls(on) {
  view.polls = $("polls").checked = on;
  refresh();
  if (view.chosen != null) scrollRows(view.chosen);
}

// Pointer: drag moves, wheel zooms, two fingers do both

const held = new Map();
let moved = 0, apart = 0;
const local = (event) => [event.offsetX, event.offsetY];
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  held.set(event.pointerId, local(event));
  moved = 0;
  apart = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = local(event), before = held.get(event.pointerId);
  if (before) {
    held.set(event.pointerId, [x, y]);
    moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
    if (held.size === 2) return pinch();
    if (moved < 4) return;
    canvas.classList.add("held");
    hover(null);
    pan(-(x - before[0]) / (width - gutter));
    if (event.pointerType !== "touch") scrollTo(view.scroll - (y - before[1]));
  } else hover([x, y]);
});
function pinch() {
  const [[a], [b]] = [...held.values()], now = Math.abs(a - b) || 1;
  if (apart) zoom(apart / now, (a + b) / 2);
  apart = now;
}
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    canvas.classList.remove("held");
    if (name === "pointerup" && held.delete(event.pointerId) && moved < 4) {
      const box = under(...local(event));
      choose(box ? box.first : null, { reveal: false });
    }
    held.delete(event.pointerId);
  });
}
canvas.addEventListener("pointerleave", () => hover(null));
canvas.addEventListener("dblclick", (event) => {
  const box = under(...local(event));
  if (!box) return zoom(0.4, event.offsetX);
  showTimes(story.events[box.first].at, box.last == null ? timeOf(box.x1) : story.events[box.last].at);
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 16 : 1;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    pan((event.deltaX || event.deltaY) * unit / (width - gutter));
  } else zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY * unit)) * 0.003), event.offsetX);
}, { passive: false });

function hover(point) {
  const tip = $("tip"), box = point && under(...point);
  view.cursor = point && point[0] > gutter ? point[0] : null;
  canvas.style.cursor = box ? "pointer" : "";
  tip.hidden = !box;
  if (box) {
    tip.textContent = told(box);
    const room = $("tracks").clientWidth - tip.offsetWidth - 8, below = $("pane").offsetTop + point[1] + 18;
    tip.style.left = `${Math.max(4, Math.min(point[0] + 14, room))}px`;
    tip.style.top = `${Math.min(below, Math.max(4, $("tracks").clientHeight - tip.offsetHeight - 4))}px`;
    if (view.chosen == null) details(box.first);
  }
  redraw();
}

function told(box) {
  const first = story.events[box.first], last = box.last == null || box.last === box.first ? null : story.events[box.last];
  const took = last ? seconds(last.at - first.at, 6) : "";
  if (box.unit) {
    const { lease, job, attempt } = box.unit, [, id, task] = story.jobs[job];
    return `${task} ${id}, attempt ${attempt}: ` + (last ? `${took}, then ${lease.outcome}` : "never settled");
  }
  const end = last?.outcome && last.outcome !== "ok" ? `, ${last.outcome}` : "";
  return `${box.note ? `${box.note}: ` : ""}${story.lines[box.first]}${took && `: ${took}${end}`}`;
}

function brush(event) {
  if (!event.buttons && event.type !== "pointerdown") return;
  const [low, high] = whole(), span = view.to - view.from;
  const middle = low + Math.max(0, (event.offsetX - gutter) / (width - gutter)) * (high - low);
  setView(middle - span / 2, middle + span / 2);
}
overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); brush(event); });
overview.addEventListener("pointermove", brush);

// Keys

const next = (n) => shown(n);
const KEYS = {
  ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
  ArrowUp: () => scrollTo(view.scroll - 40), ArrowDown: () => scrollTo(view.scroll + 40),
  "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), _: () => zoom(1 / 0.6),
  0: () => setView(...whole()), j: () => step(1, next), k: () => step(-1, next),
  n: () => stepFault(1), N: () => stepFault(-1), v: toViolation, s: () => squeeze(!view.squeezed), p: () => polls(!view.polls),
  f: () => filter(view.job != null ? null : view.chosen == null ? null : story.jobsOf[view.chosen][0] ?? null),
  "?": () => $("keys").showModal(), "/": () => $("find").focus(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || $("source").open) return;
  const typing = event.target.matches("input[type=search], select");
  if (event.key === "Escape") {
    if (typing && $("find").value) {
      $("find").value = "";
      search();
      if (view.chosen != null) scrollRows(view.chosen);
    } else if (typing) event.target.blur();
    else if (view.job != null) filter(null); else choose(null);
    return;
  }
  if (event.key === "Enter" && event.target === $("find") && found.length) {
    choose(found[(found.indexOf(view.chosen) + 1) % found.length]);
    return;
  }
  if (typing) return;
  if (event.target === $("rows") && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    const k = found.indexOf(view.chosen) + (event.key === "ArrowUp" ? -1 : 1);
    if (found[k] != null) choose(found[k]);
    event.preventDefault();
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// The page itself

function legend() {
  const states = OUTCOMES.filter((state) => story.leases.some((lease) => lease.outcome === state));
  $("legend").replaceChildren(...states.map((state) => {
    const swatch = element("i");
    swatch.style.background = `var(--${state})`;
    return element("span", {}, swatch, state === "created" ? "released" : state);
  }));
}
function start() {
  readTheme();
  const longest = Math.max(...story.tracks.map((name) => brief(name).length));
  document.documentElement.style.setProperty("--node", `${longest + 1}ch`);
  const mine = (entry) => entry[1] === story.job ? 0 : 1;
  for (const [[, id, task], n] of story.jobs.map((job, n) => [job, n]).sort((a, b) => mine(a) - mine(b))) {
    $("job").append(element("option", { value: n, textContent: `${task} ${id}${n === story.job ? "  ✗" : ""}` }));
  }
  for (const decision of story.decisions) {
    const button = jump(`${decision.address} ${decision.text}`, decision.first);
    button.disabled = decision.first == null;
    $("decisions").append(element("li", {}, button));
  }
  const gaps = story.knots.at(-1);
  view.squeezed = $("squeeze").checked = gaps[0] - story.knots[0][0] > 8 * gaps[1];
  arrange();
  setView(...whole());
  search();
  legend();
  if (story.events.length > 150) toViolation(); else choose(LAST, { reveal: false });
  $("job").onchange = (event) => filter(event.target.value === "" ? null : Number(event.target.value));
  $("find").oninput = () => { $("rows").scrollTop = 0; search(); };
  $("rows").onscroll = drawRows;
  $("squeeze").onchange = (event) => squeeze(event.target.checked);
  $("polls").onchange = (event) => polls(event.target.checked);
  const clicks = { fit: KEYS[0], goto: toViolation, fault: () => stepFault(1), in: KEYS["+"], out: KEYS["-"], help: KEYS["?"], faulted: () => $("source").showModal() };
  $("faulted").hidden = $("source").querySelector(".source") === null;
  for (const [id, act] of Object.entries(clicks)) $(id).onclick = act;
  $("copy").onclick = async () => {
    try {
      await navigator.clipboard.writeText($("command").textContent);
      $("copy").textContent = "Copied";
    } catch { // A page that was opened from a file may not write to the clipboard everywhere.
      getSelection().selectAllChildren($("command"));
      $("copy").textContent = "Press Ctrl+C";
    }
  };
  new ResizeObserver(() => { resize(); drawRows(); }).observe($("pane"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(); redraw(); });
}
start();
