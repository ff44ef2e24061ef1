/**
 * A server behind a `fetch` function, whose streams a test writes in chunks.
 */

const encoder = new TextEncoder();

/** An opened stream, controlled by the test. */
export class Stream {
  constructor(url, init) {
    this.url = url;
    this.headers = new Headers(init.headers);
    this.signal = init.signal;
    this.cancelled = false;
    this.body = new ReadableStream({
      start: (controller) => {
        this.controller = controller;
      },
      cancel: () => {
        this.cancelled = true;
      },
    });
    // Like fetch: an abort fails the read.
    this.signal?.addEventListener("abort", () => this.lose(this.signal.reason));
  }

  get lastEventId() {
    return this.headers.get("last-event-id");
  }

  /** Write text, or bytes. */
  write(piece) {
    this.controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece);
  }

  /** Write an event as the server does. */
  event(type, data, id) {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.write(`${id === undefined ? "" : `id: ${id}\n`}event: ${type}\ndata: ${text}\n\n`);
  }

  status(status, more = {}, id = undefined) {
    this.event("status", { id: "job", status, taskId: "task", ...more }, id);
  }

  /** End it like a server that shuts down cleanly. */
  end() {
    this.controller.close();
  }

  /** Lose the connection. */
  lose(reason = new TypeError("network error")) {
    try {
      this.controller.error(reason);
    } catch {
      // It had ended.
    }
  }
}

/** Return a JSON answer. */
export function json(status, body, headers = {}) {
  return () => new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
}

/** Serves streams, except for answers queued by a test. */
export class Server {
  constructor() {
    /** The opened streams, in order. */
    this.streams = [];
    /** The requests, in order. */
    this.requests = [];
    this.answers = [];
    this.waiting = [];
    this.fetch = async (url, init = {}) => {
      init.signal?.throwIfAborted();
      this.requests.push({ url, ...init, headers: new Headers(init.headers) });
      const answer = this.answers.shift();
      if (answer) return answer();
      const stream = new Stream(url, init);
      this.streams.push(stream);
      this.waiting.shift()?.(stream);
      return new Response(stream.body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
    };
  }

  /** Answer the next request with the result or error of a function. */
  answer(...answers) {
    this.answers.push(...answers);
    return this;
  }

  /** Wait for the next stream. */
  opened() {
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

/** Fail like a fetch without a connection. */
export function unreachable() {
  throw new TypeError("fetch failed");
}
