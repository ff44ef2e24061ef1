/** The REST API as used by a client. */

import { expect, test } from "vitest";

import { JobsError, createClient } from "zeke-jobs";

import { Server, json, unreachable } from "./server.js";

const TRIGGERED = { id: "job", status: "created", taskId: "my-task" };

function connected(...answers) {
  const server = new Server().answer(...answers);
  return { server, jobs: createClient({ baseUrl: "https://example.org", token: "mid_1", fetch: server.fetch }) };
}

test("a job is sent with its payload", async () => {
  const { server, jobs } = connected(json(200, TRIGGERED));
  expect(await jobs.trigger("my-task", { itemId: "1" })).toEqual(TRIGGERED);
  const [request] = server.requests;
  expect([request.method, request.url]).toEqual(["POST", "https://example.org/trigger"]);
  expect(JSON.parse(request.body)).toEqual({ taskId: "my-task", payload: { itemId: "1" } });
  expect(request.headers.get("content-type")).toBe("application/json");
  expect(request.headers.get("authorization")).toBe("Bearer mid_1");
  expect(request.headers.has("idempotency-key")).toBe(false);
});

test("a job without a payload has an empty one", async () => {
  const { server, jobs } = connected(json(200, TRIGGERED));
  await jobs.trigger("my-task");
  expect(JSON.parse(server.requests[0].body).payload).toEqual({});
});

test.each([["include"], ["omit"], [undefined]])("cookies go along as is asked: %s", async (credentials) => {
  const server = new Server().answer(json(200, TRIGGERED), json(200, TRIGGERED));
  const jobs = createClient({ baseUrl: "https://example.org", credentials, fetch: server.fetch });
  await jobs.trigger("my-task");
  await jobs.run("job");
  const stream = server.opened();
  jobs.watch("job");
  await stream;
  expect(server.requests.map((request) => request.credentials)).toEqual([credentials, credentials, credentials]);
});

test("an idempotency key goes along", async () => {
  const { server, jobs } = connected(json(200, TRIGGERED));
  await jobs.trigger("my-task", {}, { idempotencyKey: "k1" });
  expect(server.requests[0].headers.get("idempotency-key")).toBe("k1");
});

test.each([
  ["run", "GET", "/trigger/runs/a%2Fb"],
  ["cancel", "POST", "/trigger/runs/a%2Fb/cancel"],
  ["retry", "POST", "/trigger/runs/a%2Fb/retry"],
  ["resume", "POST", "/trigger/runs/a%2Fb/resume"],
])("%s asks for one job", async (verb, method, path) => {
  const { server, jobs } = connected(json(200, { id: "a/b", status: "QUEUED" }));
  expect(await jobs[verb]("a/b")).toEqual({ id: "a/b", status: "QUEUED" });
  const [request] = server.requests;
  expect([request.method, request.url]).toEqual([method, `https://example.org${path}`]);
  expect(request.body).toBeUndefined();
  expect(request.headers.has("content-type")).toBe(false);
});

test("jobs are listed, a page at a time", async () => {
  const page = { runs: [{ id: "job" }], nextCursor: "c+/=" };
  const { server, jobs } = connected(json(200, page), json(200, page));
  expect(await jobs.list()).toEqual(page);
  const { nextCursor: cursor } = page;
  const createdFrom = new Date(Date.UTC(2026, 0, 31));
  const [task, status] = ["a&b", ["FAILED", "CANCELLED"]];
  await jobs.list({ task, status, createdFrom, archived: true, limit: 5, cursor, text: undefined });
  expect(server.requests.map(({ method }) => method)).toEqual(["GET", "GET"]);
  const [all, some] = server.requests.map(({ url }) => new URL(url));
  expect([all.href, some.pathname]).toEqual(["https://example.org/trigger/runs", "/trigger/runs"]);
  expect([...some.searchParams]).toEqual([
    ["task", "a&b"],
    ["status", "FAILED"],
    ["status", "CANCELLED"],
    ["createdFrom", "2026-01-31T00:00:00.000Z"],
    ["archived", "true"],
    ["limit", "5"],
    ["cursor", "c+/="],
  ]);
});

test("a server that is not reached is the fetch's own error", async () => {
  const { jobs } = connected(unreachable);
  expect(await jobs.run("job").catch((error) => error)).toBeInstanceOf(TypeError);
});

test("an error has the status, the fields, the holder and when to ask again", async () => {
  const fields = [{ path: "payload.itemId", message: "no UUID" }];
  const { jobs } = connected(
    json(422, { error: "It does not fit", fields }),
    json(409, { error: "Taken", id: "other" }),
    json(429, { error: "Too many requests" }, { "retry-after": "30" }),
    () => new Response("<p>Bad gateway</p>", { status: 502 }),
  );
  const errors = [];
  for (let n = 0; n < 4; n += 1) errors.push(await jobs.trigger("my-task").catch((error) => error));
  expect(errors.every((error) => error instanceof JobsError)).toBe(true);
  expect(errors[0]).toMatchObject({ status: 422, message: "It does not fit", fields, transient: false });
  expect(errors[1]).toMatchObject({ status: 409, id: "other", fields: [], transient: false });
  expect(errors[2]).toMatchObject({ status: 429, retryAfter: 30_000, transient: true });
  expect(errors[3]).toMatchObject({ status: 502, message: "The server answered 502", transient: true });
});

test("a request may be ended", async () => {
  const { jobs } = connected();
  const reason = new Error("enough");
  expect(await jobs.run("job", { signal: AbortSignal.abort(reason) }).catch((error) => error)).toBe(reason);
});

test("a job is watched on the same server", async () => {
  const { server, jobs } = connected();
  const done = jobs.watch("job");
  const stream = await server.opened();
  expect(stream.headers.get("authorization")).toBe("Bearer mid_1");
  stream.status("COMPLETED", { output: 1 });
  stream.event("close", "complete");
  expect((await done).output).toBe(1);
});
