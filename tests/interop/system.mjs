/** The tested system, as described by its driver. */

export const url = required("ZEKE_URL");
export const token = required("ZEKE_TOKEN");
export const reader = required("ZEKE_READER");
export const admin = required("ZEKE_ADMIN");
export const team = required("ZEKE_TEAM");
export const teamId = required("ZEKE_TEAM_ID");

export const ITEM = "123e4567-e89b-12d3-a456-426614174000";
export const NOBODY = "00000000-0000-4000-8000-000000000000";

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run python -m tests.interop`);
  return value;
}

/** Send a job, and return its id. */
export async function trigger(taskId, payload) {
  const response = await fetch(`${url}/trigger`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ taskId, payload }),
  });
  const body = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(body));
  return body.id;
}

/** Return a job once it has ended. */
export async function ended(id) {
  for (;;) {
    const response = await fetch(`${url}/trigger/runs/${id}`, { headers: { authorization: `Bearer ${token}` } });
    const run = await response.json();
    if (["COMPLETED", "FAILED", "CANCELLED"].includes(run.status)) return run;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A promise with its resolvers. */
export function later() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
