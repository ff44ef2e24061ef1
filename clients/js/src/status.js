/**
 * A job's status as a store for any framework: subscribe, and get snapshots.
 *
 * @module
 */

import { FINAL, watchJob } from "./watch.js";

/** @typedef {import("./index.d.ts").JobSnapshot<any>} Snapshot */
/** @typedef {import("./index.d.ts").JobStatusOptions<any>} Options */

const LOGS = 200;

/** The snapshot of a job before the first answer. @type {Snapshot} */
export const IDLE = Object.freeze({
  status: null,
  output: null,
  error: null,
  taskId: null,
  completedOn: null,
  progress: null,
  logs: Object.freeze([]),
  connection: "idle",
});

/**
 * Return the store of a job's status. It follows the job while it has subscribers.
 *
 * @param {Options} options
 * @returns {import("./index.d.ts").JobStatusStore<any>}
 */
export function createJobStatus(options) {
  const { runId, maxLogs = LOGS } = options;
  let snapshot = IDLE;
  let { lastEventId } = options;
  /** @type {Set<() => void>} */
  const listeners = new Set();
  /** @type {AbortController | undefined} */
  let following;

  /** @param {Partial<Snapshot>} change */
  const put = (change) => {
    snapshot = { ...snapshot, ...change };
    for (const listener of [...listeners]) listener();
  };

  const follow = () => {
    if (!runId || following || snapshot.connection === "closed") return;
    const controller = new AbortController();
    following = controller;
    const { signal } = controller;
    watchJob(runId, {
      ...options,
      signal,
      lastEventId,
      onEvent: (event) => {
        lastEventId = event.lastEventId;
        options.onEvent?.(event);
      },
      onStatus: (status) => {
        put(told(status));
        options.onStatus?.(status);
      },
      onProgress: (progress) => {
        put({ progress });
        options.onProgress?.(progress);
      },
      onLog: (line) => {
        put({ logs: [...snapshot.logs, line].slice(-maxLogs) });
        options.onLog?.(line);
      },
      onConnection: (change) => {
        put({ connection: change.state === "waiting" ? "reconnecting" : change.state });
        options.onConnection?.(change);
      },
    }).then(
      () => signal.aborted || put({ connection: "closed" }),
      (error) => signal.aborted || put({ connection: "closed", error: error.message }),
    );
  };

  const rest = () => {
    following?.abort();
    following = undefined;
    if (runId && snapshot.connection !== "closed") snapshot = { ...snapshot, connection: "idle" };
  };

  return {
    getSnapshot: () => snapshot,
    subscribe: (listener) => {
      // A new function for each call, so that one listener may subscribe twice.
      const own = () => listener();
      listeners.add(own);
      follow();
      return () => {
        if (listeners.delete(own) && listeners.size === 0) rest();
      };
    },
  };
}

/**
 * Return the changes to the snapshot for a status.
 *
 * @param {import("./index.d.ts").JobStatus<any>} status
 * @returns {Partial<Snapshot>}
 */
function told({ status, taskId, output = null, completedOn = null }) {
  const ended = FINAL.has(status);
  return {
    status,
    taskId,
    output: ended ? output : null,
    completedOn,
    error: status === "FAILED" ? (output?.message ?? "The job failed") : null,
  };
}
