/**
 * Parses server-sent events by the HTML standard, from chunks of any size.
 *
 * @module
 */

/** @typedef {import("./index.d.ts").ServerEvent} ServerEvent */

/** Parses the stream of one connection; the next connection needs another parser, with this one's `lastEventId`. */
export class EventParser {
  #rest = "";
  #afterCarriageReturn = false;
  #started = false;
  #type = "";
  /** @type {string[]} */
  #data = [];
  #id;

  /** The id that the next connection sends as `Last-Event-ID`: that of the last complete event. */
  lastEventId;

  /** Milliseconds before the next connection, if the server sent them. @type {number | undefined} */
  retry = undefined;

  /** @param {string} [lastEventId] the id sent when the connection was opened */
  constructor(lastEventId = "") {
    this.lastEventId = lastEventId;
    this.#id = lastEventId;
  }

  /**
   * Parse the next chunk, and return the events that it completes.
   *
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  push(text) {
    let more = text;
    if (!this.#started && more !== "") {
      this.#started = true;
      if (more.startsWith("\uFEFF")) more = more.slice(1);
    }
    // A line ends at its carriage return, whether or not a line feed follows in the next chunk.
    if (this.#afterCarriageReturn && more !== "") {
      this.#afterCarriageReturn = false;
      if (more.startsWith("\n")) more = more.slice(1);
    }
    /** @type {ServerEvent[]} */
    const events = [];
    const ends = /\r\n|\r|\n/g;
    let start = 0;
    for (let end = ends.exec(more); end !== null; end = ends.exec(more)) {
      const event = this.#line(this.#rest + more.slice(start, end.index));
      if (event) events.push(event);
      this.#rest = "";
      start = ends.lastIndex;
      this.#afterCarriageReturn = end[0] === "\r" && start === more.length;
    }
    this.#rest += more.slice(start);
    return events;
  }

  /**
   * @param {string} line
   * @returns {ServerEvent | undefined}
   */
  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.#type = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
    return undefined;
  }

  /** @returns {ServerEvent | undefined} */
  #dispatch() {
    this.lastEventId = this.#id;
    const event = { type: this.#type || "message", data: this.#data.join("\n"), lastEventId: this.lastEventId };
    const empty = this.#data.length === 0;
    this.#type = "";
    this.#data = [];
    return empty ? undefined : event;
  }
}

/**
 * Read a response's body as events, until it ends.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {EventParser} parser
 * @param {() => void} [onBytes] called for each chunk, also for keep-alive comments
 * @returns {AsyncGenerator<ServerEvent, void, void>}
 */
export async function* readEvents(body, parser, onBytes = () => {}) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // what is not whole by then never will be
      onBytes();
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
