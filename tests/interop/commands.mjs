// The tests' command line, for Node.
//
//   node open.mjs vectors DIR       run every vector, print what came of them as JSON
//   node open.mjs chat URL --profile sealed|output --identity SHA256:… [--suite 1|2]
//                 [--container fields|opaque] [--authorization VALUE] --body FILE
//   node open.mjs seal|open|respond|receive         one call; JSON in and out, bytes as hex

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { ask } from "./ask.mjs";
import { ProtocolError } from "./crypto.mjs";
import {
  FIELDS, OPAQUE, acceptDocument, newClient, newOpener, openBody, parseStatement, sealRequest,
} from "./open.mjs";
import {
  fromHex, keyPairOf, openSealedRequest, responseKeyOf, sealFrames, toHex,
} from "./server.mjs";
import { runVectors, secretsOf } from "./vectors.mjs";

export async function main([command, ...rest]) {
  try {
    if (command === "vectors") print(await runVectors(rest[0]));
    else if (command === "chat") await chat(rest);
    else if (command in CALLS) print(await CALLS[command](JSON.parse(readFileSync(0, "utf8"))));
    else throw new Error(`there is no command ${command}`);
  } catch (error) {
    console.error(error instanceof ProtocolError ? `${error.name}: ${error.message}` : error);
    process.exitCode = 1;
  }
}

const print = (value) => console.log(JSON.stringify(value, null, 1));

/** Opened bytes go to stdout as they come, what is known of the answer to stderr. */
async function chat(words) {
  const names = ["profile", "identity", "suite", "container", "authorization", "body"];
  const options = Object.fromEntries(names.map((name) => [name, { type: "string" }]));
  const { values, positionals } = parseArgs({ args: words, options, allowPositionals: true });
  const client = newClient(values.identity?.split(",") ?? null);
  const answer = await ask(client, positionals[0], readFileSync(values.body, "utf8"), {
    profile: values.profile,
    suite: Number(values.suite ?? 1),
    container: values.container === "opaque" ? OPAQUE : FIELDS,
    authorization: values.authorization,
  });
  const { status, contentType, isAuthenticated, payloads } = answer;
  console.error(JSON.stringify({ status, contentType, isAuthenticated }));
  for await (const payload of payloads) process.stdout.write(payload);
}

const CALLS = {
  /** Seal a request as a client does. */
  async seal({ pins, document, now_ms, suite, client_private_key, ...given }) {
    const accepted = await acceptDocument(newClient(pins), document, now_ms);
    const request = { ...given, owner: fromHex(given.owner), body: fromHex(given.body) };
    request.contentType = given.content_type;
    const keyPair = await keyPairOf(fromHex(client_private_key));
    const { text, secrets } = await sealRequest(accepted, suite, request, keyPair, now_ms);
    const sealedTo = {
      suite,
      digest: toHex(secrets.digest),
      response_secret: toHex(secrets.responseSecret),
      request_hash: toHex(secrets.requestHash),
    };
    return { text, sealed_to: sealedTo };
  },

  /** Open a response as a client does. */
  async open({ pins, now_ms, client_private_key, container, sealed_to, content_type, chunks }) {
    const opener = newOpener({
      client: newClient(pins),
      keyPair: await keyPairOf(fromHex(client_private_key)),
      nowMs: now_ms,
      container,
      secrets: sealed_to && secretsOf(sealed_to),
    });
    const payloads = [];
    for await (const payload of openBody(opener, content_type, chunks.map(fromHex))) {
      payloads.push(toHex(payload));
    }
    return { payloads, status: opener.status, content_type: opener.contentType };
  },

  /** Seal a response as a server does. */
  async respond({ payloads, sealed_to, ...given }) {
    const response = {
      statement: fromHex(given.statement),
      keyPair: await responseKeyOf(fromHex(given.epoch_secret)),
      clientPublicKey: fromHex(given.client_public_key),
      nonce: fromHex(given.nonce),
      container: given.container,
      status: given.status,
      contentType: given.content_type,
      secrets: sealed_to && secretsOf(sealed_to),
      padding: given.padding,
    };
    return { frames: (await sealFrames(response, payloads.map(fromHex))).map(toHex) };
  },

  /** Open a sealed request as a server does. */
  async receive({ text, epoch_secret, statement, now_ms }) {
    const parsed = await parseStatement(fromHex(statement));
    const epoch = { secret: fromHex(epoch_secret), statement: parsed, retiresAt: Infinity };
    const opened = await openSealedRequest({ epochs: [epoch] }, text, now_ms);
    return {
      client_public_key: toHex(opened.clientPublicKey),
      sealed_to: {
        suite: opened.suite,
        digest: toHex(opened.digest),
        response_secret: toHex(opened.responseSecret),
        request_hash: toHex(opened.requestHash),
      },
      owner: toHex(opened.owner),
      time_ms: Number(opened.time),
      container: opened.container,
      method: opened.method,
      target: opened.target,
      content_type: opened.contentType,
      authorization: opened.authorization,
      body: toHex(opened.body),
    };
  },
};
