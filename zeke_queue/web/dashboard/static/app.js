// Enhancements of the pages: themes, keys, selecting rows, copying, local times, and notes of a lost
// connection. Without this script everything works except live updates.
"use strict";
(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const say = (text) => { const place = $("said"); if (place) place.textContent = text; };

  // Themes

  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const nameTheme = () => { const button = $("theme"); if (button) button.textContent = dark() ? "Light" : "Dark"; };
  const turn = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    const path = root.dataset.root || "/";
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `zeke_theme=${root.dataset.theme}; path=${path}; max-age=31536000; samesite=lax${secure}`;
    nameTheme();
    say(dark() ? "Dark" : "Light");
  };

  // Times: the title of each shows it in the reader's time zone

  const localTimes = (within) => {
    for (const time of within.querySelectorAll("time:not([title])")) {
      const at = new Date(time.dateTime);
      time.title = at.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
    }
  };

  // Running durations: counted from their value at rendering, independent of the local clock

  const lengthOf = (seconds) => {
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
    const whole = Math.floor(seconds);
    for (const [unit, below, size, smaller] of [["d", "h", 86400, 3600], ["h", "min", 3600, 60]]) {
      const rest = Math.floor((whole % size) / smaller);
      if (whole >= size) return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${below}` : ""}`;
    }
    return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  };
  const begun = new WeakMap();
  const goOn = () => {
    for (const one of document.querySelectorAll("[data-since]")) {
      if (!begun.has(one)) begun.set(one, performance.now() - (Date.parse(one.dataset.at) - Date.parse(one.dataset.since)));
      one.textContent = lengthOf((performance.now() - begun.get(one)) / 1000);
    }
  };
  goOn();
  setInterval(goOn, 1000);

  // Selected rows; a list that changes keeps its selection

  const ticks = () => [...document.querySelectorAll('#jobs input[name="id"]')];
  const ticked = () => ticks().filter((box) => box.checked).length;
  const count = () => {
    const bulk = $("bulk");
    if (!bulk) return;
    const number = ticked();
    const every = $("every").checked;
    bulk.classList.toggle("some", every || number > 0);
    $("chosen").textContent = every ? "All matching jobs" : number ? `${number} selected` : "Select jobs to change them";
    const all = $("all");
    if (all) { all.checked = number > 0 && number === ticks().length; all.indeterminate = number > 0 && number < ticks().length; }
  };
  const busy = () => $("bulk") && (ticked() > 0 || $("every").checked);

  // Rows by keyboard

  const rows = () => [...document.querySelectorAll("tr[data-href]")];
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.classList.contains("at"));
    const next = now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, now + by));
    if (now >= 0) all[now].classList.remove("at");
    all[next].classList.add("at");
    all[next].scrollIntoView({ block: "nearest" });
    const link = all[next].querySelector("th a");
    if (link) link.focus({ preventScroll: true });
  };
  const at = () => document.querySelector("tr.at");

  // Keys

  let afterG = false;
  const keys = {
    "?": () => { const help = $("help"); if (help && !help.open) help.showModal(); },
    "/": () => { const search = document.querySelector("[data-search]"); if (search) { const fold = search.closest("details"); if (fold) fold.open = true; search.focus(); search.select(); } else go("j"); },
    d: turn,
    j: () => move(1),
    k: () => move(-1),
    x: () => { const box = at() && at().querySelector('input[name="id"]'); if (box) { box.checked = !box.checked; count(); } },
    Enter: () => { const row = at(); if (row && document.activeElement === document.body) location.href = row.dataset.href; return document.activeElement !== document.body; },
  };
  const go = (key) => { const link = document.querySelector(`#nav [data-key="${CSS.escape(key)}"]`); if (link) location.href = link.href; };
  const typing = (target) => target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (typing(event.target)) { if (event.key === "Escape") event.target.blur(); return; }
    if ($("help") && $("help").open) return;
    if (afterG) { afterG = false; if (/^[a-z]$/.test(event.key)) { event.preventDefault(); go(event.key); } return; }
    if (event.key === "g") { afterG = true; setTimeout(() => { afterG = false; }, 1500); return; }
    const act = keys[event.key];
    if (act && act() !== true) event.preventDefault();
  });

  // The connection

  const MAY_BE_OLD = "This page may be out of date.";
  let gone = false, cut = false;
  const lost = (why) => { const note = $("lost"); if (note && !gone) { note.hidden = false; $("lost-why").textContent = why; } };
  const purged = () => { lost("The job was purged. This page shows its last state."); gone = true; };
  // Streams end from time to time, and browsers reconnect within 3 seconds, so show nothing before that.
  let patience;
  const waits = () => { patience = patience || setTimeout(() => lost(`The connection was lost. ${MAY_BE_OLD} Reconnecting…`), 3500); };
  const back = () => { clearTimeout(patience); patience = undefined; const note = $("lost"); if (note && !note.hidden && !gone) { note.hidden = true; say("Connected again"); } };
  // A browser reconnects itself after its last event. A stream that was refused, for example by a proxy whose
  // server is unavailable, is reopened by htmx at the page's original address, and continues from there.
  let last = "";
  htmx.createEventSource = (address) => {
    const there = new URL(address, location.href);
    if (last && there.searchParams.has("after")) there.searchParams.set("after", last);
    const source = new EventSource(there);
    for (const name of ["log", "progress"]) source.addEventListener(name, (event) => { last = event.lastEventId || last; });
    return source;
  };
  document.addEventListener("htmx:sseError", () => { cut = true; waits(); });
  document.addEventListener("htmx:sseOpen", (event) => {
    cut = false;
    back();
    const source = event.detail.source;
    if (source.zeke) return;
    source.zeke = true;
    source.addEventListener("away", () => lost(`The database is unavailable. ${MAY_BE_OLD} Retrying…`));
    source.addEventListener("back", back);
    source.addEventListener("gone", purged);
  });
  document.addEventListener("htmx:sendError", waits);
  document.addEventListener("htmx:responseError", (event) => {
    // A stream opened after the job was purged has no events.
    if (event.detail.xhr.status === 404 && event.detail.elt.id === "held") purged();
    else if (event.detail.xhr.status !== 401) lost(`The server answered with ${event.detail.xhr.status}. ${MAY_BE_OLD}`);
  });
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful && !cut) back(); });

  // Requests in progress: a thin bar, and aria-busy on the target; a style shows them after a moment

  // Count requests by their own end: the requesting element may have been removed, and then fires no event.
  const going = new Set();
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { xhr, target } = event.detail;
    const tell = () => {
      if ($("loading")) $("loading").hidden = going.size === 0;
      if (target && target.id) target.setAttribute("aria-busy", String(going.has(xhr)));
    };
    going.add(xhr);
    tell();
    xhr.addEventListener("loadend", () => { going.delete(xhr); tell(); });
  });

  // Replaced elements keep the reader's state: the focused row, the horizontal scroll of a table, and
  // opened details. htmx keeps the focus of elements with an id.

  const keep = (within) => ({
    row: at() && within.contains(at()) ? at().dataset.href : undefined,
    aside: [...within.querySelectorAll(".scroll[id]")].map((one) => [one.id, one.scrollLeft]),
    open: [...within.querySelectorAll("details[id][open]")].map((one) => one.id),
  });
  let kept;
  const bring = (within) => {
    if (!kept) return;
    const row = rows().find((one) => one.dataset.href === kept.row);
    if (row && within.contains(row)) row.classList.add("at");
    for (const [id, left] of kept.aside) if ($(id)) $(id).scrollLeft = left;
    for (const id of kept.open) if ($(id)) $(id).open = true;
    kept = undefined;
  };

  // A list with selected rows is not replaced, but shows that it has changed

  let asked = false;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target && event.detail.target.id === "live" && busy() && !asked) {
      event.detail.shouldSwap = false;
      if ($("stale").hidden) say("The list has changed");
      $("stale").hidden = false;
    } else if (event.detail.target) kept = keep(event.detail.target);
    asked = false;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    localTimes(document.body);
    if ($("stale") && event.target.id === "live") $("stale").hidden = true;
    bring(event.target);
    showScripted();
    count();
  });
  // A log scrolled to its end stays there; one scrolled to an earlier line keeps its position.
  let reads = true;
  const toEnd = (log) => { log.scrollTop = log.scrollHeight; };
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    const to = event.target;
    if (to.id === "log") reads = to.scrollHeight - to.scrollTop - to.clientHeight < 24;
    else kept = keep(to);
  });
  document.addEventListener("htmx:sseMessage", (event) => {
    localTimes(document.body);
    showScripted();
    if (event.target.id !== "log") bring(event.target);
    else if (reads) toEnd(event.target);
  });

  // Buttons

  const showScripted = () => { for (const hidden of document.querySelectorAll(".copy[hidden], #theme[hidden], #keys[hidden], #note-close[hidden]")) hidden.hidden = false; };
  const copied = new Map();
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.id === "theme") turn();
    else if (button.id === "keys") keys["?"]();
    else if (button.id === "reconnect") location.reload();
    else if (button.id === "note-close") { button.closest(".note").remove(); $("main").focus({ preventScroll: true }); }
    else if (button.id === "refresh") { asked = true; for (const box of ticks()) box.checked = false; $("every").checked = false; htmx.trigger("#live", "refresh"); }
    else if (button.dataset.copy) {
      const text = $(button.dataset.copy).textContent;
      let done = "Copied";
      try { await navigator.clipboard.writeText(text); } catch { done = "Can't copy"; getSelection().selectAllChildren($(button.dataset.copy)); }
      const label = copied.get(button) || { html: button.innerHTML };
      clearTimeout(label.timer);
      button.textContent = done;
      say(done);
      label.timer = setTimeout(() => { button.innerHTML = label.html; copied.delete(button); }, 1500);
      copied.set(button, label);
    }
  });
  document.addEventListener("submit", (event) => {
    const asks = event.submitter && event.submitter.dataset.confirm;
    if (asks && !confirm(asks)) event.preventDefault();
  });
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.id === "all") for (const one of ticks()) one.checked = box.checked;
    if (box.dataset.submit !== undefined && box.form) box.form.requestSubmit();
    if (box.closest("#selection")) count();
  });

  const names = [...document.querySelectorAll("#nav [data-key]")].map((link) => `${link.dataset.key} ${link.textContent.trim()}`);
  const here = document.querySelector("#nav [aria-current]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft + here.offsetWidth / 2 - here.parentElement.clientWidth / 2;
  if ($("help-pages")) $("help-pages").textContent = names.join(", ");
  if ($("take") && document.querySelector("#task[data-submit]")) $("take").hidden = true;
  // For browsers without support for styled closed details: open them if there is room.
  if ($("fold") && !CSS.supports("selector(::details-content)")) {
    const wide = matchMedia("(min-width: 52.01rem)");
    const unfold = () => { if (wide.matches) $("fold").open = true; };
    wide.addEventListener("change", unfold);
    unfold();
  }
  if ($("log") && $("main").hasAttribute("sse-connect")) toEnd($("log"));
  showScripted();
  nameTheme();
  localTimes(document.body);
  count();
})();
