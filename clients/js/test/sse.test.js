/** Server-sent events by the HTML standard, in chunks of every size. */

import { describe, expect, test } from "vitest";

import { EventParser, readEvents } from "../src/sse.js";

/** Parse a text, and return type and data of each event. */
function parsed(text, size = text.length || 1) {
  const parser = new EventParser();
  const events = [];
  for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
  return events.map(({ type, data }) => [type, data]);
}

const SAMPLES = [
  ["an event without a name", "data: a\n\n", [["message", "a"]]],
  ["an event with a name", "event: status\ndata: a\n\n", [["status", "a"]]],
  ["an id before the name", "id: 7\nevent: status\ndata: a\n\n", [["status", "a"]]],
  ["a name that holds for one event", "event: x\ndata: a\n\ndata: b\n\n", [["x", "a"], ["message", "b"]]],
  ["data in several lines", "data: a\ndata:\ndata: b\n\n", [["message", "a\n\nb"]]],
  ["carriage returns", "data: a\rdata: b\r\rdata: c\r\r", [["message", "a\nb"], ["message", "c"]]],
  ["both line ends", "data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", [["message", "a\nb"], ["message", "c"]]],
  ["line ends of every kind", "data: a\rdata: b\ndata: c\r\n\ndata: d\n\r\n", [["message", "a\nb\nc"], ["message", "d"]]],
  ["one space after the colon, and no more", "data:a\n\ndata:  b\n\n", [["message", "a"], ["message", " b"]]],
  ["a field without a colon", "data\n\n", [["message", ""]]],
  ["an event that is empty", "data:\n\n", [["message", ""]]],
  ["comments", ": keep-alive\n\n:\ndata: a\n: b\n\n", [["message", "a"]]],
  ["a name without data", "event: x\n\ndata: a\n\n", [["message", "a"]]],
  ["unknown fields", "foo: 1\nDATA: no\ndata : no\ndata: a\n\n", [["message", "a"]]],
  ["colons in data", "data: a: b\n\n", [["message", "a: b"]]],
  ["an event that is not whole", "data: a\n\ndata: b\n", [["message", "a"]]],
  ["a byte order mark", "\uFEFFdata: a\n\n", [["message", "a"]]],
  ["a byte order mark that is none", "data: a\n\n\uFEFFdata: b\n\n", [["message", "a"]]],
  ["other separators of lines", "data: a\u2028b\u0085c\vd\n\n", [["message", "a\u2028b\u0085c\vd"]]],
  ["the wire of an old client", "event: status\ndata: {\"a\":1}\n\nevent: close\ndata: complete\n\n", [["status", '{"a":1}'], ["close", "complete"]]],
];

describe.each(SAMPLES)("%s", (_, text, events) => {
  test("is read", () => expect(parsed(text)).toEqual(events));
  test.each([1, 2, 3, 5])("is read in pieces of %i", (size) => expect(parsed(text, size)).toEqual(events));
});

test("an event is told as soon as its empty line is there, whatever may follow a carriage return", () => {
  const parser = new EventParser();
  expect(parser.push("data: a\r\r")).toHaveLength(1);
  expect(parser.push("\ndata: b\n")).toEqual([]);
  expect(parser.push("\n")).toMatchObject([{ data: "b" }]);
});

test("an id lasts until another one, and counts once its event is whole", () => {
  const parser = new EventParser("0");
  expect(parser.lastEventId).toBe("0");
  expect(parser.push("id: 1\ndata: a\n\ndata: b\n\n").map((event) => event.lastEventId)).toEqual(["1", "1"]);
  parser.push("id: 2\ndata: c\n");
  expect(parser.lastEventId).toBe("1");
  parser.push("\n");
  expect(parser.lastEventId).toBe("2");
});

test("an id comes without data too, may be empty, and has no NUL", () => {
  const parser = new EventParser();
  parser.push("id: 5\n\n");
  expect(parser.lastEventId).toBe("5");
  parser.push("id: a\0b\n\n");
  expect(parser.lastEventId).toBe("5");
  parser.push("id\n\n");
  expect(parser.lastEventId).toBe("");
});

test("only digits say when to try again", () => {
  const parser = new EventParser();
  for (const wrong of ["x", "1.5", "-1", "", "1e3", " 5"]) parser.push(`retry: ${wrong}\n`);
  expect(parser.retry).toBeUndefined();
  parser.push("retry: 2500\n");
  expect(parser.retry).toBe(2500);
});

test("characters may be cut anywhere in their bytes", async () => {
  const bytes = new TextEncoder().encode("\uFEFFdata: é€😀\n\n");
  for (const size of [1, 2, 3, 7]) {
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const events = [];
    for await (const event of readEvents(body, new EventParser())) events.push(event.data);
    expect(events).toEqual(["é€😀"]);
  }
});

test("who stops reading gives the body back", async () => {
  let cancelled = false;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\ndata: b\n\n")),
    cancel: () => {
      cancelled = true;
    },
  });
  for await (const event of readEvents(body, new EventParser())) {
    expect(event.data).toBe("a");
    break;
  }
  expect(cancelled).toBe(true);
});

test("each piece is a sign of life, comments too", async () => {
  let signs = 0;
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(": keep-alive\n\n"));
      controller.close();
    },
  });
  for await (const _ of readEvents(body, new EventParser(), () => (signs += 1))) expect.unreachable();
  expect(signs).toBe(1);
});
