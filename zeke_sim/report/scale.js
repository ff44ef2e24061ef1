// The failure, its visible range, and the position of times.

const story = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

const LAST = story.events.length - 1;
const view = { from: 0, to: 1, squeezed: false, job: null, life: [0, 0], polls: false, chosen: LAST, over: null, cursor: null, scroll: 0 };
let width = 0, height = 0, gutter = 96;

// The violation was written last, so sort it by its time.
const order = story.events.map((_, n) => n).sort((a, b) => story.events[a].at - story.events[b].at || a - b);

// Events that are noise: empty polls, and heartbeats

const NOISE = new Set(["heartbeat", "set_idle", "wait_for_jobs", "now"]);
const POLLS = new Set(["claim", "lock_expired", "lock_due_schedules", "archive", "purge", "events"]);
const isEmpty = (result) => result == null || result === 0 || result === false
  || (Array.isArray(result) && (result.length === 0 || (result.length === 2 && Array.isArray(result[1]) && !result[1].length)));
const quiet = new Uint8Array(story.events.length);
for (const call of story.calls) {
  const answer = call.last == null ? null : story.events[call.last];
  const noise = NOISE.has(call.verb) && call.outcome !== "failed" && call.outcome !== "unknown";
  if (noise || (call.outcome === "ok" && POLLS.has(call.verb) && isEmpty(answer.result))) {
    quiet[call.first] = 1;
    if (answer?.kind === "answered") quiet[call.last] = 1;
  }
}
story.events.forEach((event, n) => { if (event.kind === "worker" && !event.gone) quiet[n] = 1; });

// A job's events: those that concern it, and faults of nodes and the database during its life.
const COMMON = new Set(["lived", "fault", "phase", "violation"]);
function lifeSpan(job) {
  const times = story.events.filter((_, n) => story.jobsOf[n].includes(job)).map((event) => event.at);
  return times.length ? [Math.min(...times), Math.max(...times)] : [story.since, story.at];
}
const within = (event) => event.at <= view.life[1] && (event.until ?? event.at) >= view.life[0];
const concerns = (n) => view.job == null || story.jobsOf[n].includes(view.job)
  || (COMMON.has(story.events[n].kind) && within(story.events[n]));
const shown = (n) => (view.polls || !quiet[n]) && concerns(n);

// Time to position: linear, or with idle time shortened

function interpolate(value, from, to) {
  const knots = story.knots;
  let low = 0, high = knots.length - 1;
  if (value <= knots[0][from]) return knots[0][to] + (value - knots[0][from]);
  if (value >= knots[high][from]) return knots[high][to] + (value - knots[high][from]);
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (knots[middle][from] <= value) low = middle; else high = middle;
  }
  const [a, b] = [knots[low], knots[high]];
  return a[to] + (b[to] - a[to]) * (value - a[from]) / (b[from] - a[from] || 1);
}
const place = (time) => view.squeezed ? interpolate(time, 0, 1) : time;
const timeAt = (where) => view.squeezed ? interpolate(where, 1, 0) : where;
const X = (time) => gutter + (place(time) - view.from) / (view.to - view.from) * (width - gutter);
const timeOf = (x) => timeAt(view.from + (x - gutter) / (width - gutter) * (view.to - view.from));
const whole = () => {
  const [from, to] = [place(0), place(story.end)];
  const room = (to - from || 1) * 0.02;
  return [from - room, to + room];
};

function setView(from, to) {
  const [low, high] = whole();
  const span = Math.min(Math.max(to - from, 1e-5), high - low);
  from = Math.max(low, Math.min(from, high - span));
  view.from = from;
  view.to = from + span;
  redraw();
}
const showTimes = (since, until, room = 0.2) => {
  const [from, to] = [place(since), place(until)];
  const air = Math.max((to - from) * room, (whole()[1] - whole()[0]) * 1e-4);
  setView(from - air, to + air);
};
function zoom(factor, x = (gutter + width) / 2) {
  const part = Math.max(0, Math.min(1, (x - gutter) / (width - gutter)));
  const middle = view.from + part * (view.to - view.from), span = (view.to - view.from) * factor;
  setView(middle - part * span, middle + (1 - part) * span);
}
const pan = (share) => setView(view.from + share * (view.to - view.from), view.to + share * (view.to - view.from));

// Words for names and times

const LONG = 22; // Nodes' names differ at their ends, so what is cut out is the middle.
const brief = (name, most = LONG) =>
  name.length <= most ? name : `${name.slice(0, Math.ceil(most / 2) - 1)}…${name.slice(-Math.floor(most / 2))}`;

const number = (value, digits) => value.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
function seconds(time, digits = 3) {
  if (Math.abs(time) < 60) return `${number(time, digits)} s`;
  const days = Math.floor(time / 86400), hours = Math.floor(time / 3600) % 24, minutes = Math.floor(time / 60) % 60;
  const rest = number(time % 60, digits);
  return [days && `${days} d`, hours && `${hours} h`, minutes && `${minutes} min`, rest !== "0" && `${rest} s`]
    .filter(Boolean).join(" ");
}
const wall = (time) => new Date((story.epoch + time) * 1000).toISOString().replace("T", " ");
