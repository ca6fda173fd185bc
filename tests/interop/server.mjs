// The server's half of docs/protocol.md, as far as the tests of open.mjs need it. For Node, and
// no part of a client.

import {
  EMPTY, ProtocolError, aesOpen, aesSeal, bigintOf, check, concat, dhkemSecret,
  fromCanonicalBase64, fromUtf8, hkdfExpand, hkdfExtract, hpkeKeys, isEqual, isZero, reader,
  sha256, supportsSuite, toBase64, uint, utf8, x25519, xwingSecret,
} from "./crypto.mjs";
import {
  FINAL, FIRST, REQUEST_PREFIX, VERSION, firstText, keySchedule, nonceOf, parsed, requestInfo,
  targetOf,
} from "./open.mjs";

const { subtle } = globalThis.crypto;

export const fromHex = (text) => Uint8Array.from(Buffer.from(text, "hex"));
export const toHex = (bytes) => Buffer.from(bytes).toString("hex");

/** The pairs of given private halves, which WebCrypto takes as PKCS #8 only. */
async function pairOf(algorithm, oid, privateBytes, usage) {
  const pkcs8 = concat(fromHex(`302e020100300506032b65${oid}04220420`), privateBytes);
  const privateKey = await subtle.importKey("pkcs8", pkcs8, algorithm, true, [usage]);
  const { x } = await subtle.exportKey("jwk", privateKey);
  return { privateKey, publicKey: Uint8Array.from(Buffer.from(x, "base64url")) };
}
export const keyPairOf = (privateBytes) => pairOf("X25519", "6e", privateBytes, "deriveBits");
export const identityOf = (privateBytes) => pairOf("Ed25519", "70", privateBytes, "sign");

// Client key

const P = 2n ** 255n - 19n;
const LOW_ORDER = [
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
];

export function checkClientKey(key, name) {
  check(key.length === 32, name, "not 32 bytes");
  const u = bigintOf(Uint8Array.from(key).reverse()) % 2n ** 255n;
  check(!LOW_ORDER.includes(u % P), name, "of low order");
}

// Epoch keys

export const NO_SUITE_2 = "this Node has no suite 2";
export const seedOf = (secret, use) => hkdfExpand(secret, concat(utf8("sgop1 seed"), [use]), 32);
export const responseKeyOf = async (secret) => keyPairOf(await seedOf(secret, 0));

/** The private half for a suite: `publicKey`, and `decapsulate` from encapsulated key to secret. */
export async function suiteKeyOf(secret, suite) {
  const seed = await seedOf(secret, suite);
  if (suite === 1) {
    const pair = await keyPairOf(seed);
    const decapsulate = async (enc) =>
      dhkemSecret(await x25519(pair.privateKey, enc, "DecryptionError"), enc, pair.publicKey);
    return { publicKey: pair.publicKey, encapsulatedSize: 32, decapsulate };
  }
  check(await supportsSuite(suite), "UsageError", NO_SUITE_2);
  // SHAKE256 is cSHAKE256 without a name; the length's own name has changed since Node 24.
  const shake = { name: "cSHAKE256", length: 768, outputLength: 768 };
  const expanded = new Uint8Array(await subtle.digest(shake, seed));
  const mlkemSeed = expanded.subarray(0, 64);
  const usages = ["decapsulateBits"];
  const mlkem = await subtle.importKey("raw-seed", mlkemSeed, "ML-KEM-768", true, usages);
  const mlkemPublic = await subtle.getPublicKey(mlkem, ["encapsulateBits"]);
  const mlkemBytes = new Uint8Array(await subtle.exportKey("raw-public", mlkemPublic));
  const pair = await keyPairOf(expanded.subarray(64));
  const decapsulate = async (enc) => {
    const [ct, ephemeral] = [enc.subarray(0, 1088), enc.subarray(1088)];
    const shared = new Uint8Array(await subtle.decapsulateBits("ML-KEM-768", mlkem, ct));
    const dh = await x25519(pair.privateKey, ephemeral, "DecryptionError");
    return xwingSecret(shared, dh, ephemeral, pair.publicKey);
  };
  return { publicKey: concat(mlkemBytes, pair.publicKey), encapsulatedSize: 1120, decapsulate };
}

// Fleet

export const nextRatchetSecret = (secret) => hkdfExpand(secret, utf8("sgop1 ratchet"), 32);
export const epochSecretOf = (secret) => hkdfExpand(secret, utf8("sgop1 epoch secret"), 32);

// Opening

const MALFORMED = "sealed_request_malformed";

/**
 * What a sealed message holds. `server` has the `epochs` (secret, statement and retiresAt of each)
 * and, of its replay store, `seen` (response secrets in hexadecimal) and `markMs`. `isMeant` tells
 * whether it arrived where it says that it is to go.
 */
export async function openSealedRequest(server, text, nowMs, clearKeys = [], isMeant = () => true) {
  check(text.length <= (server.limit ?? 64 * 2 ** 20), "request_too_large", "too large");
  check(text.startsWith(REQUEST_PREFIX), MALFORMED, "another prefix");
  const message = fromCanonicalBase64(text.slice(REQUEST_PREFIX.length), MALFORMED);
  const read = reader(message, MALFORMED);
  const [version, suite] = [read.uint(1), read.uint(1)];
  const [keyId, clientPublicKey] = [read.take(8), read.take(32)];
  check(version === VERSION && [1, 2].includes(suite), MALFORMED, "unknown version or suite");
  checkClientKey(clientPublicKey, "client_key_malformed");
  const isSame = clearKeys.every((key) => key === toBase64(clientPublicKey));
  check(isSame, "client_key_duplicated", "another key outside");
  const isNamed = ({ statement, retiresAt }) =>
    isEqual(statement.digest.subarray(0, 8), keyId) && nowMs < retiresAt;
  const epoch = server.epochs.find(isNamed);
  check(epoch, "key_unknown", "no live epoch has that id");
  const { digest } = epoch.statement;
  const info = requestInfo(suite, digest, clientPublicKey);
  const key = await suiteKeyOf(epoch.secret, suite);
  const plaintext = await hpkeOpen(key, suite, info, read.rest()).catch(() => {
    throw new ProtocolError(MALFORMED, "it does not open");
  });
  const request = readPlaintext(plaintext);
  check(isMeant(request), "sealed_request_mismatch", "sent to another target");
  const isNew = !server.seen?.has(toHex(request.responseSecret));
  check(isNew, "request_replayed", "it was used already");
  const isTimed = (server.markMs ?? -1) < request.time && request.time <= nowMs + 60000;
  check(isTimed, "request_mistimed", "too old, or ahead of the clock");
  return { suite, clientPublicKey, digest, requestHash: await sha256(message), ...request };
}

async function hpkeOpen(key, suite, info, sealed) {
  const read = reader(sealed, "DecryptionError");
  const secret = await key.decapsulate(read.take(key.encapsulatedSize));
  const hpke = await hpkeKeys(suite, secret, info);
  return aesOpen(hpke.key, hpke.nonce, read.rest(), EMPTY);
}

function readPlaintext(plaintext) {
  const read = reader(plaintext, MALFORMED);
  const [responseSecret, owner] = [read.take(32), read.take(32)];
  const time = bigintOf(read.take(8));
  const container = read.uint(1);
  const texts = [1, 2, 1, 2].map((size) => read.take(read.uint(size)));
  const body = read.take(read.uint(4));
  check([1, 2].includes(container) && isZero(read.rest()), MALFORMED, "not whole");
  try {
    const [method, target, contentType, authorization] = texts.map(fromUtf8);
    const inner = { method, target, contentType, authorization, body };
    return { responseSecret, owner, time, container, ...inner };
  } catch {
    throw new ProtocolError(MALFORMED, "not UTF-8");
  }
}

// Carriage

/** Open a request as it arrives: method, pathname, search, headers (pairs) and body (bytes). */
export async function receiveSealedRequest(server, http, nowMs, isInTable) {
  check(http.body.length <= (server.limit ?? Infinity), "request_too_large", "too large");
  const valuesOf = (name) => http.headers.filter(([key]) => key === name).map(([, value]) => value);
  const [contentType = ""] = valuesOf("content-type");
  const texts = [...valuesOf("x-sealed-request"), ...textsIn(contentType, http.body)];
  check(texts.length === 1, MALFORMED, "not one sealed request");
  const isMeant = (request) =>
    request.method === http.method && request.target === targetOf(http, isInTable);
  const request = await openSealedRequest(server, texts[0], nowMs, [], isMeant);
  const outer = membersOf(contentType, http.body);
  const inner = membersOf(request.contentType, request.body);
  const agrees = (name, unless) =>
    outer[name] === undefined || isSameJson(outer[name], inner[name] ?? unless);
  const isAgreed = agrees("model", null) && agrees("stream", false);
  check(isAgreed, "sealed_request_mismatch", "outside and inside differ");
  return request;
}

const isSameJson = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const isUpload = (contentType) => contentType.toLowerCase().startsWith("multipart/");

function textsIn(contentType, body) {
  if (isUpload(contentType)) {
    const contents = partsOf(contentType, body).map(([, content]) => content);
    return contents.filter((content) => content.startsWith(REQUEST_PREFIX));
  }
  const text = firstText(body, REQUEST_PREFIX, MALFORMED);
  return text === null ? [] : [text];
}

/** `model` and `stream` are looked for in these. */
function membersOf(contentType, body) {
  if (isUpload(contentType)) return Object.fromEntries(partsOf(contentType, body));
  return parsed(new TextDecoder().decode(body)) ?? {};
}

/** RFC 7578: name and content, with a character for each byte. */
function partsOf(contentType, body) {
  const boundary = /boundary="?([^";]+)"?/.exec(contentType)?.[1];
  check(boundary, MALFORMED, "an upload without a boundary");
  const sections = `\r\n${Buffer.from(body).toString("latin1")}`.split(`\r\n--${boundary}`);
  return sections.slice(1, -1).map((section) => {
    const end = section.indexOf("\r\n\r\n");
    const name = /; name="([^"]*)"/.exec(section.slice(0, end))?.[1];
    return [name, section.slice(end + 4)];
  });
}

// Owner: HKDF-Extract is HMAC

const markOf = async (owner, random) =>
  (await hkdfExtract(owner, concat(utf8("sgop1 response id"), random))).subarray(0, 16);
export const cacheSaltOf = async (owner) =>
  Buffer.from(await hkdfExtract(owner, utf8("sgop1 cache salt"))).toString("base64url");
export const responseIdOf = async (owner, random) =>
  `resp_${toHex(random)}${toHex(await markOf(owner, random))}`;

export async function ownsResponse(owner, id) {
  const random = /^resp_([0-9a-f]{32})[0-9a-f]{32}$/.exec(id)?.[1];
  return random !== undefined && id === (await responseIdOf(owner, fromHex(random)));
}

// Frames: the sender's side

/**
 * The frames of `payloads`, the last one final. `response` has statement (bytes), keyPair (the
 * response key), clientPublicKey, nonce, container, status, contentType and, in profile
 * `sealed`, secrets.
 */
export async function sealFrames(response, payloads) {
  const { statement, keyPair, clientPublicKey, nonce, container, secrets, padding } = response;
  const parameters = [VERSION, secrets?.suite ?? 1, secrets ? 2 : 1, container];
  const clientHash = (await sha256(clientPublicKey)).subarray(0, 8);
  const head = concat(parameters, clientHash, nonce, statement);
  const dh = await x25519(keyPair.privateKey, clientPublicKey, "ClientKeyError");
  const { key, baseNonce } = await keySchedule(dh, clientPublicKey, head, secrets);
  const contentType = utf8(response.contentType);
  const opening = concat(uint(response.status, 2), uint(contentType.length, 1), contentType);
  const frames = [];
  for (const [i, payload] of payloads.entries()) {
    const flags = (i === 0 ? FIRST : 0) | (i === payloads.length - 1 ? FINAL : 0);
    const aad = concat([flags], uint(i, 4), i === 0 ? head : EMPTY);
    const record = concat(uint(0, 4), uint(payload.length, 4), payload, new Uint8Array(padding));
    const plaintext = i === 0 ? concat(opening, record) : record;
    frames.push(concat(aad, await aesSeal(key, nonceOf(baseNonce, i), plaintext, aad)));
  }
  return frames;
}
