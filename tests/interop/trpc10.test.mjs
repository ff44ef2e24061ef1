/** Version 10 of tRPC's client, with httpBatchLink and superjson. */

import { createRequire } from "node:module";

import { testProcedures } from "./procedures.mjs";
import { team, token, url } from "./system.mjs";

// Version 11 is installed too, so this one is in a separate folder.
const require = createRequire(new URL("trpc10/package.json", import.meta.url));
const { TRPCClientError, createTRPCProxyClient, httpBatchLink } = require("@trpc/client");
const { default: superjson } = await import(new URL("trpc10/node_modules/superjson/dist/index.js", import.meta.url));

function make({ token: shown = token, requests = [], team: ofTeam = false } = {}) {
  const key = ofTeam ? team : shown;
  return createTRPCProxyClient({
    transformer: superjson,
    links: [
      httpBatchLink({
        url: `${url}/trpc`,
        headers: () => (key ? { authorization: `Bearer ${key}` } : {}),
        fetch: (to, init) => {
          requests.push(String(to));
          return fetch(to, init);
        },
      }),
    ],
  });
}

testProcedures(make, TRPCClientError);
