/**
 * Follows a job live until its end, reconnecting after lost connections.
 *
 * `EventSource` cannot send an Authorization header, so this reads the stream of a `fetch`.
 *
 * @module
 */

import { JobsError, errorOf } from "./errors.js";
import { ask, headersOf, runPath, urlOf } from "./http.js";
import { EventParser, readEvents } from "./sse.js";

/** @typedef {import("./index.d.ts").ServerEvent} ServerEvent */
/**
 * @template [Output=unknown]
 * @typedef {import("./index.d.ts").WatchOptions<Output>} WatchOptions
 */
/**
 * @template [Output=unknown]
 * @typedef {import("./index.d.ts").JobStatus<Output>} JobStatus
 */

/** The final statuses. @type {ReadonlySet<string>} */
export const FINAL = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

const FIRST_DELAY = 1000;
const MOST_DELAY = 30_000;
const IDLE = 45_000;

/**
 * Follow a job until it ends.
 *
 * @template [Output=unknown]
 * @param {string} runId
 * @param {WatchOptions<Output>} [options]
 * @returns {Promise<JobStatus<Output>>} the ended job
 */
export async function watchJob(runId, options = {}) {
  /** @type {JobStatus<Output> | undefined} */
  let last;
  let seen = "";
  for await (const event of events(runId, options)) {
    options.onEvent?.(event);
    if (event.type === "status" && event.data !== seen) {
      seen = event.data; // a connection begins with the status, which is no news after the first one
      const status = read(event);
      if (!status.outputFollows) {
        last = /** @type {JobStatus<Output>} */ (status);
        options.onStatus?.(last);
      }
    } else if (event.type === "progress") options.onProgress?.(read(event));
    else if (event.type === "log") options.onLog?.(read(event));
    else if (event.type === "error") throw new JobsError(read(event).error ?? "The stream failed", 404);
    else if (event.type === "close") break;
    options.signal?.throwIfAborted();
  }
  if (last && FINAL.has(last.status)) return last;
  // It had ended before the event after which this stream continued.
  const { id, status, taskId, output, completedOn } = await ask(options, "GET", runPath(runId));
  last = { id, status, taskId, output, completedOn };
  options.onStatus?.(last);
  return last;
}

/**
 * Yield the events of a job over successive connections, until the reader stops.
 *
 * @param {string} runId
 * @param {WatchOptions<any>} options
 * @returns {AsyncGenerator<ServerEvent, void, void>}
 */
async function* events(runId, options) {
  const { signal, attempts = Infinity, onConnection = () => {} } = options;
  let { lastEventId = "" } = options;
  let delay = options.firstDelay ?? FIRST_DELAY;
  for (let failures = 0; ; ) {
    signal?.throwIfAborted();
    onConnection({ state: "connecting" });
    const parser = new EventParser(lastEventId);
    const headers = await headersOf(options, {
      accept: "text/event-stream",
      ...(lastEventId && { "last-event-id": lastEventId }),
    });
    signal?.throwIfAborted(); // while the token was fetched
    /** @type {unknown} */
    let error;
    try {
      for await (const event of connection(runId, options, headers, parser)) {
        failures = 0;
        yield event;
        if (event.type === "timeout") break;
      }
    } catch (raised) {
      signal?.throwIfAborted();
      if (raised instanceof JobsError && !raised.transient) throw raised;
      error = raised;
    }
    lastEventId = parser.lastEventId;
    delay = parser.retry ?? delay;
    failures += 1;
    if (failures > attempts) throw error ?? new JobsError("The stream ended before the job did", 0);
    const asked = (error instanceof JobsError && error.retryAfter) || 0;
    const wait = Math.max(asked, backOff(delay, failures - 1, options.mostDelay));
    onConnection({ state: "waiting", delay: wait, error });
    await pause(wait, signal);
  }
}

/**
 * Yield the events of one connection.
 *
 * @param {string} runId
 * @param {WatchOptions<any>} options
 * @param {Headers} headers
 * @param {EventParser} parser
 * @returns {AsyncGenerator<ServerEvent, void, void>}
 */
async function* connection(runId, options, headers, parser) {
  const { fetch: send = globalThis.fetch, signal, credentials, idleTimeout = IDLE, onConnection = () => {} } = options;
  const controller = new AbortController();
  const stop = () => controller.abort(signal?.reason);
  signal?.addEventListener("abort", stop, { once: true });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const alive = () => {
    clearTimeout(timer);
    if (idleTimeout > 0 && idleTimeout < Infinity) {
      const silent = () => controller.abort(new Error(`Nothing arrived for ${idleTimeout} ms`));
      timer = setTimeout(silent, idleTimeout);
    }
  };
  try {
    alive();
    const url = urlOf(options, `/jobs/stream/${encodeURIComponent(runId)}`);
    const response = await send(url, { headers, credentials, cache: "no-store", signal: controller.signal });
    if (!response.ok) throw await errorOf(response);
    if (response.status === 204 && parser.lastEventId) {
      // The last event was the end of a stream.
      yield { type: "close", data: "complete", lastEventId: parser.lastEventId };
      return;
    }
    const type = response.headers.get("content-type") ?? "";
    if (!response.body || !/^text\/event-stream\s*(;|$)/i.test(type)) {
      await response.body?.cancel();
      throw new JobsError(`${url} must answer with an event stream, got ${type || "no type"}; check baseUrl`, 0);
    }
    onConnection({ state: "open" });
    yield* readEvents(response.body, parser, alive);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    controller.abort();
  }
}

/**
 * @param {ServerEvent} event
 * @returns {any}
 */
function read(event) {
  try {
    return JSON.parse(event.data);
  } catch (cause) {
    const error = new JobsError(`An event of type ${event.type} can't be read: it is no JSON`, 0);
    error.cause = cause;
    throw error;
  }
}

/**
 * Return the wait: doubled after each failure, with jitter between clients.
 *
 * @param {number} first
 * @param {number} failures
 * @param {number} [most]
 */
function backOff(first, failures, most = MOST_DELAY) {
  return Math.min(Math.max(most, first), first * 2 ** Math.min(failures, 16)) * (0.5 + Math.random() / 2);
}

/**
 * Wait, or until the browser is online again.
 *
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const over = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", over);
      signal?.removeEventListener("abort", over);
      if (signal?.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(over, milliseconds);
    globalThis.addEventListener?.("online", over);
    signal?.addEventListener("abort", over);
    if (signal?.aborted) over();
  });
}
