/** A job's status as a store. */

import { expect, test, vi } from "vitest";

import { createJobStatus } from "zeke-jobs";

import { Server, json } from "./server.js";

const AT = "2024-01-01T00:00:00.000Z";

/** A store of a job on the test's server, and the number of its notifications. */
function stored(options = {}, server = new Server()) {
  const store = createJobStatus({ runId: "job", fetch: server.fetch, firstDelay: 1, ...options });
  return { server, store };
}

const until = (check) => vi.waitFor(check, { interval: 1 });

test("without subscribers nothing is followed", () => {
  const { server, store } = stored();
  expect(store.getSnapshot()).toMatchObject({ status: null, output: null, error: null, connection: "idle" });
  expect(server.requests).toEqual([]);
});

test("a snapshot is the same object until something changes", async () => {
  const { server, store } = stored();
  const before = store.getSnapshot();
  expect(store.getSnapshot()).toBe(before);
  const opened = server.opened();
  store.subscribe(() => {});
  const stream = await opened;
  stream.status("QUEUED");
  await until(() => expect(store.getSnapshot().status).toBe("QUEUED"));
  expect(store.getSnapshot()).toBe(store.getSnapshot());
  expect(store.getSnapshot()).not.toBe(before);
});

test.each([[undefined], [null], [""]])("without a job (%s) nothing is followed", (runId) => {
  const { server, store } = stored({ runId });
  store.subscribe(() => {});
  expect(store.getSnapshot().connection).toBe("idle");
  expect(server.requests).toEqual([]);
});

test("it has what was told last, to the end", async () => {
  const { server, store } = stored();
  const opened = server.opened();
  let changes = 0;
  store.subscribe(() => (changes += 1));
  const stream = await opened;
  await until(() => expect(store.getSnapshot().connection).toBe("open"));
  stream.status("EXECUTING");
  stream.event("progress", { attempt: 1, at: AT, value: 0.5, message: "half" });
  stream.event("log", { attempt: 1, at: AT, level: "info", message: "one" });
  stream.event("log", { attempt: 1, at: AT, level: "info", message: "two" });
  await until(() => expect(store.getSnapshot().logs.map((line) => line.message)).toEqual(["one", "two"]));
  expect(store.getSnapshot()).toMatchObject({ status: "EXECUTING", output: null, error: null, taskId: "task" });
  expect(store.getSnapshot().progress).toMatchObject({ value: 0.5, message: "half" });
  stream.status("COMPLETED", { output: { n: 1 }, completedOn: AT });
  stream.event("close", "complete");
  await until(() => expect(store.getSnapshot().connection).toBe("closed"));
  expect(store.getSnapshot()).toMatchObject({ status: "COMPLETED", output: { n: 1 }, error: null, completedOn: AT });
  expect(changes).toBeGreaterThanOrEqual(7);
  const ended = store.getSnapshot();
  expect(store.getSnapshot()).toBe(ended);
});

test.each([
  ["FAILED", { type: "ValueError", message: "no", traceback: "…" }, "no"],
  ["FAILED", null, "The job failed"],
  ["CANCELLED", null, null],
])("of a job that ended %s with %o the error is %s", async (status, output, error) => {
  const { server, store } = stored();
  const opened = server.opened();
  store.subscribe(() => {});
  const stream = await opened;
  stream.status(status, { output, completedOn: AT });
  stream.event("close", "complete");
  await until(() => expect(store.getSnapshot().connection).toBe("closed"));
  expect(store.getSnapshot()).toMatchObject({ status, output, error });
});

test("an error of an earlier attempt is forgotten when the job runs again", async () => {
  const { server, store } = stored();
  const opened = server.opened();
  store.subscribe(() => {});
  const stream = await opened;
  stream.status("FAILED", { output: { message: "no" } });
  await until(() => expect(store.getSnapshot().error).toBe("no"));
  stream.status("QUEUED");
  await until(() => expect(store.getSnapshot()).toMatchObject({ status: "QUEUED", output: null, error: null }));
});

test("a job that can't be followed has an error and no status", async () => {
  const { store } = stored({}, new Server().answer(json(404, { error: "Job not found" })));
  store.subscribe(() => {});
  await until(() => expect(store.getSnapshot().connection).toBe("closed"));
  expect(store.getSnapshot()).toMatchObject({ status: null, error: "Job not found" });
});

test("the newest log lines are kept", async () => {
  const { server, store } = stored({ maxLogs: 2 });
  const opened = server.opened();
  store.subscribe(() => {});
  const stream = await opened;
  for (const message of ["a", "b", "c"]) stream.event("log", { attempt: 1, at: AT, level: "info", message });
  await until(() => expect(store.getSnapshot().logs.map((line) => line.message)).toEqual(["b", "c"]));
});

test("it is followed while it has subscribers, and then continues after the last event", async () => {
  const { server, store } = stored();
  const opened = server.opened();
  const listener = () => {};
  const [first, second] = [store.subscribe(listener), store.subscribe(listener)];
  const stream = await opened;
  stream.status("EXECUTING", {}, "3");
  await until(() => expect(store.getSnapshot().status).toBe("EXECUTING"));
  first();
  first();
  expect(stream.signal.aborted).toBe(false);
  second();
  expect(stream.signal.aborted).toBe(true);
  expect(store.getSnapshot()).toMatchObject({ status: "EXECUTING", connection: "idle", error: null });

  const again = server.opened();
  store.subscribe(listener);
  const next = await again;
  expect(next.lastEventId).toBe("3");
  expect(server.streams).toHaveLength(2);
});

test("a connection that is lost is told as one that is opened again", async () => {
  const seen = [];
  const { server, store } = stored();
  const opened = server.opened();
  store.subscribe(() => seen.push(store.getSnapshot().connection));
  const stream = await opened;
  stream.status("EXECUTING");
  await until(() => expect(store.getSnapshot().status).toBe("EXECUTING"));
  const next = server.opened();
  stream.lose();
  await next;
  await until(() => expect(store.getSnapshot().connection).toBe("open"));
  expect(seen).toContain("reconnecting");
  expect(store.getSnapshot()).toMatchObject({ status: "EXECUTING", error: null });
});
