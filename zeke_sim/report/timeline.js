// The tracks: drawing, and hit testing.

const canvas = $("drawing"), ink = canvas.getContext("2d");
const overview = $("overview"), strip = overview.getContext("2d");
const AXIS = 26, ROW = 20, CALL = 6, MARKS = 14, PAD = 5;
const OUTCOMES = ["completed", "retry", "created", "failed", "expired", "cancelled", "open"];
let theme = {}, layout = { tracks: [], height: 0 }, boxes = [];

// Layout: overlapping bars are stacked

function stack(items, rows) {
  const ends = [];
  for (const item of items) {
    let row = ends.findIndex((end) => end <= item.since);
    if (row < 0) row = ends.length < rows ? ends.length : ends.indexOf(Math.min(...ends));
    ends[row] = Math.max(ends[row] ?? -1, item.until ?? story.end);
    item.row = row;
  }
  return ends.length;
}

function bars(track) {
  const units = new Map();
  for (const [kind, list] of [["lease", story.leases], ["work", story.works]]) {
    for (const one of list) {
      if (one.track !== track || (view.job != null && one.job !== view.job)) continue;
      const key = `${one.job}/${one.attempt}/${kind === "lease" ? one.first : ""}`;
      const loose = kind === "work" && [...units.keys()].findLast((k) => k.startsWith(`${one.job}/${one.attempt}/`));
      const unit = units.get(loose || key) ?? { since: one.since, until: one.until, job: one.job, attempt: one.attempt, works: [] };
      unit.since = Math.min(unit.since, one.since);
      unit.until = unit.until == null || one.until == null ? null : Math.max(unit.until, one.until);
      if (kind === "lease") unit.lease = one; else unit.works.push(one);
      units.set(loose || key, unit);
    }
  }
  return [...units.values()].sort((a, b) => a.since - b.since);
}

function arrange() {
  let y = 0;
  const marksOf = story.tracks.map(() => []), callsOf = story.tracks.map(() => []);
  for (const call of story.calls) if (shown(call.first) || (call.last != null && !quiet[call.first] && shown(call.last))) callsOf[call.track].push(call);
  for (const fault of story.faults) marksOf[fault.track].push({ ...fault, mark: "fault" });
  story.events.forEach((event, n) => {
    if (!shown(n)) return;
    const mark = { effect: "effect", notified: "notified", change: "change", queue: "row", schedule: "row", worker: "row" }[event.kind];
    if (mark) marksOf[story.trackOf[n]].push({ since: event.at, until: null, first: n, mark });
  });
  layout.tracks = story.tracks.map((name, track) => {
    const units = bars(track), calls = callsOf[track], marks = marksOf[track];
    const rows = stack(units, 40), callRows = stack(calls, 3);
    const marked = marks.length ? MARKS : 0;
    const troubled = story.spans.some((span) => span.track === track) ? 14 : 0;
    const tall = Math.max(30, 2 * PAD + marked + rows * ROW + callRows * CALL + troubled);
    const one = { name, y, tall, units, calls, marks, bars: y + PAD + marked, callsAt: y + PAD + marked + rows * ROW };
    y += tall;
    return one;
  });
  layout.height = y + AXIS;
  resize();
}

function resize() {
  const scale = window.devicePixelRatio || 1;
  const pane = $("pane"), flows = getComputedStyle(pane).overflow === "visible";
  width = pane.clientWidth;
  height = flows ? layout.height : pane.clientHeight;
  ink.font = `600 12px ${theme.sans}`;
  gutter = Math.min(width * 0.25, 200, Math.max(56, 24 + Math.max(...story.tracks.map((name) => ink.measureText(brief(name)).width))));
  for (const [one, tall] of [[canvas, height], [overview, 34]]) {
    one.width = Math.round(width * scale);
    one.height = Math.round(tall * scale);
    one.style.height = `${tall}px`;
    one.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
  }
  scrollTo(view.scroll);
}
function scrollTo(y) {
  view.scroll = Math.max(0, Math.min(y, layout.height - height));
  redraw();
}

// Drawing

const NAMES = ["paper", "raised", "line", "ink", "soft", "faint", "accent", "select", "violation", "glow", "fault", "work",
  "call", "down", "hatch", "gone", "phase-faults", "phase-quiet", "phase-end", "mono", "sans", ...OUTCOMES];
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  theme = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  theme.hatched = pattern(theme.hatch);
  theme.alarm = pattern(theme.violation);
}
function pattern(colour) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const brush = tile.getContext("2d");
  brush.strokeStyle = colour;
  brush.lineWidth = 1.2;
  for (const shift of [-6, 0, 6]) {
    brush.beginPath();
    brush.moveTo(shift, 6);
    brush.lineTo(shift + 6, 0);
    brush.stroke();
  }
  return ink.createPattern(tile, "repeat");
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); drawOverview(); });
}

function draw() {
  boxes = [];
  ink.clearRect(0, 0, width, height);
  ink.textBaseline = "middle";
  ink.save();
  ink.beginPath();
  ink.rect(gutter, 0, width - gutter, height);
  ink.clip();
  for (const phase of story.phases) {
    band(phase.since, phase.until, theme[`phase-${phase.what}`]);
    const left = Math.max(X(phase.since), gutter), right = phase.until == null ? width : X(phase.until);
    if (height - AXIS > layout.height - AXIS + 14) caption(`phase: ${phase.what}`, left + 6, height - 10, right - left - 12, theme.soft);
  }
  drawInterval();
  ink.save();
  ink.translate(0, AXIS - view.scroll);
  for (const track of layout.tracks) {
    if (track.y + track.tall >= view.scroll && track.y - view.scroll < height) drawTrack(track);
  }
  ink.restore();
  drawLines();
  ink.restore();
  drawNames();
  drawAxis();
  drawScroll();
}

function band(since, until, colour) {
  const left = X(since), right = until == null ? width : X(until);
  ink.fillStyle = colour || "transparent";
  ink.fillRect(left, 0, right - left, height);
}
function drawInterval() {
  const left = X(story.since), right = Math.max(X(story.at), left + 2);
  ink.fillStyle = theme.glow;
  ink.fillRect(left, 0, right - left, height);
  boxes.push({ x0: right - 4, x1: right + 4, y0: 0, y1: AXIS, first: LAST });
}
function drawLines() {
  ink.lineWidth = 1;
  line(X(story.at), theme.violation);
  if (X(story.at) - X(story.since) > 3) line(X(story.since), theme.violation, [3, 3]);
  if (view.chosen != null && view.chosen !== LAST) line(X(story.events[view.chosen].at), theme.accent);
  if (view.cursor != null) line(view.cursor, theme.faint, [2, 3]);
}
function line(x, colour, dash = []) {
  ink.strokeStyle = colour;
  ink.setLineDash(dash);
  ink.beginPath();
  ink.moveTo(Math.round(x) + 0.5, AXIS - 4);
  ink.lineTo(Math.round(x) + 0.5, height);
  ink.stroke();
  ink.setLineDash([]);
}

function drawTrack(track) {
  const index = layout.tracks.indexOf(track);
  for (const span of story.spans) if (span.track === index) drawSpan(span, track);
  for (const unit of track.units) drawUnit(unit, track.bars + unit.row * ROW);
  let seen = {};
  for (const call of track.calls) seen = drawCall(call, track.callsAt + call.row * CALL, seen);
  const faults = track.marks.filter((mark) => mark.mark === "fault").map((mark) => X(mark.since));
  for (const [n, mark] of track.marks.entries()) drawMark(mark, track.y + PAD + MARKS / 2 - 1, (faults[n + 1] ?? Infinity) - X(mark.since));
  ink.fillStyle = theme.line;
  ink.fillRect(gutter, track.y + track.tall - 1, width - gutter, 1);
}

const SPANS = { down: "down", stopped: "stopped", paused: "paused", partitioned: "partitioned", stopping: "stopping" };
function drawSpan(span, track) {
  const left = Math.max(X(span.since), gutter), right = Math.min(span.until == null ? width : X(span.until), width);
  if (right < gutter || left > width) return;
  ink.fillStyle = theme.down;
  if (span.what !== "partitioned") ink.fillRect(left, track.y, right - left, track.tall - 1);
  ink.fillStyle = theme.hatched;
  if (!span.what.startsWith("stop")) ink.fillRect(left, track.y, right - left, track.tall - 1);
  const length = span.until == null ? "" : ` ${seconds(span.until - span.since)}`;
  caption(SPANS[span.what] + length, left + 6, track.y + track.tall - 9, right - left - 12, theme.soft, 11, true);
  boxes.push({ x0: left, x1: right, y0: track.y, y1: track.y + track.tall, first: span.first, low: true });
}

function caption(text, x, y, room, colour, size = 11, backed = false, weight = 400) {
  if (room < 18) return 0;
  ink.font = `${weight} ${size}px ${theme.sans}`;
  let wide = ink.measureText(text).width;
  if (wide > room) {
    const keep = Math.floor(text.length * (room - 8) / wide);
    if (keep < 3) return 0;
    text = `${text.slice(0, keep)}…`;
    wide = ink.measureText(text).width;
  }
  if (backed) {
    ink.fillStyle = theme.paper;
    ink.fillRect(x - 3, y - size / 2 - 2, wide + 6, size + 4);
  }
  ink.fillStyle = colour;
  ink.fillText(text, x, y);
  return wide;
}

const ENDS = { completed: "✓", retry: "↻", failed: "✗", expired: "✗", cancelled: "⊘", created: "↺", gone: "∅" };
function drawUnit(unit, y) {
  const { lease } = unit, tall = ROW - 3;
  if (X(unit.until ?? story.end) < gutter - 2 || X(unit.since) > width) return;
  const first = lease ? lease.first : unit.works[0].first;
  if (lease) {
    const left = X(lease.since), right = Math.max(lease.until == null ? X(story.end) : X(lease.until), left + 2);
    ink.fillStyle = theme[lease.outcome] ?? theme.gone;
    rounded(left, y, right - left, tall, lease.until == null ? [3, 0, 0, 3] : 3);
    ink.fill();
    boxes.push({ x0: left, x1: right, y0: y, y1: y + tall, first: lease.first, last: lease.last, unit });
  }
  for (const work of unit.works) drawWork(work, lease, y, tall);
  const [, id, task] = story.jobs[unit.job];
  const left = Math.max(X(lease ? lease.since : unit.since), gutter) + 5;
  const right = Math.min(X(lease ? lease.until ?? story.end : unit.until ?? story.end), width) - 4;
  const end = lease ? ENDS[lease.outcome] : null;
  if (end && right - left > 30) caption(end, right - 10, y + 7, 20, "#fff", 11);
  caption(`${task} ${id} #${unit.attempt}`, left, y + 7, right - left - (end ? 14 : 0), lease ? "#fff" : theme.ink, 11);
  if (chosenUnit(unit, first)) {
    ink.strokeStyle = theme.ink;
    ink.lineWidth = 2;
    rounded(X(unit.since) - 1, y - 1, Math.max(X(unit.until ?? story.end) - X(unit.since), 2) + 2, tall + 2, 4);
    ink.stroke();
  }
}
function chosenUnit(unit, first) {
  if (view.chosen == null) return false;
  const event = story.events[view.chosen];
  if (view.chosen === LAST) return unit.job === story.job;
  return view.chosen === first || (unit.job === story.jobsOf[view.chosen][0] && story.jobsOf[view.chosen].length === 1
    && (event.attempt == null || event.attempt === unit.attempt));
}
function drawWork(work, lease, y, tall) {
  const left = X(work.since), right = Math.max(work.until == null ? X(story.end) : X(work.until), left + 1.5);
  const ends = lease ? (lease.until == null ? right : X(lease.until)) : left;
  ink.fillStyle = theme.work;
  ink.globalAlpha = 0.75;
  if (ends > left) ink.fillRect(left, y + tall - 4, Math.min(right, ends) - left, 2.5);
  ink.globalAlpha = 1;
  const free = Math.max(left, ends);
  if (right > free + 0.5) { // It runs without a lease.
    ink.fillStyle = theme.alarm;
    ink.globalAlpha = lease ? 1 : 0.35; // Where there was no lease at all, its name stands on it.
    ink.fillRect(free, y + 3, right - free, tall - 6);
    ink.globalAlpha = 1;
    ink.strokeStyle = theme.violation;
    ink.lineWidth = 1;
    ink.strokeRect(free + 0.5, y + 3.5, right - free - 1, tall - 7);
    boxes.push({ x0: free, x1: right, y0: y, y1: y + tall, first: work.first, last: work.last, note: "runs without a lease" });
  }
  if (work.how === "raised" || work.how === "killed") {
    ink.fillStyle = theme.violation;
    ink.fillRect(right - 1.5, y + tall - 6, 3, 6);
  }
}
function rounded(x, y, wide, tall, radius) {
  ink.beginPath();
  ink.roundRect(x, y, wide, tall, wide < 7 ? 1 : radius);
}

function drawCall(call, y, seen) {
  const left = X(call.since), right = Math.max(call.until == null ? X(story.end) : X(call.until), left + 1.5);
  if (right < gutter || left > width) return seen;
  boxes.push({ x0: left - 1, x1: right + 1, y0: y, y1: y + CALL, first: call.first, last: call.last });
  const key = `${y}${call.outcome}`;
  // Thousands of calls within one pixel are drawn once.
  if (seen[key] != null && right - seen[key] < 0.7 && call.first !== view.chosen) return seen;
  seen[key] = right;
  const unsettled = call.outcome === "open" || call.outcome === "killed";
  ink.fillStyle = unsettled ? theme.hatched : { ok: theme.call, failed: theme.failed, unknown: theme.alarm }[call.outcome];
  ink.fillRect(left, y, right - left, CALL - 2);
  if (unsettled || call.outcome === "unknown") {
    ink.strokeStyle = unsettled ? theme.faint : theme.violation;
    ink.lineWidth = 1;
    ink.strokeRect(left + 0.5, y + 0.5, Math.max(right - left - 1, 1), CALL - 3);
  }
  if (view.chosen != null && (call.first === view.chosen || call.last === view.chosen)) {
    ink.strokeStyle = theme.ink;
    ink.lineWidth = 1.5;
    ink.strokeRect(left - 1.5, y - 1.5, right - left + 3, CALL + 1);
  }
  return seen;
}

function drawMark(mark, y, apart) { // `apart`: pixels to the next fault, before which its name must end
  const x = X(mark.since), until = mark.until == null ? x : X(mark.until);
  if (until < gutter - 6 || x > width + 6) return;
  const chosen = mark.first === view.chosen;
  if (mark.mark === "fault" && until > x) {
    ink.strokeStyle = theme.fault;
    ink.lineWidth = 1.5;
    ink.beginPath();
    ink.moveTo(x, y);
    ink.lineTo(until, y);
    ink.moveTo(until, y - 4);
    ink.lineTo(until, y + 4);
    ink.stroke();
  }
  const event = story.events[mark.first];
  const colours = { fault: theme.fault, effect: event.alive === false ? theme.violation : theme.ink, notified: theme.accent,
    change: theme[event.state === "active" ? "open" : event.state] ?? theme.gone, row: theme.faint };
  ink.fillStyle = ink.strokeStyle = colours[mark.mark];
  ink.lineWidth = 1.5;
  ink.beginPath();
  if (mark.mark === "fault") diamond(x, y, 5.5);
  else if (mark.mark === "effect") { ink.moveTo(x - 4.5, y - 4); ink.lineTo(x + 4.5, y - 4); ink.lineTo(x, y + 4.5); ink.closePath(); }
  else if (mark.mark === "notified") ink.arc(x, y, 3, 0, 7);
  else ink.rect(x - 1, y - 5, 2.5, event.table === "archive" ? 5 : 11);
  if (mark.mark === "notified") ink.stroke(); else ink.fill();
  if (chosen) {
    ink.strokeStyle = theme.ink;
    ink.beginPath();
    ink.arc(x, y, 8, 0, 7);
    ink.stroke();
  }
  boxes.push({ x0: x - 5, x1: Math.max(x + 5, mark.mark === "fault" ? until : 0), y0: y - 7, y1: y + 7, first: mark.first });
  if (mark.mark === "fault") caption(event.fault, x + 9, y, Math.min(apart - 20, 130), theme.fault, 11, true);
}
function diamond(x, y, size) {
  ink.moveTo(x, y - size);
  ink.lineTo(x + size, y);
  ink.lineTo(x, y + size);
  ink.lineTo(x - size, y);
  ink.closePath();
}

function drawNames() {
  ink.fillStyle = theme.raised;
  ink.fillRect(0, 0, gutter, height);
  ink.save();
  ink.beginPath();
  ink.rect(0, AXIS, gutter, height - AXIS);
  ink.clip();
  for (const track of layout.tracks) {
    const y = AXIS - view.scroll + track.y;
    ink.fillStyle = theme.line;
    ink.fillRect(0, y + track.tall - 1, gutter, 1);
    caption(fitting(track.name, gutter - 18), 12, y + Math.min(track.tall / 2, 20), gutter - 18, theme.ink, 12, false, 600);
  }
  ink.restore();
  ink.fillStyle = theme.line;
  ink.fillRect(gutter - 1, 0, 1, height);
}

function fitting(name, room) {
  let most = LONG;
  ink.font = `600 12px ${theme.sans}`;
  while (most > 4 && ink.measureText(brief(name, most)).width > room) most--;
  return brief(name, most);
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800, 2592000];
function stepFor(raw) {
  if (raw >= 1) return STEPS.find((step) => step >= raw) ?? Math.ceil(raw / 2592000) * 2592000;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((part) => part * power).find((step) => step >= raw * 0.999);
}
function drawAxis() {
  ink.fillStyle = theme.raised;
  ink.fillRect(gutter, 0, width - gutter, AXIS - 3);
  ink.save();
  ink.beginPath();
  ink.rect(gutter, 0, width - gutter, AXIS);
  ink.clip();
  const flags = [[X(story.at), "✗", theme.violation]];
  if (view.cursor != null) flags.push([view.cursor, seconds(timeOf(view.cursor), precision()), theme.soft]);
  ink.font = `600 11px ${theme.sans}`;
  const short = breaks(), taken = [...flags.map(([x, text]) => flagged(x, text)), ...short];
  for (let x = gutter; x < width;) {
    // With shortened idle time the step depends on the position.
    const step = stepFor(Math.max((timeOf(Math.min(x + 96, width)) - timeOf(x)), 1e-6) * 0.999);
    const time = Math.ceil((timeOf(x) - 1e-9) / step) * step, at = X(time);
    if (at > x + 240) { // A long idle time comes next, by whose measure no round time is near.
      x += 24;
      continue;
    }
    const text = seconds(Math.max(time, 0), Math.max(0, Math.ceil(-Math.log10(step))));
    const free = taken.every(([left, right]) => at > right || at + ink.measureText(text).width + 6 < left);
    if (time >= -1e-9 && at >= x - 1 && free) tick(at, text);
    x = Math.max(x + 40, at + 84);
  }
  for (const one of short) drawBreak(...one, taken.slice(0, flags.length));
  for (const one of flags) flag(...one);
  ink.restore();
  ink.fillStyle = theme.line;
  ink.fillRect(0, AXIS - 3, width, 1);
}
const precision = () => Math.max(1, Math.min(6, Math.ceil(-Math.log10(Math.abs(timeOf(gutter + 1) - timeOf(gutter)) || 1)) + 1));
function tick(x, text) {
  ink.fillStyle = theme.line;
  ink.fillRect(x, 14, 1, AXIS - 17);
  ink.fillStyle = theme.soft;
  ink.font = `11px ${theme.sans}`;
  ink.fillText(text, x + 4, AXIS / 2 - 1);
}
// If idle time is shortened below a quarter, the axis shows its duration.
function breaks() {
  const knots = story.knots, found = [];
  for (let n = 1; view.squeezed && n < knots.length; n++) {
    const gap = knots[n][0] - knots[n - 1][0], drawn = knots[n][1] - knots[n - 1][1];
    if (gap < drawn * 4) continue;
    const left = X(knots[n - 1][0]), right = X(knots[n][0]);
    if (right > gutter && left < width && right - left > 16) found.push([left, right, gap]);
  }
  return found;
}
function drawBreak(left, right, gap, flags) {
  ink.fillStyle = theme.hatched;
  ink.fillRect(left, 0, right - left, AXIS - 3);
  let from = Math.max(left, gutter) + 6, to = Math.min(right, width) - 6;
  for (const [begins, ends] of flags) { // A flag stands on it: its length goes to the side with more room.
    if (ends < from || begins > to) continue;
    if (to - ends > begins - from) from = ends + 6; else to = begins - 6;
  }
  caption(seconds(gap, gap > 60 ? 0 : 2), from, AXIS / 2 - 1, to - from, theme.ink, 11, true);
}
function flagged(x, text) {
  const wide = ink.measureText(text).width + 8, left = Math.max(gutter, Math.min(x - wide / 2, width - wide));
  return [left, left + wide];
}
function flag(x, text, colour) {
  ink.font = `600 11px ${theme.sans}`;
  const [left, right] = flagged(x, text);
  ink.fillStyle = colour;
  ink.beginPath();
  ink.roundRect(left, 3, right - left, AXIS - 9, 3);
  ink.fill();
  ink.fillStyle = theme.paper;
  ink.fillText(text, left + 4, AXIS / 2 - 1);
}
function drawScroll() {
  if (layout.height <= height + 1) return;
  const room = height - AXIS, tall = room * height / layout.height;
  ink.fillStyle = theme.faint;
  ink.beginPath();
  ink.roundRect(width - 7, AXIS + view.scroll / (layout.height - height) * (room - tall), 4, tall, 2);
  ink.fill();
}

// The whole run in one strip: density of events, faults, the violation, and the visible range

function drawOverview() {
  const [low, high] = whole(), tall = 34;
  const at = (time) => gutter + (place(time) - low) / (high - low) * (width - gutter);
  strip.clearRect(0, 0, width, tall);
  strip.fillStyle = theme.raised;
  strip.fillRect(0, 0, width, tall);
  const bins = new Uint16Array(Math.ceil(width / 2) + 1);
  story.events.forEach((event, n) => { if (shown(n)) bins[Math.floor(at(event.at) / 2)]++; });
  const most = Math.max(1, ...bins);
  strip.fillStyle = theme.call;
  bins.forEach((count, n) => { if (count) strip.fillRect(n * 2, tall - 4 - Math.sqrt(count / most) * 20, 2, Math.sqrt(count / most) * 20 + 2); });
  strip.fillStyle = theme.fault;
  for (const fault of story.faults) strip.fillRect(at(fault.since) - 1, 2, 2.5, 6);
  strip.fillStyle = theme.glow;
  strip.fillRect(at(story.since), 0, Math.max(at(story.at) - at(story.since), 2), tall);
  strip.fillStyle = theme.violation;
  strip.fillRect(at(story.at) - 1, 0, 2, tall);
  const left = gutter + (view.from - low) / (high - low) * (width - gutter);
  const right = gutter + (view.to - low) / (high - low) * (width - gutter);
  strip.globalAlpha = 0.6;
  strip.fillStyle = theme.paper;
  strip.fillRect(gutter, 0, left - gutter, tall);
  strip.fillRect(right, 0, width - right, tall);
  strip.globalAlpha = 1;
  strip.strokeStyle = theme.accent;
  strip.lineWidth = 1.5;
  strip.strokeRect(left + 0.75, 1, Math.max(right - left - 1.5, 3), tall - 2.5);
  strip.fillStyle = theme.soft;
  strip.font = `11px ${theme.sans}`;
  strip.textBaseline = "middle";
  strip.fillText("whole run", 12, tall / 2, gutter - 16);
}

function under(x, y) {
  const below = y - AXIS + view.scroll;
  let low = null;
  for (let n = boxes.length - 1; n >= 0; n--) {
    const box = boxes[n], level = box.y1 <= AXIS && box.first === LAST ? y : below;
    if (x < box.x0 || x > box.x1 || level < box.y0 || level > box.y1) continue;
    if (!box.low) return box;
    low ??= box;
  }
  return low;
}
