// A client of docs/protocol.md in JavaScript, to be read beside it: every section has the name
// of the heading that it implements, and every error the specification's name in `name`.
//
// This module does no I/O. What it needs of a platform is in crypto.mjs, and ask.mjs sends.

import {
  EMPTY, ProtocolError, aesOpen, bigintOf, check, concat, fromCanonicalBase64, fromUtf8,
  hkdfExpand, hkdfExtract, hpkeSeal, importAesKey, isEqual, isZero, numberOf, randomBytes, reader,
  sha256, toBase64, uint, utf8, verifies, x25519,
} from "./crypto.mjs";

// Constants

export const VERSION = 1;
const PROFILE_OUTPUT = 1;
const PROFILE_SEALED = 2;
export const FIELDS = 1;
export const OPAQUE = 2;
export const FIRST = 0x01;
export const FINAL = 0x02;
export const FRAME_PREFIX = "sgop1.";
export const REQUEST_PREFIX = "sgop1-request.";
export const DOCUMENT_PREFIX = "sgop1-keys.";
export const RECOVERY_PREFIX = "sgop1-recovery.";
export const OPAQUE_TYPE = "application/vnd.sgop1";
const TAG = 16;
export const MIB = 2 ** 20;
const NO_HASH = new Uint8Array(32);

// Identity

export async function fingerprint(identity) {
  const digest = await sha256(concat(utf8("sgop1 identity"), identity));
  return "SHA256:" + toBase64(digest).replace(/=+$/, "");
}

// Epoch statement

/** The statement that `data` begins with. Times are BigInts: they may be any 64 bits. */
export async function parseStatement(data) {
  const read = reader(data, "MalformedFrameError");
  const version = read.uint(1);
  const epoch = bigintOf(read.take(8));
  const notAfter = bigintOf(read.take(8));
  const responsePublicKey = read.take(32);
  const suites = [];
  for (let count = read.uint(1); count > 0; count--) {
    suites.push({ id: read.uint(1), hash: read.take(32) });
  }
  const identity = read.take(32);
  const body = data.subarray(0, read.at());
  const evidenceHash = read.take(32);
  const signature = read.take(64);
  const life = notAfter - epoch;
  const ascend = suites.every(({ id }, i) => i === 0 || suites[i - 1].id < id);
  check(version === VERSION, "MalformedFrameError", "a statement of another version");
  check(0n < life && life <= 48n * 3600000n, "MalformedFrameError", "an impossible life");
  check(ascend, "MalformedFrameError", "suites out of order");
  const digest = await sha256(concat(utf8("sgop1 epoch"), body));
  const size = read.at();
  return {
    epoch, notAfter, responsePublicKey, suites, identity, evidenceHash, signature, digest, size,
  };
}

// Accepting a statement

/**
 * What a client keeps between requests. `pins` is a list of fingerprints, or null to accept any
 * identity, which protects against readers and faults only. `owner` is 32 secret bytes that an
 * application keeps for each of its users.
 */
export const newClient = (pins, owner = randomBytes(32)) => ({
  pins, owner, newest: new Map(), document: null,
});

export async function acceptStatement(client, statement, nowMs) {
  const { digest, evidenceHash, identity, signature, epoch, notAfter } = statement;
  const signed = concat(utf8("sgop1 statement"), digest, evidenceHash);
  const isSigned = await verifies(identity, signature, signed);
  check(isSigned, "StatementSignatureError", "the signature does not verify");
  const name = await fingerprint(identity);
  const isPinned = client.pins === null || client.pins.includes(name);
  check(isPinned, "IdentityMismatchError", `the server's identity is ${name}`);
  const [now, skew] = [BigInt(nowMs), 300000n];
  const isOfNow = epoch - skew <= now && now <= notAfter + skew;
  check(isOfNow, "StatementExpiredError", "the epoch is not valid at this clock's time");
  const newest = client.newest.get(name) ?? -1n;
  check(notAfter > newest, "StatementRolledBackError", "it ended before one accepted earlier");
  if (newest < epoch && epoch <= now) client.newest.set(name, epoch);
}

// Key document

/** The document that `text` is, fitting its statement; the statement is not accepted yet. */
export async function parseDocument(text) {
  const name = "KeyDocumentError";
  check(text.length <= 128 * 1024 && text.startsWith(DOCUMENT_PREFIX), name, "not one");
  const data = fromCanonicalBase64(text.slice(DOCUMENT_PREFIX.length), name);
  const statement = await parseStatement(data).catch((error) => {
    throw new ProtocolError(name, error.message);
  });
  const read = reader(data.subarray(statement.size), name);
  const retiresAt = bigintOf(read.take(8));
  const evidence = read.take(read.uint(4));
  const evidenceHash = evidence.length ? await sha256(evidence) : NO_HASH;
  check(isEqual(evidenceHash, statement.evidenceHash), name, "other evidence than was signed");
  const publicKeys = new Map();
  for (const { id, hash } of statement.suites) {
    const publicKey = read.take(read.uint(2));
    check(isEqual(await sha256(publicKey), hash), name, "another key than was signed");
    publicKeys.set(id, publicKey);
  }
  check(read.rest().length === 0, name, "bytes after the document");
  return { statement, retiresAt, evidence, publicKeys };
}

/** Accept a document and remember the newest. Evidence would be verified here. */
export async function acceptDocument(client, text, nowMs) {
  const document = await parseDocument(text);
  await acceptStatement(client, document.statement, nowMs);
  const newest = client.document?.statement.epoch ?? -1n;
  if (document.statement.epoch > newest) client.document = document;
  return document;
}

// Sealed requests

/** Padmé (Nikitin et al., 2019), at least 1024. */
export function padme(size) {
  const length = Math.max(size, 1024);
  const exponent = length.toString(2).length - 1;
  const unit = 2 ** (exponent - exponent.toString(2).length);
  return Math.ceil(length / unit) * unit;
}

/**
 * The URL's path from its first segment `v1` on, else from where the rest is a path of the table
 * of routes, else the whole; percent-decoded, and with the query as sent.
 */
export function targetOf({ pathname, search }, isInTable = () => false) {
  const path = decodeURIComponent(pathname);
  const ofV1 = `${path}/`.indexOf("/v1/");
  const slashes = [...path.matchAll("/")].map(({ index }) => index);
  const inTable = slashes.find((at) => isInTable(path.slice(at)));
  return path.slice(ofV1 >= 0 ? ofV1 : (inTable ?? 0)) + search;
}

export const requestInfo = (suite, digest, clientPublicKey) =>
  concat(utf8("sgop1 request"), [VERSION, suite], digest, clientPublicKey);

/**
 * Seal `request`: method, target, contentType and authorization (texts), body and owner (bytes),
 * container. Returns the text to send and the secrets that open the answer.
 */
export async function sealRequest(document, suite, request, keyPair, nowMs) {
  const suiteKey = document.publicKeys.get(suite);
  check(suiteKey !== undefined, "KeyDocumentError", "the server does not offer this suite");
  const counted = (size, bytes) => concat(uint(bytes.length, size), bytes);
  const responseSecret = randomBytes(32);
  const held = concat(
    responseSecret,
    request.owner,
    uint(nowMs, 8),
    uint(request.container, 1),
    counted(1, utf8(request.method)),
    counted(2, utf8(request.target)),
    counted(1, utf8(request.contentType)),
    counted(2, utf8(request.authorization)),
    counted(4, request.body),
  );
  const plaintext = concat(held, new Uint8Array(padme(held.length) - held.length));
  const { digest } = document.statement;
  const info = requestInfo(suite, digest, keyPair.publicKey);
  const sealed = await hpkeSeal(suite, suiteKey, info, plaintext);
  const message = concat([VERSION, suite], digest.subarray(0, 8), keyPair.publicKey, sealed);
  const secrets = { suite, digest, responseSecret, requestHash: await sha256(message) };
  return { text: REQUEST_PREFIX + toBase64(message), secrets };
}

// Carriage

const CARRIERS = {
  "/v1/chat/completions": "messages",
  "/v1/chat/completions/batch": "messages",
  "/v1/messages": "messages",
  "/v1/messages/count_tokens": "messages",
  "/v1/completions": "prompt",
  "/v1/responses": "input",
  "/v1/embeddings": "input",
};

/** The outer JSON body of a request for `target`, whose inner body is the JSON text `body`. */
export function outerBody(target, body, text) {
  const path = target.split("?")[0];
  const { model, stream } = JSON.parse(body);
  const member = CARRIERS[path] ?? "sealed";
  const carried = member === "messages" ? [{ role: "user", content: text }] : text;
  const maxTokens = path === "/v1/messages" ? { max_tokens: 1 } : {};
  return JSON.stringify({ model, stream, [member]: carried, ...maxTokens }); // Less undefined ones.
}

// Frames: `openFrame` for each in their order, then `finish`

/** The opener of one answer. `secrets` are `sealRequest`'s, or null in profile `output`. */
export const newOpener = ({ client, keyPair, nowMs, container = FIELDS, secrets = null }) => ({
  client, keyPair, nowMs, container, secrets,
  count: 0, previous: EMPTY, status: null, contentType: null, isComplete: false, isDead: false,
});

export async function openFrame(opener, frame) {
  check(!opener.isDead, "UsageError", "this opener has failed before");
  opener.isDead = true; // Until all is well.
  check(!opener.isComplete, "TrailingDataError", "a frame after the final one");
  check(frame.length >= 5 + TAG, "MalformedFrameError", "a frame is too short");
  const [flags, sequenceNumber] = [frame[0], numberOf(frame.subarray(1, 5))];
  const isFirst = opener.count === 0;
  const isExpected = Boolean(flags & FIRST) === isFirst && sequenceNumber === opener.count;
  check((flags & ~(FIRST | FINAL)) === 0, "MalformedFrameError", "an unknown flag");
  check(isExpected, "SequenceError", "not the expected frame");
  const aadSize = isFirst ? 5 + (await readHead(opener, frame.subarray(5))) : 5;
  const nonce = nonceOf(opener.baseNonce, opener.count);
  const [aad, ciphertext] = [frame.subarray(0, aadSize), frame.subarray(aadSize)];
  const read = reader(await aesOpen(opener.key, nonce, ciphertext, aad), "MalformedFrameError");
  if (isFirst) readStatus(opener, read);
  opener.previous = readRecord(opener.previous, read);
  opener.count += 1;
  opener.isComplete = Boolean(flags & FINAL);
  opener.isDead = false;
  return opener.previous;
}

/** State that the body has ended. */
export function finish(opener) {
  check(!opener.isDead, "UsageError", "this opener has failed before");
  opener.isDead = !opener.isComplete;
  check(opener.isComplete, "TruncatedError", "the answer ended before its final frame");
}

export function nonceOf(baseNonce, i) {
  const number = uint(i, 12);
  return baseNonce.map((byte, at) => byte ^ number[at]);
}

function readStatus(opener, read) {
  const status = read.uint(2);
  const contentType = read.take(read.uint(1));
  const isText = contentType.every((byte) => 0x20 <= byte && byte <= 0x7e);
  check(200 <= status && status <= 599, "MalformedFrameError", "an impossible status");
  check(isText, "MalformedFrameError", "an impossible content type");
  Object.assign(opener, { status, contentType: String.fromCharCode(...contentType) });
}

function readRecord(previous, read) {
  const shared = read.uint(4);
  const tail = read.take(read.uint(4));
  check(shared <= previous.length, "MalformedFrameError", "more is shared than there was");
  check(isZero(read.rest()), "MalformedFrameError", "padding that is not zero");
  return concat(previous.subarray(0, shared), tail);
}

// Head

/** Check the head that `data` begins with and derive the keys; returns its size. */
async function readHead(opener, data) {
  const { client, keyPair, nowMs, container, secrets } = opener;
  if (opener.headHash) return readSavedHead(opener, data);
  const read = reader(data, "MalformedFrameError");
  const [parameters, clientHash] = [read.take(4), read.take(8)];
  read.take(32); // The nonce: the key schedule reads it.
  const profile = secrets ? PROFILE_SEALED : PROFILE_OUTPUT;
  const isAsked = isEqual(parameters, [VERSION, secrets?.suite ?? 1, profile, container]);
  check(isAsked, "UnexpectedParametersError", "not what was asked for");
  const isOurs = isEqual(clientHash, (await sha256(keyPair.publicKey)).subarray(0, 8));
  check(isOurs, "ForeignResponseError", "made for another client's key");
  const statement = await parseStatement(read.rest());
  read.take(statement.size);
  check(read.rest().length >= TAG, "MalformedFrameError", "frame 0 is too short");
  await acceptStatement(client, statement, nowMs);
  const isSameEpoch = !secrets || isEqual(statement.digest, secrets.digest);
  check(isSameEpoch, "StatementMismatchError", "not the epoch that the request was sealed to");
  const { responsePublicKey } = statement;
  const dh = await x25519(keyPair.privateKey, responsePublicKey, "MalformedFrameError");
  const head = data.subarray(0, read.at());
  Object.assign(opener, await keySchedule(dh, keyPair.publicKey, head, secrets));
  return head.length;
}

// Key schedule

export async function keySchedule(dh, clientPublicKey, head, secrets) {
  const { responseSecret = EMPTY, requestHash = NO_HASH } = secrets ?? {};
  const prk = await hkdfExtract(head.subarray(12, 44), concat(dh, responseSecret));
  const headHash = await sha256(head);
  const label = utf8("sgop1 response");
  const context = await sha256(concat(label, clientPublicKey, requestHash, headHash));
  const key = await hkdfExpand(prk, concat(utf8("sgop1 key"), context), 32);
  const baseNonce = await hkdfExpand(prk, concat(utf8("sgop1 nonce"), context), 12);
  return { key: await importAesKey(key), baseNonce };
}

// Container `fields`

/** The frame in a JSON body or in an event's data; null if there is none. */
export function findFrame(data) {
  const text = firstText(data, FRAME_PREFIX, "MalformedFrameError");
  if (text === null) return null;
  check(text.length <= 96 * MIB, "TooLargeError", "a frame is too large");
  return fromCanonicalBase64(text.slice(FRAME_PREFIX.length), "MalformedFrameError");
}

/** The first string value with the prefix; null if there is none. */
export function firstText(data, prefix, name) {
  if (!new TextDecoder().decode(data).includes(prefix)) return null;
  try {
    return firstString(parseInOrder(fromUtf8(data)), (value) => value.startsWith(prefix));
  } catch {
    throw new ProtocolError(name, "there is a prefix in something that is not JSON");
  }
}

/**
 * JSON.parse, with `_` before every name: in an object, JavaScript puts names that are numbers
 * first, whatever the order of the text. Of two members of one name it keeps the place of the
 * first and the value of the last, as it should be.
 */
function parseInOrder(json) {
  JSON.parse(json); // So that below each string ends where it seems to.
  const colon = /[ \t\r\n]*:/y;
  let [renamed, at] = ["", 0];
  for (let start = json.indexOf('"'); start >= 0; start = json.indexOf('"', at)) {
    let end = start + 1;
    while (json[end] !== '"') end += json[end] === "\\" ? 2 : 1;
    colon.lastIndex = end + 1;
    renamed += json.slice(at, start) + (colon.test(json) ? '"_' : '"');
    renamed += json.slice(start + 1, end + 1);
    at = end + 1;
  }
  return JSON.parse(renamed + json.slice(at));
}

function firstString(json, isSought) {
  const waiting = [json]; // Not by recursion: somebody may nest lists without end.
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value === "string" && isSought(value)) return value;
    if (typeof value !== "object" || value === null) continue;
    for (const inner of Object.values(value).reverse()) waiting.push(inner);
  }
  return null;
}

// Streams

/** The lines of a stream, without their ends: LF, CRLF or CR. Chunks may be cut anywhere. */
async function* linesOf(chunks) {
  let [parts, size, wasCr] = [[], 0, false];
  for await (const chunk of chunks) {
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const [isCr, isLf] = [chunk[i] === 0x0d, chunk[i] === 0x0a];
      const isSecondHalf = isLf && wasCr;
      wasCr = isCr;
      if (!isCr && !isLf) continue;
      if (!isSecondHalf) yield concat(...parts, chunk.subarray(start, i));
      [parts, size, start] = [[], 0, i + 1];
    }
    parts.push(chunk.subarray(start));
    size += chunk.length - start;
    check(size <= 128 * MIB, "TooLargeError", "an event is too large");
  }
}

/** The data of each event that has some and that is complete. */
async function* eventsOf(chunks) {
  let [data, size] = [[], 0];
  for await (const line of linesOf(chunks)) {
    size += line.length;
    check(size <= 128 * MIB, "TooLargeError", "an event is too large");
    if (/^data(:|$)/.test(String.fromCharCode(...line.subarray(0, 5)))) {
      if (data.length > 0) data.push(utf8("\n"));
      data.push(line.subarray(line[5] === 0x20 ? 6 : 5));
    }
    if (line.length > 0) continue;
    if (data.length > 0) yield concat(...data);
    [data, size] = [[], 0];
  }
}

async function* openEvents(opener, chunks, isError) {
  let hasClearEvents = false;
  const end = () => {
    const isUnprotected = hasClearEvents && opener.status === null;
    check(!isUnprotected, "UnprotectedResponseError", "a stream without one frame");
    finish(opener);
  };
  const isErrorWithoutFrame = () => isError && opener.status === null;
  for await (const data of eventsOf(chunks)) {
    const frame = findFrame(data);
    if (frame) yield await openFrame(opener, frame);
    if (frame || opener.isComplete || isErrorWithoutFrame()) continue;
    const text = new TextDecoder().decode(data);
    if (text.startsWith("[DONE]")) end();
    const event = parsed(text);
    const isClearError = (event?.error ?? null) !== null || event?.type === "error";
    check(!isClearError, "TruncatedError", "a clear error event before the final frame");
    hasClearEvents = true;
  }
  if (!isErrorWithoutFrame()) end();
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// Container `opaque`

async function* openOpaque(opener, chunks) {
  let [parts, size, need] = [[], 0, 4];
  for await (const chunk of chunks) {
    parts.push(chunk);
    size += chunk.length;
    if (size < need) continue;
    let buffer = concat(...parts);
    while (buffer.length >= need) {
      check(!opener.isComplete, "TrailingDataError", "something after the final frame");
      need = 4 + numberOf(buffer.subarray(0, 4));
      check(need - 4 <= 128 * MIB, "TooLargeError", "a frame is too large");
      if (buffer.length < need) break;
      yield await openFrame(opener, buffer.subarray(4, need));
      buffer = buffer.subarray(need);
      need = opener.isComplete ? 1 : 4; // After the final frame any byte is too much.
    }
    [parts, size] = [[buffer], buffer.length];
  }
  finish(opener);
}

// A body of either container

export async function collect(chunks, limit) {
  const parts = [];
  let size = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    size += chunk.length;
    check(size <= limit, "TooLargeError", "a body is too large");
  }
  return concat(...parts);
}

/**
 * Yields opened payloads as they come. Who has not seen the end of this has not seen the whole
 * answer. `isError` is whether the outer status is one: a body without a frame is then an
 * unsealed error, and is yielded as it came, with `opener.status` still null.
 */
export async function* openBody(opener, contentType, chunks, isError = false) {
  const mediaType = contentType.split(";")[0].trim().toLowerCase();
  if (mediaType === OPAQUE_TYPE) {
    opener.container = OPAQUE; // Asked for or not.
    return yield* openOpaque(opener, chunks);
  }
  const isStream = mediaType === "text/event-stream";
  if (isStream && !isError) return yield* openEvents(opener, chunks, isError);
  const body = await collect(chunks, 128 * MIB);
  if (isStream) {
    yield* openEvents(opener, [body], isError);
    if (opener.status === null) yield body;
    return;
  }
  const frame = findFrame(body);
  check(frame || isError, "UnprotectedResponseError", "a success that is not sealed");
  const payload = frame ? await openFrame(opener, frame) : body;
  if (frame) finish(opener);
  yield payload;
}

// Recovery token

/** The opener of a stored answer, for `openSaved`. */
export async function newSavedOpener(text) {
  const name = "ConfigurationError";
  const digits = text.slice(RECOVERY_PREFIX.length);
  check(text.startsWith(RECOVERY_PREFIX), name, "not the prefix of a recovery token");
  check(/^[A-Za-z0-9_-]{102}$/.test(digits), name, "not its digits");
  const standard = `${digits.replaceAll("-", "+").replaceAll("_", "/")}==`;
  const token = fromCanonicalBase64(standard, name);
  const key = await importAesKey(token.subarray(0, 32));
  const [baseNonce, headHash] = [token.subarray(32, 44), token.subarray(44)];
  return { ...newOpener({}), key, baseNonce, headHash };
}

async function readSavedHead(opener, data) {
  const read = reader(data, "MalformedFrameError");
  read.take(44);
  const statement = await parseStatement(read.rest());
  read.take(statement.size);
  check(read.rest().length >= TAG, "MalformedFrameError", "frame 0 is too short");
  const head = data.subarray(0, read.at());
  const isItsOwn = isEqual(await sha256(head), opener.headHash);
  check(isItsOwn, "ForeignResponseError", "the token is another answer's");
  return head.length;
}

/** Yields the payloads of a stored body, as `openBody` does. */
export async function* openSaved(opener, stored) {
  const hasMark = isEqual(stored.subarray(0, 3), [0xef, 0xbb, 0xbf]);
  const body = hasMark ? stored.subarray(3) : stored;
  if (body[0] <= 8) return yield* openOpaque(opener, [body]);
  const text = new TextDecoder().decode(body);
  check(text.includes(FRAME_PREFIX), "UnprotectedResponseError", "no sealed answer");
  const isJson = /^\s*[{[]/.test(text);
  yield* openBody(opener, isJson ? "application/json" : "text/event-stream", [body]);
}

// `node open.mjs …` is the tests' command line.
if (globalThis.process?.argv[1] && import.meta.url === new URL(process.argv[1], "file://").href) {
  import("./commands.mjs").then(({ main }) => main(process.argv.slice(2)));
}
