// @vitest-environment happy-dom
/** The hook, in a page. */

import { act, cleanup, render, screen } from "@testing-library/react";
import { StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, expect, test, vi } from "vitest";

import { useJobStatus } from "zeke-jobs/react";

import { Server, json } from "./server.js";

afterEach(cleanup);

function Job(props) {
  const { status, output, error, progress, logs } = useJobStatus({ firstDelay: 1, ...props });
  if (error) return <div>Error: {error}</div>;
  if (status === "COMPLETED") return <div>Done! Result: {JSON.stringify(output)}</div>;
  return (
    <div>
      Status: {status} {progress?.value} {logs.length}
    </div>
  );
}

const shown = (text) => vi.waitFor(() => screen.getByText(text, { exact: false }), { interval: 1 });

/** Render, and return the stream that is opened for it. */
async function opened(server, element, view = { rerender: render }) {
  const stream = server.opened();
  let made;
  await act(async () => {
    made = view.rerender(element);
  });
  return { stream: await stream, view: made ?? view };
}

test("it shows a job from its first status to its output", async () => {
  const server = new Server();
  const { stream, view } = await opened(server, <Job runId="job" fetch={server.fetch} />);
  expect(view.container.textContent).toBe("Status:   0");
  await act(async () => stream.status("EXECUTING"));
  await shown("Status: EXECUTING");
  await act(async () => stream.event("progress", { attempt: 1, value: 0.5, message: null }));
  await act(async () => stream.event("log", { attempt: 1, level: "info", message: "x" }));
  await shown("EXECUTING 0.5 1");
  await act(async () => {
    stream.status("COMPLETED", { output: { n: 1 } });
    stream.event("close", "complete");
  });
  await shown('Done! Result: {"n":1}');
});

test("it shows why a job failed, and why one can't be followed", async () => {
  const server = new Server();
  const { stream, view } = await opened(server, <Job runId="job" fetch={server.fetch} />);
  await act(async () => stream.status("FAILED", { output: { type: "E", message: "it broke" } }));
  await shown("Error: it broke");
  server.answer(json(404, { error: "Job not found" }));
  await act(async () => view.rerender(<Job runId="other" fetch={server.fetch} />));
  await shown("Error: Job not found");
});

test("without a job it waits for one", async () => {
  const server = new Server();
  const view = render(<Job fetch={server.fetch} />);
  expect(server.requests).toEqual([]);
  const { stream } = await opened(server, <Job runId="job" fetch={server.fetch} />, view);
  expect(stream.url).toBe("/jobs/stream/job");
});

test("another job takes the place of the first, whose stream ends", async () => {
  const server = new Server();
  const first = await opened(server, <Job runId="one" fetch={server.fetch} />);
  await act(async () => first.stream.status("EXECUTING"));
  await shown("EXECUTING");
  const second = await opened(server, <Job runId="two" fetch={server.fetch} />, first.view);
  expect(first.stream.signal.aborted).toBe(true);
  expect(second.view.container.textContent).toBe("Status:   0");
  expect(second.stream.url).toBe("/jobs/stream/two");
});

test("nothing stays behind when it goes", async () => {
  const server = new Server();
  const { stream, view } = await opened(server, <Job runId="job" fetch={server.fetch} />);
  view.unmount();
  expect(stream.signal.aborted).toBe(true);
});

test("a new render opens no new stream, and its callbacks and its token count", async () => {
  const server = new Server();
  const told = [];
  const job = (name) => (
    <Job runId="job" fetch={server.fetch} token={name} onStatus={({ status }) => told.push([name, status])} />
  );
  const { stream, view } = await opened(server, job("a"));
  await act(async () => view.rerender(job("b")));
  expect(server.streams).toHaveLength(1);
  await act(async () => stream.status("QUEUED"));
  await shown("QUEUED");
  expect(told).toEqual([["b", "QUEUED"]]);
  const next = server.opened();
  await act(async () => stream.lose());
  expect((await next).headers.get("authorization")).toBe("Bearer b");
});

test("in strict mode one stream is left", async () => {
  const server = new Server();
  render(
    <StrictMode>
      <Job runId="job" fetch={server.fetch} />
    </StrictMode>,
  );
  await vi.waitFor(() => expect(server.streams.length).toBeGreaterThan(0));
  await act(async () => server.streams.at(-1).status("EXECUTING"));
  await shown("Status: EXECUTING");
  expect(server.streams.filter((stream) => !stream.signal.aborted)).toHaveLength(1);
});

test("on a server it shows that nothing is known yet", () => {
  expect(renderToString(<Job runId="job" />)).toContain("Status:");
});
