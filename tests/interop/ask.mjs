// How a client of docs/protocol.md sends: the headings "HTTP" and "The client", with fetch. It
// posts JSON; an upload or a request without a body is sealed alike and carried in another place.

import { check, concat, newKeyPair, toBase64, utf8 } from "./crypto.mjs";
import {
  FIELDS, MIB, OPAQUE, OPAQUE_TYPE, REQUEST_PREFIX, VERSION, acceptDocument, collect, newOpener,
  openBody, outerBody, parsed, sealRequest, targetOf,
} from "./open.mjs";

/** A connection that is cut is a body that has ended: the opener knows whether it may. */
async function* chunksOf(response) {
  try {
    for await (const chunk of response.body ?? []) yield chunk;
  } catch {
    // It was cut.
  }
}

/**
 * POST the JSON text `body` to `url`. A client keeps to one `profile`, "output" or "sealed".
 *
 * Returns `payloads`, with the `status` and `contentType` that the application gave them.
 * `isAuthenticated` is false of an unsealed error, which anybody may have written.
 */
export async function ask(client, url, body, options) {
  const { profile, suite = 1, container = FIELDS, authorization = "" } = options;
  const question = { client, url: new URL(url), body, suite, container, authorization };
  if (profile === "output") return receive(question, await sendClear(question));
  const hasPin = profile === "sealed" && client.pins !== null;
  check(hasPin, "UsageError", "profile sealed is for clients with a pin");
  const isFresh = client.document && client.document.retiresAt > BigInt(Date.now() + 5000);
  const document = isFresh ? client.document : await fetchDocument(question);
  const answer = await receive(question, await sendSealed(question, document));
  const newer = await documentOfRefusal(client, answer);
  if (!newer || newer.statement.epoch <= document.statement.epoch) return answer;
  return receive(question, await sendSealed(question, newer)); // Once, all of it fresh.
}

function send({ url, container, authorization }, body, headers = {}) {
  const all = { "content-type": "application/json", "accept-encoding": "identity", ...headers };
  if (container === OPAQUE) all.accept = OPAQUE_TYPE;
  if (authorization) all.authorization = authorization;
  return fetch(url, { method: "POST", redirect: "manual", headers: all, body });
}

async function sendClear(question) {
  const keyPair = await newKeyPair();
  const key = toBase64(keyPair.publicKey);
  // As a member too, since some routers drop headers.
  const member = `{"sg_client_public_key":"${key}"`;
  const comma = /^\s*\{\s*\}/.test(question.body) ? "" : ",";
  const body = question.body.replace(/^\s*\{/, member + comma);
  const response = await send(question, body, { "x-client-public-key": key });
  return { keyPair, secrets: null, response };
}

async function sendSealed(question, document) {
  const { client, url, body, suite, container } = question;
  const keyPair = await newKeyPair();
  const [method, target, contentType] = ["POST", targetOf(url), "application/json"];
  const given = { method, target, contentType, authorization: "", container };
  const request = { ...given, owner: client.owner, body: utf8(body) };
  const { text, secrets } = await sealRequest(document, suite, request, keyPair, Date.now());
  return { keyPair, secrets, response: await send(question, outerBody(target, body, text)) };
}

async function receive({ client, container }, { keyPair, secrets, response }) {
  const isRedirect = response.type === "opaqueredirect" || Math.trunc(response.status / 100) === 3;
  check(!isRedirect, "RedirectRefusedError", "a protected request never follows a redirect");
  const opener = newOpener({ client, keyPair, nowMs: Date.now(), container, secrets });
  const outerType = response.headers.get("content-type") ?? "";
  const rest = openBody(opener, outerType, chunksOf(response), response.status >= 400);
  const { value: first } = await rest.next(); // Frame 0, or all of an unsealed error.
  const payloads = (async function* () {
    yield first;
    yield* rest;
  })();
  const status = opener.status ?? response.status;
  const contentType = opener.contentType ?? outerType;
  return { status, contentType, isAuthenticated: opener.status !== null, first, payloads };
}

/** The key document by GET, else by a sealed message that names no epoch. */
async function fetchDocument(question) {
  const { client, url, body, suite } = question;
  const prefix = url.pathname.slice(0, Math.max(`${url.pathname}/`.indexOf("/v1/"), 0));
  const wellKnown = new URL(`${prefix}/.well-known/output-protection`, url);
  const shown = await fetch(wellKnown, { redirect: "manual" });
  const text = parsed(new TextDecoder().decode(await collect(chunksOf(shown), MIB)))?.document;
  if (shown.status === 200 && typeof text === "string") {
    return acceptDocument(client, text, Date.now());
  }
  const { publicKey } = await newKeyPair();
  const message = concat([VERSION, suite], new Uint8Array(8), publicKey);
  const asking = outerBody(targetOf(url), body, REQUEST_PREFIX + toBase64(message));
  const refusal = await send(question, asking);
  const first = await collect(chunksOf(refusal), MIB);
  const document = await documentOfRefusal(client, { status: refusal.status, first });
  check(document, "KeyDocumentError", "the server shows no key document");
  return document;
}

/** The document in an unsealed 422; null if there is none that is acceptable. */
async function documentOfRefusal(client, { status, isAuthenticated, first }) {
  if (status !== 422 || isAuthenticated) return null;
  const { code, message } = parsed(new TextDecoder().decode(first))?.error ?? {};
  if (code !== "key_unknown" || typeof message !== "string") return null;
  return acceptDocument(client, message.split(" ").at(-1), Date.now()).catch(() => null);
}
