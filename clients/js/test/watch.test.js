/** Following a job: its events, over lost connections, until its end. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { JobsError, watchJob } from "zeke-jobs";

import { Server, json, unreachable } from "./server.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** Watch a job on the test's server; `outcome` has the result of the promise. */
function watching(options = {}, server = new Server()) {
  const told = [];
  const outcome = {};
  const done = watchJob("job", {
    baseUrl: "https://example.org/",
    fetch: server.fetch,
    firstDelay: 1000,
    onStatus: (status) => told.push(status.status),
    onProgress: (progress) => told.push(progress.value),
    onLog: (line) => told.push(line.message),
    ...options,
  });
  done.then(
    (value) => (outcome.value = value),
    (error) => (outcome.error = error),
  );
  return { server, told, outcome, done };
}

const settle = () => vi.advanceTimersByTimeAsync(0);

test("each change is told, and the end is what it comes to", async () => {
  const { server, told, done } = watching();
  const stream = await server.opened();
  stream.status("QUEUED");
  stream.status("EXECUTING");
  stream.event("progress", { attempt: 1, at: "2024-01-01T00:00:00.000Z", value: 0.5, message: null });
  stream.event("log", { attempt: 1, at: "2024-01-01T00:00:00.000Z", level: "info", message: "half", fields: { n: 1 } });
  stream.event("unknown", "data");
  stream.status("COMPLETED", { output: { n: 1 }, completedOn: "2024-01-01T00:00:01.000Z" });
  stream.event("close", "complete");
  expect(await done).toEqual({
    id: "job",
    status: "COMPLETED",
    taskId: "task",
    output: { n: 1 },
    completedOn: "2024-01-01T00:00:01.000Z",
  });
  expect(told).toEqual(["QUEUED", "EXECUTING", 0.5, "half", "COMPLETED"]);
  expect(stream.url).toBe("https://example.org/jobs/stream/job");
  expect(stream.headers.get("accept")).toBe("text/event-stream");
  expect(stream.signal.aborted).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});

test("an end that is announced before its output is told once, with the output", async () => {
  const { server, told, done } = watching();
  const stream = await server.opened();
  stream.status("COMPLETED", { outputFollows: true });
  stream.event("log", { attempt: 1, at: "2024-01-01T00:00:00.000Z", level: "info", message: "half", fields: {} });
  stream.status("COMPLETED", { output: { n: 1 }, completedOn: null });
  stream.event("close", "complete");
  expect((await done).output).toEqual({ n: 1 });
  expect(told).toEqual(["half", "COMPLETED"]);
});

test("whoever has seen the end of the stream gets the stored end", async () => {
  const run = { id: "job", status: "COMPLETED", taskId: "task", output: { n: 1 }, completedOn: null };
  const server = new Server().answer(() => new Response(null, { status: 204 }), json(200, run));
  const { told, done } = watching({ lastEventId: "9" }, server);
  expect((await done).output).toEqual({ n: 1 });
  expect(told).toEqual(["COMPLETED"]);
});

test("an id is a part of a path, whatever it is", async () => {
  const server = new Server();
  watchJob("../a?b", { baseUrl: "", fetch: server.fetch });
  expect((await server.opened()).url).toBe("/jobs/stream/..%2Fa%3Fb");
});

test("the token goes along, and a function is asked before each connection", async () => {
  const plain = watching({ token: "mid_1", headers: { "x-team": "7" } });
  const { headers } = await plain.server.opened();
  expect([headers.get("authorization"), headers.get("x-team")]).toEqual(["Bearer mid_1", "7"]);

  let count = 0;
  const asked = watching({ token: async () => `t${(count += 1)}` });
  const first = await asked.server.opened();
  first.end();
  const next = asked.server.opened();
  await vi.advanceTimersByTimeAsync(1000);
  expect([first, await next].map((one) => one.headers.get("authorization"))).toEqual(["Bearer t1", "Bearer t2"]);
});

test.each([
  ["is lost", (stream) => stream.lose()],
  ["ends", (stream) => stream.end()],
])("when a connection %s it is opened again behind the last event", async (_, cut) => {
  const { server, told, done } = watching();
  const first = await server.opened();
  expect(first.lastEventId).toBeNull();
  first.status("EXECUTING", {}, "3-1");
  first.write("id: 4\nevent: log\ndata: {\"mess"); // never whole, so it does not count
  await settle();
  cut(first);
  const next = server.opened();
  await vi.advanceTimersByTimeAsync(1000);
  const second = await next;
  expect(second.lastEventId).toBe("3-1");
  second.status("EXECUTING", {}, "3-1");
  second.status("COMPLETED", { output: null }, "4");
  second.event("close", "complete");
  await done;
  expect(told).toEqual(["EXECUTING", "COMPLETED"]);
});

test("a stream that times out is opened again, without waiting for its end", async () => {
  const { server, done } = watching();
  const first = await server.opened();
  first.status("QUEUED", {}, "1");
  first.event("timeout", { message: "Stream timeout" });
  const next = server.opened();
  await vi.advanceTimersByTimeAsync(1000);
  const second = await next;
  expect(first.signal.aborted).toBe(true);
  expect(second.lastEventId).toBe("1");
  second.status("CANCELLED");
  second.event("close", "complete");
  expect((await done).status).toBe("CANCELLED");
});

test("a watch may begin behind an event", async () => {
  const events = [];
  const { server } = watching({ lastEventId: "9", onEvent: (event) => events.push(event.lastEventId) });
  const stream = await server.opened();
  expect(stream.lastEventId).toBe("9");
  stream.status("EXECUTING", {}, "10");
  await settle();
  expect(events).toEqual(["10"]);
});

test("when the end was told before, the job is asked for", async () => {
  const { server, told, done } = watching({ lastEventId: "9" });
  const stream = await server.opened();
  server.answer(json(200, { id: "job", status: "COMPLETED", taskId: "task", output: 5, completedOn: "x", data: {} }));
  stream.event("close", "complete");
  expect(await done).toEqual({ id: "job", status: "COMPLETED", taskId: "task", output: 5, completedOn: "x" });
  expect(told).toEqual(["COMPLETED"]);
  expect(server.requests.at(-1).url).toBe("https://example.org/trigger/runs/job");
});

test("it waits twice as long after each failure, up to a limit, and starts anew after an event", async () => {
  vi.spyOn(Math, "random").mockReturnValue(1);
  const delays = [];
  const { server } = watching({
    mostDelay: 5000,
    onConnection: ({ state, delay }) => state === "waiting" && delays.push(delay),
  });
  const first = await server.opened();
  server.answer(unreachable, unreachable, unreachable, json(503, {}), json(500, { error: "Internal" }));
  first.end();
  const next = server.opened();
  await vi.advanceTimersByTimeAsync(60_000);
  const second = await next;
  expect(delays).toEqual([1000, 2000, 4000, 5000, 5000, 5000]);
  second.status("QUEUED");
  await settle();
  second.lose();
  await settle();
  expect(delays.at(-1)).toBe(1000);
});

test("two clients never wait equally long", async () => {
  const delays = [];
  const random = vi.spyOn(Math, "random");
  for (const value of [0, 0.5]) {
    random.mockReturnValue(value);
    const server = new Server().answer(unreachable);
    watching({ onConnection: ({ state, delay }) => state === "waiting" && delays.push(delay) }, server);
    await settle();
  }
  expect(delays).toEqual([500, 750]);
});

test("the server may say how long to wait", async () => {
  vi.spyOn(Math, "random").mockReturnValue(1);
  const delays = [];
  const server = new Server().answer(json(503, {}, { "retry-after": "20" }));
  watching({ onConnection: ({ state, delay }) => state === "waiting" && delays.push(delay) }, server);
  const next = server.opened();
  await vi.advanceTimersByTimeAsync(20_000);
  (await next).write("retry: 3000\n\n");
  await settle();
  server.streams[0].end();
  await settle();
  expect(delays).toEqual([20_000, 6000]);
});

test("who may try only so often gives up with what was wrong", async () => {
  const server = new Server().answer(unreachable, unreachable, unreachable);
  const { outcome } = watching({ attempts: 2 }, server);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(outcome.error).toMatchObject({ name: "TypeError", message: "fetch failed" });
  expect(server.requests).toHaveLength(3);
});

test.each([
  [404, "Job not found"],
  [401, "Authorization header required"],
  [403, "Forbidden"],
])("%i is final, and says why", async (status, error) => {
  const server = new Server().answer(json(status, { error, description: "scope" }));
  const { outcome } = watching({}, server);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(outcome.error).toBeInstanceOf(JobsError);
  expect(outcome.error).toMatchObject({ status, message: error, description: "scope", transient: false });
  expect(server.requests).toHaveLength(1);
});

test("a job that vanishes is not found", async () => {
  const { server, outcome } = watching();
  const stream = await server.opened();
  stream.status("QUEUED");
  stream.event("error", { error: "Job not found" });
  await settle();
  expect(outcome.error).toMatchObject({ name: "JobsError", status: 404, message: "Job not found" });
});

test.each([
  ["a page", () => new Response("<p>", { headers: { "content-type": "text/html" } }), "text/html"],
  ["nothing", () => new Response(null, { status: 204 }), "no type"],
])("%s in the place of a stream is final", async (_, answer, says) => {
  const { outcome } = watching({}, new Server().answer(answer));
  await settle();
  expect(outcome.error).toMatchObject({ name: "JobsError", status: 0, message: expect.stringContaining(says) });
});

test("an event that is no JSON is final", async () => {
  const { server, outcome } = watching();
  (await server.opened()).event("status", "{");
  await settle();
  expect(outcome.error).toMatchObject({ name: "JobsError", message: expect.stringContaining("status") });
});

test("what a callback throws ends the watch, and is not taken for a lost connection", async () => {
  const oops = new TypeError("oops");
  const { server, outcome } = watching({
    onStatus: () => {
      throw oops;
    },
  });
  const stream = await server.opened();
  stream.status("QUEUED");
  await settle();
  expect(outcome.error).toBe(oops);
  expect(stream.signal.aborted).toBe(true);
});

test("a signal ends it: before, while it reads, while it waits, and among events that came together", async () => {
  const reason = new Error("enough");
  expect(await watchJob("job", { signal: AbortSignal.abort(reason) }).catch((error) => error)).toBe(reason);

  const reading = new AbortController();
  const first = watching({ signal: reading.signal });
  const stream = await first.server.opened();
  stream.status("QUEUED");
  await settle();
  reading.abort(reason);
  await settle();
  expect(first.outcome.error).toBe(reason);
  expect(stream.signal.aborted).toBe(true);

  const waiting = new AbortController();
  const second = watching({ signal: waiting.signal }, new Server().answer(unreachable));
  await settle();
  waiting.abort(reason);
  await settle();
  expect(second.outcome.error).toBe(reason);
  expect(vi.getTimerCount()).toBe(0);

  const among = new AbortController();
  const told = [];
  const third = watching({ signal: among.signal, onStatus: ({ status }) => (told.push(status), among.abort(reason)) });
  const both = await third.server.opened();
  both.write('event: status\ndata: {"status":"QUEUED"}\n\nevent: status\ndata: {"status":"EXECUTING"}\n\n');
  await settle();
  expect(third.outcome.error).toBe(reason);
  expect(told).toEqual(["QUEUED"]);
});

test("a signal that comes while the token is fetched ends it before a connection is opened", async () => {
  const stopping = new AbortController();
  const reason = new Error("enough");
  const { server, outcome } = watching({
    signal: stopping.signal,
    token: async () => {
      stopping.abort(reason);
      return "mid_1";
    },
  });
  await settle();
  expect(outcome.error).toBe(reason);
  expect(server.requests).toEqual([]);
});

test("a connection on which nothing arrives counts as lost; a comment is a sign of life", async () => {
  const { server } = watching({ idleTimeout: 10_000 });
  const first = await server.opened();
  await vi.advanceTimersByTimeAsync(9000);
  first.write(": keep-alive\n\n");
  await vi.advanceTimersByTimeAsync(9000);
  expect(server.streams).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(3000);
  expect(first.signal.aborted).toBe(true);
  expect(server.streams).toHaveLength(2);
});

test("silence may be allowed", async () => {
  const { server } = watching({ idleTimeout: 0 });
  await server.opened();
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(server.streams).toHaveLength(1);
});

test("a browser that is connected again does not wait", async () => {
  const target = new EventTarget();
  vi.stubGlobal("addEventListener", target.addEventListener.bind(target));
  vi.stubGlobal("removeEventListener", target.removeEventListener.bind(target));
  const server = new Server().answer(unreachable);
  watching({ firstDelay: 3_600_000 }, server);
  await settle();
  expect(server.streams).toHaveLength(0);
  target.dispatchEvent(new Event("online"));
  await settle();
  expect(server.streams).toHaveLength(1);
});
