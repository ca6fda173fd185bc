// Runs tests/vectors/*.json (their README.md says what is in them) against open.mjs, and, where a
// vector is the server's, against the half of a server in server.mjs.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { concat, fromCanonicalBase64, sha256, uint, utf8 } from "./crypto.mjs";
import {
  acceptDocument, acceptStatement, findFrame, finish, newClient, newOpener, newSavedOpener,
  openBody, openFrame, openSaved, parseStatement,
} from "./open.mjs";
import {
  NO_SUITE_2, cacheSaltOf, checkClientKey, epochSecretOf, fromHex, identityOf, keyPairOf,
  nextRatchetSecret, openSealedRequest, ownsResponse, receiveSealedRequest, responseIdOf,
  responseKeyOf, sealFrames, seedOf, suiteKeyOf, toHex,
} from "./server.mjs";

let good = []; // The frames of an answer that opens.

/** `passed`: how many; `failed`: name to reason; `skipped`: reason to how many. */
export async function runVectors(folder) {
  const summary = { passed: 0, failed: {}, skipped: {} };
  good = JSON.parse(readFileSync(join(folder, "streamed_response.json"))).frames.map(fromHex);
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".json")).sort()) {
    const vector = JSON.parse(readFileSync(join(folder, file), "utf8"));
    try {
      await runnerOf(vector)(vector);
      summary.passed += 1;
    } catch (error) {
      if (error.message === NO_SUITE_2) {
        summary.skipped[NO_SUITE_2] = (summary.skipped[NO_SUITE_2] ?? 0) + 1;
      } else {
        summary.failed[file] = `${error.name}: ${error.message}`;
      }
    }
  }
  return summary;
}

/** A vector is of the kind whose member it has. */
const KINDS = {
  header: runClientKey,
  seeds: runEpochKeys,
  ratchet_secrets: runFleet,
  document: runDocument,
  sealed_text: runSealedRequest,
  request: runSealedRequest,
  cache_salt: runCacheSalt,
  response_id: runResponseId,
  body: runBody,
  frames: runFrames,
  frame_texts: runFrames,
  seal: runFrames,
  stored: runSaved,
};

function runnerOf(vector) {
  const kind = Object.keys(KINDS).find((member) => member in vector);
  if (kind === undefined) throw new Error("a kind of vector that is not known here");
  return KINDS[kind];
}

function agree(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what} is ${a}, not ${b}`);
}

async function nameOf(attempt) {
  try {
    await attempt();
    return "success";
  } catch (error) {
    if (error.message === NO_SUITE_2) throw error;
    return error.name;
  }
}

// Client keys

async function runClientKey({ header, expect }) {
  const name = "ClientKeyError";
  agree(await nameOf(() => checkClientKey(fromCanonicalBase64(header, name), name)), expect, "it");
}

// Epoch keys and fleet

async function runEpochKeys(vector) {
  const secret = fromHex(vector.epoch_secret);
  for (const [use, seed] of Object.entries(vector.seeds)) {
    agree(toHex(await seedOf(secret, Number(use))), seed, `seed ${use}`);
  }
  const { publicKey } = await responseKeyOf(secret);
  agree(toHex(publicKey), vector.response_public_key, "the response key");
  for (const [suite, expected] of Object.entries(vector.suite_public_keys)) {
    const key = await suiteKeyOf(secret, Number(suite));
    agree(toHex(key.publicKey), expected, `the key of suite ${suite}`);
  }
}

async function runFleet({ ratchet_secrets, epoch_secrets }) {
  let secret = fromHex(ratchet_secrets[0]);
  for (const [i, expected] of ratchet_secrets.entries()) {
    agree(toHex(secret), expected, `ratchet secret ${i}`);
    agree(toHex(await epochSecretOf(secret)), epoch_secrets[i], `epoch secret ${i}`);
    secret = await nextRatchetSecret(secret);
  }
}

// Key documents

async function runDocument(vector) {
  const pieces = [vector.document].flat();
  const text = pieces.map((piece) => piece.repeat?.repeat?.(piece.count) ?? piece).join("");
  const client = await clientOf(vector);
  let document;
  const name = await nameOf(async () => {
    document = await acceptDocument(client, text, vector.now_ms);
  });
  agree(name, vector.expect, "the outcome");
  if (name !== "success") return agree(client.document, null, "what is kept");
  const { statement, retiresAt, evidence, publicKeys } = document;
  agree(toHex(statement.digest), vector.digest, "the digest");
  agree(toHex(statement.digest.subarray(0, 8)), vector.key_id, "the key id");
  agree(Number(retiresAt), vector.retires_at, "retires at");
  agree(toHex(await sha256(evidence)), vector.evidence_sha256, "the evidence");
  const hashes = {};
  for (const [id, key] of publicKeys) hashes[id] = toHex(await sha256(key));
  agree(hashes, vector.suite_public_keys_sha256, "the keys");
}

// Sealed requests, at a server

/** The statement is not in the vector: it is what the epoch's secret and the identity make. */
async function epochOf({ epoch_secret, epoch, not_after, retires_at }, identity) {
  const secret = fromHex(epoch_secret);
  const { publicKey } = await responseKeyOf(secret);
  let body = concat([1], uint(epoch, 8), uint(not_after, 8), publicKey, [2]);
  for (const suite of [1, 2]) {
    const key = await suiteKeyOf(secret, suite);
    body = concat(body, [suite], await sha256(key.publicKey));
  }
  // Not signed: a server trusts itself.
  const statement = await parseStatement(concat(body, identity, new Uint8Array(32 + 64)));
  return { secret, statement, retiresAt: retires_at };
}

async function runSealedRequest(vector) {
  const { publicKey } = await identityOf(fromHex(vector.identity_private_key));
  const server = {
    epochs: [],
    limit: vector.limit,
    seen: new Set(vector.seen),
    markMs: vector.mark_ms,
  };
  for (const epoch of vector.epochs) server.epochs.push(await epochOf(epoch, publicKey));
  let opened;
  const name = await nameOf(async () => {
    opened = await (vector.request
      ? receiveSealedRequest(server, arrived(vector.request), vector.now_ms, isInTable)
      : openSealedRequest(server, vector.sealed_text, vector.now_ms, vector.client_keys));
  });
  agree(name, vector.expect, "the outcome");
  if (name !== "success") return;
  const found = {
    response_secret: toHex(opened.responseSecret),
    owner: toHex(opened.owner),
    time_ms: Number(opened.time),
    container: opened.container,
    method: opened.method,
    target: opened.target,
    content_type: opened.contentType,
    authorization: opened.authorization,
    body_sha256: toHex(await sha256(opened.body)),
  };
  agree(found, vector.opened, "what was opened");
}

const arrived = ({ method, path, query, headers, body }) => ({
  method, pathname: path, search: query && `?${query}`, headers, body: utf8(body),
});

/** The table of routes is in the specification. */
function isInTable(path) {
  const page = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");
  const rows = page.split("\n").filter((line) => line.startsWith("| `/"));
  const paths = rows.flatMap((row) => row.match(/`\/[^`]*`/g).map((quoted) => quoted.slice(1, -1)));
  const patterns = paths.map((one) => new RegExp(`^${one.replace(/\{\w+\}/g, "[^/]+")}$`));
  return patterns.some((pattern) => pattern.test(path));
}

// Owner

async function runCacheSalt({ owner, cache_salt }) {
  agree(await cacheSaltOf(fromHex(owner)), cache_salt, "the salt");
}

async function runResponseId({ owner, random, response_id, expect }) {
  if (random) agree(await responseIdOf(fromHex(owner), fromHex(random)), response_id, "the id");
  const isOwn = await ownsResponse(fromHex(owner), response_id);
  agree(isOwn ? "success" : "response_not_found", expect, "the outcome");
}

// Responses

async function clientOf(vector) {
  const client = newClient(vector.pins);
  for (const { statement, now_ms } of vector.accepted_before ?? []) {
    await acceptStatement(client, await parseStatement(fromHex(statement)), now_ms);
  }
  return client;
}

export const secretsOf = (sealedTo) => sealedTo && {
  suite: sealedTo.suite,
  digest: fromHex(sealedTo.digest),
  responseSecret: fromHex(sealedTo.response_secret),
  requestHash: fromHex(sealedTo.request_hash),
};

async function openerOf(vector) {
  return newOpener({
    client: await clientOf(vector),
    keyPair: await keyPairOf(fromHex(vector.client_private_key)),
    nowMs: vector.now_ms,
    container: vector.container,
    secrets: secretsOf(vector.sealed_to) ?? null,
  });
}

async function checkOutcome(vector, opener, name, released) {
  agree(name, vector.expect, "the outcome");
  const digest = toHex(await sha256(concat(...released)));
  if (name !== "success") return agree(digest, vector.released_sha256, "what was released");
  agree(digest, vector.payload_sha256, "the payload");
  agree(opener.status, vector.status, "the status");
  agree(opener.contentType, vector.content_type, "the content type");
}

async function sealedFrames({ seal, client_private_key }) {
  const unit = fromHex(seal.repeat.unit);
  const payload = concat(...Array.from({ length: seal.repeat.count }, () => unit));
  const response = {
    statement: fromHex(seal.statement),
    keyPair: await keyPairOf(fromHex(seal.response_private_key)),
    clientPublicKey: (await keyPairOf(fromHex(client_private_key))).publicKey,
    nonce: fromHex(seal.response_nonce),
    container: 1,
    status: seal.status,
    contentType: seal.content_type,
    padding: 0,
  };
  const frames = await sealFrames(response, [payload]);
  agree(toHex(await sha256(concat(...frames))), seal.frames_sha256, "the frame");
  return frames;
}

async function runFrames(vector) {
  const opener = await openerOf(vector);
  const framesOf = {
    frames: () => vector.frames.map(fromHex),
    frame_texts: () => vector.frame_texts,
    seal: () => sealedFrames(vector),
  };
  const kind = Object.keys(framesOf).find((name) => name in vector);
  const released = [];
  const name = await nameOf(async () => {
    for (const given of await framesOf[kind]()) {
      const event = { choices: [{ index: 0, delta: { content: given }, finish_reason: null }] };
      const frame = kind === "frame_texts" ? findFrame(utf8(JSON.stringify(event))) : given;
      if (frame) released.push(await openFrame(opener, frame));
    }
    if (vector.finish) finish(opener);
  });
  await checkOutcome(vector, opener, name, released);
  // It is over: neither the same frames nor good ones open now.
  if (kind === "frame_texts") return; // Their failure is not the opener's.
  for (const given of [...(await framesOf[kind]()), ...good]) {
    const afterwards = await nameOf(() => openFrame(opener, given));
    if (afterwards === "success") throw new Error("a frame opens after the end");
  }
}

async function* unfinished(chunks) {
  yield* chunks;
  throw new Error("all that came was accepted, and it should not be");
}

async function runBody(vector) {
  const { content_type, text, hex } = vector.body;
  const data = hex === undefined ? utf8(text) : fromHex(hex);
  for (const size of [1, 7, data.length || 1]) {
    const opener = await openerOf(vector);
    const released = [];
    const chunks = [];
    for (let at = 0; at < data.length; at += size) chunks.push(data.subarray(at, at + size));
    const name = await nameOf(async () => {
      const payloads = openBody(opener, content_type, vector.finish ? chunks : unfinished(chunks));
      for await (const payload of payloads) released.push(payload);
    });
    if (size === 1) await checkOutcome(vector, opener, name, released);
    else agree(name, vector.expect, `the outcome by ${size} bytes`);
  }
}

// Saved answers

async function runSaved(vector) {
  const { text, hex } = vector.stored;
  let opener = null;
  const released = [];
  const name = await nameOf(async () => {
    opener = await newSavedOpener(vector.token);
    const payloads = openSaved(opener, hex === undefined ? utf8(text) : fromHex(hex));
    for await (const payload of payloads) released.push(payload);
  });
  await checkOutcome(vector, opener, name, released);
}
