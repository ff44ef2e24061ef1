/** The declarations are those of the modules, and say what a caller needs. Compiled, never run. */

import { createClient, watchJob } from "zeke-jobs";
import type * as declared from "zeke-jobs";
import { useJobStatus } from "zeke-jobs/react";
import type * as declaredReact from "zeke-jobs/react";

import * as client from "../src/client.js";
import * as errors from "../src/errors.js";
import * as react from "../src/react.js";
import * as sse from "../src/sse.js";
import * as status from "../src/status.js";
import * as watch from "../src/watch.js";

export const whole: typeof declared = { ...client, ...errors, ...sse, ...status, ...watch };
export const wholeReact: typeof declaredReact = react;

export async function asUsed(token: () => Promise<string>): Promise<number | undefined> {
  const jobs = createClient({ baseUrl: new URL("https://example.org"), token });
  const { id } = await jobs.trigger("my-task", { itemId: "1" }, { idempotencyKey: "k" });
  const { runs, nextCursor } = await jobs.list<{ count: number }>({ status: ["FAILED"], createdFrom: new Date() });
  await jobs.list({ cursor: nextCursor });
  // @ts-expect-error - there is no such filter
  await jobs.list({ queue: runs[0]?.taskId });
  const ended = await watchJob<{ count: number }>(id, { onLog: (line) => line.message.length });
  // @ts-expect-error - there is no such status
  if (ended.status === "DONE") return undefined;
  const { output, error } = useJobStatus<{ count: number }>({ runId: null });
  // @ts-expect-error - it may be null
  error.length;
  return output?.count ?? ended.output?.count;
}
