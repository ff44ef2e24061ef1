/** The JavaScript client against the real server, on a network that loses connections. */

import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { test } from "node:test";

import { JobsError, createClient, createJobStatus, watchJob } from "zeke-jobs";

import { ITEM, NOBODY, admin, later, token, trigger, url } from "./system.mjs";

const jobs = createClient({ baseUrl: url, token });

/** A proxy to the server that can be cut; `requests` has the head of each connection's first chunk. */
async function network() {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  const requests = [];
  const server = createServer((here) => {
    const there = connect(Number(port), hostname);
    here.once("data", (bytes) => requests.push(bytes.toString()));
    for (const socket of [here, there]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    here.pipe(there).pipe(here);
    here.on("close", () => there.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    cut,
    close: () => {
      cut();
      server.close();
    },
  };
}

/** Return a function that waits until a list has an entry, and one that adds to the list. */
function told() {
  const list = [];
  let waiting = [];
  return {
    list,
    add: (...entry) => {
      list.push(entry);
      waiting = waiting.filter(({ wanted, found }) => !(wanted(entry) && (found.resolve(entry), true)));
    },
    until: (wanted) => {
      const found = later();
      const already = list.find(wanted);
      if (already) found.resolve(already);
      else waiting.push({ wanted, found });
      return found.promise;
    },
  };
}

function callbacks(heard) {
  return {
    onStatus: ({ status }) => heard.add("status", status),
    onProgress: ({ value, message, attempt, at }) => heard.add("progress", value, message, attempt, typeof at),
    onLog: ({ level, message, attempt, at, fields }) => heard.add("log", level, message, attempt, typeof at, fields),
    onConnection: ({ state }) => heard.add("connection", state),
  };
}

const heardOf = (heard) => heard.list.filter(([kind]) => kind !== "connection");

test("a job is sent, looked at and followed to its end", async () => {
  const { id, status } = await jobs.trigger("my-task", { itemId: ITEM });
  assert.equal(status, "created");
  const end = await jobs.watch(id);
  assert.deepEqual([end.status, end.output, end.taskId], ["COMPLETED", { success: true, itemId: ITEM }, "my-task"]);
  assert.ok(Date.parse(end.completedOn));
  const run = await jobs.run(id);
  assert.deepEqual([run.status, run.output], ["COMPLETED", end.output]);
});

test("the same idempotency key is the same job", async () => {
  const request = { idempotencyKey: "once-and-for-all" };
  const [one, other] = [await jobs.trigger("echo", 1, request), await jobs.trigger("echo", 1, request)];
  assert.equal(one.id, other.id);
});

test("progress and log lines are told as they come", async () => {
  const gate = "told";
  const heard = told();
  const { id } = await jobs.trigger("gated", { gate });
  const done = jobs.watch(id, callbacks(heard));
  await trigger("open-gate", { gate });
  await heard.until(([kind]) => kind === "progress");
  await trigger("open-gate", { gate });
  assert.deepEqual((await done).output, { gate });
  assert.deepEqual(
    heardOf(heard).filter(([kind]) => kind !== "status"),
    [
      ["log", "info", "half way", 1, "string", { gate }],
      ["progress", 0.5, "half", 1, "string"],
      ["log", "info", "nearly there", 1, "string", {}],
      ["progress", 1, null, 1, "string"],
    ],
  );
});

test("a lost stream is resumed: nothing is missing, and nothing is told twice", async (t) => {
  const way = await network();
  t.after(way.close);
  const gate = "lost";
  const heard = told();
  const { id } = await jobs.trigger("gated", { gate });
  const options = { baseUrl: way.url, token, ...callbacks(heard) };
  const done = watchJob(id, options);
  await trigger("open-gate", { gate });
  await heard.until(([kind]) => kind === "progress");
  way.cut();
  await heard.until(([kind, what]) => kind === "connection" && what === "waiting");
  await trigger("open-gate", { gate }); // it ends while nobody is connected, or soon after
  assert.equal((await done).status, "COMPLETED");
  const said = heardOf(heard).map((entry) => entry.slice(0, 3));
  assert.deepEqual(
    said.filter(([kind]) => kind !== "status"),
    [
      ["log", "info", "half way"],
      ["progress", 0.5, "half"],
      ["log", "info", "nearly there"],
      ["progress", 1, null],
    ],
  );
  assert.deepEqual(said.filter(([, what]) => what === "COMPLETED").length, 1);
  assert.match(way.requests[1], /^last-event-id: .+$/im);
});

test("a stream of a job that ended meanwhile is resumed at its end", async () => {
  const { id } = await jobs.trigger("my-task", { itemId: ITEM });
  let lastEventId = "";
  await jobs.watch(id, { onEvent: (event) => (lastEventId = event.lastEventId) });
  assert.notEqual(lastEventId, "");
  assert.equal((await jobs.watch(id, { lastEventId })).status, "COMPLETED");
  assert.equal((await jobs.watch(id, { lastEventId: "nonsense" })).status, "COMPLETED");
});

test("a job that failed says why, and may be run again by those who may", async () => {
  const { id } = await jobs.trigger("broken");
  const end = await jobs.watch(id);
  assert.deepEqual([end.status, end.output.message], ["FAILED", "it is broken"]);
  await assert.rejects(jobs.retry(id), (error) => error instanceof JobsError && error.status === 403);
  const administrator = createClient({ baseUrl: url, token: admin });
  assert.equal((await administrator.retry(id)).id, id);
  assert.equal((await jobs.watch(id)).status, "FAILED");
  assert.equal((await jobs.run(id)).retryCount, 1);
});

test("a job that is cancelled is told so", async () => {
  const heard = told();
  const { id } = await jobs.trigger("gated", { gate: "never" });
  const done = jobs.watch(id, callbacks(heard));
  await heard.until(([, what]) => what === "EXECUTING");
  const administrator = createClient({ baseUrl: url, token: admin });
  assert.equal((await administrator.cancel(id)).status, "CANCELLED");
  assert.equal((await done).status, "CANCELLED");
  assert.match((await administrator.resume(id)).status, /^(QUEUED|EXECUTING)$/); // a worker may be quicker
  assert.equal((await administrator.cancel(id)).status, "CANCELLED");
});

test("jobs are listed a page at a time, newest first", async () => {
  const sent = [];
  for (const n of [1, 2, 3]) sent.unshift((await jobs.trigger("echo", `listed ${n}`)).id);
  for (const id of sent) await jobs.watch(id);
  const filter = { task: ["echo", "broken"], status: "COMPLETED", text: "listed", createdFrom: new Date(0), limit: 2 };
  const first = await jobs.list(filter);
  const second = await jobs.list({ ...filter, cursor: first.nextCursor });
  assert.deepEqual([...first.runs, ...second.runs].map(({ id }) => id), sent);
  assert.equal(second.nextCursor, null);
});

test("what is wrong is said once, and not tried again", async () => {
  const refused = async (promise) => promise.then(assert.fail, (error) => [error.name, error.status, error.message]);
  assert.deepEqual(await refused(jobs.watch(NOBODY)), ["JobsError", 404, "Job not found"]);
  assert.deepEqual(await refused(jobs.watch("123")), ["JobsError", 404, "Job not found"]);
  assert.deepEqual(await refused(watchJob(NOBODY, { baseUrl: url })), [
    "JobsError",
    401,
    "Authorization header required",
  ]);
  assert.deepEqual(await refused(jobs.run(NOBODY)), ["JobsError", 404, "Job run not found"]);
  const [name, status] = await refused(jobs.trigger("nobodys"));
  assert.deepEqual([name, status], ["JobsError", 404]);
  const unfit = await jobs.trigger("my-task", { itemId: "123" }).catch((error) => error);
  assert.deepEqual([unfit.status, unfit.fields[0].path], [422, "payload.itemId"]);
});

test("the store has status, output and error", async () => {
  const { id } = await jobs.trigger("my-task", { itemId: ITEM });
  const store = createJobStatus({ runId: id, baseUrl: url, token });
  const closed = later();
  const leave = store.subscribe(() => store.getSnapshot().connection === "closed" && closed.resolve());
  await closed.promise;
  leave();
  const { status, output, error } = store.getSnapshot();
  assert.deepEqual({ status, output, error }, {
    status: "COMPLETED",
    output: { success: true, itemId: ITEM },
    error: null,
  });
});
