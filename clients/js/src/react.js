/**
 * A job's status in React.
 *
 * @module
 */

import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";

import { IDLE, createJobStatus } from "./status.js";

/** @typedef {import("./index.d.ts").JobStatusOptions<any>} Options */

/**
 * Follow a job while the component is mounted; do nothing without a `runId`.
 *
 * @param {Options} options
 * @returns {import("./index.d.ts").JobSnapshot<any>}
 */
export function useJobStatus(options) {
  const { runId, baseUrl } = options;
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const store = useMemo(() => createJobStatus(lasting(options, latest)), [runId, baseUrl]);
  return useSyncExternalStore(store.subscribe, store.getSnapshot, () => IDLE);
}

/**
 * Return options that outlast a render: callbacks and token are those of the latest render.
 *
 * @param {Options} options
 * @param {{ current: Options }} latest
 * @returns {Options}
 */
function lasting(options, latest) {
  return {
    ...options,
    token: () => {
      const { token } = latest.current;
      return typeof token === "function" ? token() : token;
    },
    onEvent: (event) => latest.current.onEvent?.(event),
    onStatus: (status) => latest.current.onStatus?.(status),
    onProgress: (progress) => latest.current.onProgress?.(progress),
    onLog: (line) => latest.current.onLog?.(line),
    onConnection: (change) => latest.current.onConnection?.(change),
  };
}
