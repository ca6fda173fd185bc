// What open.mjs needs of its platform: bytes, X25519, Ed25519, HMAC, AES-GCM and HPKE, all by
// WebCrypto. A platform that has HPKE (RFC 9180) and HKDF in two steps needs no such module.
//
// Suite 1 runs where WebCrypto has X25519 and Ed25519 (Node 20, browsers). Suite 2 also needs
// its ML-KEM-768 and SHA3-256 (Node 24.7). There is no lattice code in here, and there should
// be none in a port.

const { subtle } = globalThis.crypto;

/** Every refusal; `name` is the specification's name for it. */
export class ProtocolError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

export function check(condition, name, message) {
  if (!condition) throw new ProtocolError(name, message);
}

// Bytes

export const EMPTY = new Uint8Array();
export const utf8 = (text) => new TextEncoder().encode(text);
/** Text that is UTF-8 and nothing else: neither repaired nor rid of a byte order mark. */
export const fromUtf8 = (bytes) =>
  new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
export const isZero = (bytes) => bytes.every((byte) => byte === 0);
export const isEqual = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
export const randomBytes = (size) => crypto.getRandomValues(new Uint8Array(size));

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Unsigned big-endian integers: as bytes, and back. 64 bits are more than a number holds. */
export function uint(value, size) {
  const isInRange = 0 <= value && value < 2 ** (8 * size);
  check(isInRange, "UsageError", "a number or length is out of range");
  const shifts = Array.from({ length: size }, (_, i) => BigInt(8 * (size - 1 - i)));
  return Uint8Array.from(shifts, (shift) => Number((BigInt(value) >> shift) & 255n));
}
export const bigintOf = (bytes) => bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
export const numberOf = (bytes) => Number(bigintOf(bytes));

/** Takes `bytes` apart from left to right; too few of them are the error `name`. */
export function reader(bytes, name) {
  let at = 0;
  const take = (size) => {
    check(bytes.length - at >= size, name, "cut short");
    at += size;
    return bytes.subarray(at - size, at);
  };
  return {
    take,
    uint: (size) => numberOf(take(size)),
    at: () => at,
    rest: () => bytes.subarray(at),
  };
}

export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

/** Decoders forgive white space, missing padding and stray bits: only encoding again tells. */
export function fromCanonicalBase64(text, name) {
  let bytes = null;
  try {
    bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    // It is not base64 at all.
  }
  check(bytes !== null && toBase64(bytes) === text, name, "not canonical base64");
  return bytes;
}

// Algorithms

export const sha256 = async (bytes) => new Uint8Array(await subtle.digest("SHA-256", bytes));

/** HMAC-SHA-256. WebCrypto takes no empty key; 32 zero bytes are the same key (RFC 2104). */
async function hmac(key, data) {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const raw = key.length ? key : new Uint8Array(32);
  const imported = await subtle.importKey("raw", raw, algorithm, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, data));
}

/** HKDF in its two steps; WebCrypto's own does both at once. The size is at most 32. */
export const hkdfExtract = (salt, ikm) => hmac(salt, ikm);
export const hkdfExpand = async (prk, info, size) =>
  (await hmac(prk, concat(info, [1]))).subarray(0, size);

export const importAesKey = (key) =>
  subtle.importKey("raw", key, "AES-GCM", false, ["encrypt", "decrypt"]);

export const aesSeal = async (key, iv, plaintext, additionalData) =>
  new Uint8Array(await subtle.encrypt({ name: "AES-GCM", iv, additionalData }, key, plaintext));

export async function aesOpen(key, iv, ciphertext, additionalData) {
  try {
    const algorithm = { name: "AES-GCM", iv, additionalData };
    return new Uint8Array(await subtle.decrypt(algorithm, key, ciphertext));
  } catch {
    throw new ProtocolError("DecryptionError", "a tag does not verify");
  }
}

/** A fresh X25519 pair. */
export async function newKeyPair() {
  const { privateKey, publicKey } = await subtle.generateKey("X25519", true, ["deriveBits"]);
  return { privateKey, publicKey: new Uint8Array(await subtle.exportKey("raw", publicKey)) };
}

/** X25519. A public key of low order, whose result is zero, is the error `name`. */
export async function x25519(privateKey, publicKey, name) {
  let shared = new Uint8Array(32);
  try {
    const other = await subtle.importKey("raw", publicKey, "X25519", false, []);
    const algorithm = { name: "X25519", public: other };
    shared = new Uint8Array(await subtle.deriveBits(algorithm, privateKey, 256));
  } catch {
    // Most implementations refuse such a key themselves.
  }
  check(!isZero(shared), name, "a public key is of low order");
  return shared;
}

/** Ed25519. */
export async function verifies(publicKey, signature, message) {
  try {
    const key = await subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
    return await subtle.verify("Ed25519", key, signature, message);
  } catch {
    return false; // The key is no point.
  }
}

// HPKE: base mode, one shot

const SUITES = {
  1: { kem: 0x0020, publicKeySize: 32, encapsulate: dhkemEncapsulate },
  2: { kem: 0x647a, publicKeySize: 1216, encapsulate: xwingEncapsulate },
};

/** Whether this platform has what the suite needs. */
export async function supportsSuite(suite) {
  if (suite === 1) return true;
  const hasSha3 = () => subtle.digest("SHA3-256", EMPTY).then(() => true, () => false);
  return typeof subtle.encapsulateBits === "function" && (await hasSha3());
}

const labeledExtract = (id, salt, label, ikm) =>
  hkdfExtract(salt, concat(utf8("HPKE-v1"), id, utf8(label), ikm));
const labeledExpand = (id, prk, label, info, size) =>
  hkdfExpand(prk, concat(uint(size, 2), utf8("HPKE-v1"), id, utf8(label), info), size);

/** RFC 9180, section 4.1: what both sides make of an exchange. */
export async function dhkemSecret(dh, encapsulated, publicKey) {
  const id = concat(utf8("KEM"), uint(SUITES[1].kem, 2));
  const prk = await labeledExtract(id, EMPTY, "eae_prk", dh);
  return labeledExpand(id, prk, "shared_secret", concat(encapsulated, publicKey), 32);
}

async function dhkemEncapsulate(publicKey) {
  const ephemeral = await newKeyPair();
  const dh = await x25519(ephemeral.privateKey, publicKey, "KeyDocumentError");
  return [await dhkemSecret(dh, ephemeral.publicKey, publicKey), ephemeral.publicKey];
}

/** X-Wing's combiner, whose label is a drawing of one. Its result goes into HPKE as it is. */
export const xwingSecret = async (mlkemSecret, dh, ephemeral, publicKey) => {
  const held = concat(mlkemSecret, dh, ephemeral, publicKey, utf8("\\.//^\\"));
  return new Uint8Array(await subtle.digest("SHA3-256", held));
};

async function xwingEncapsulate(publicKey) {
  const [mlkemKey, x25519Key] = [publicKey.subarray(0, 1184), publicKey.subarray(1184)];
  const mlkem = await mlkemEncapsulate(mlkemKey);
  const ephemeral = await newKeyPair();
  const dh = await x25519(ephemeral.privateKey, x25519Key, "KeyDocumentError");
  const secret = await xwingSecret(mlkem.secret, dh, ephemeral.publicKey, x25519Key);
  return [secret, concat(mlkem.encapsulated, ephemeral.publicKey)];
}

async function mlkemEncapsulate(publicKey) {
  check(await supportsSuite(2), "UsageError", "there is no ML-KEM-768 or no SHA3-256 here");
  try {
    const usages = ["encapsulateBits"];
    const key = await subtle.importKey("raw-public", publicKey, "ML-KEM-768", false, usages);
    const { sharedKey, ciphertext } = await subtle.encapsulateBits("ML-KEM-768", key);
    return { secret: new Uint8Array(sharedKey), encapsulated: new Uint8Array(ciphertext) };
  } catch {
    throw new ProtocolError("KeyDocumentError", "a public key is none of ML-KEM-768");
  }
}

/** RFC 9180, section 5.1: the key of AES-256-GCM, and the only nonce. */
export async function hpkeKeys(suite, sharedSecret, info) {
  const id = concat(utf8("HPKE"), uint(SUITES[suite].kem, 2), uint(1, 2), uint(2, 2));
  const pskIdHash = await labeledExtract(id, EMPTY, "psk_id_hash", EMPTY);
  const infoHash = await labeledExtract(id, EMPTY, "info_hash", info);
  const context = concat([0], pskIdHash, infoHash);
  const secret = await labeledExtract(id, sharedSecret, "secret", EMPTY);
  const key = await labeledExpand(id, secret, "key", context, 32);
  const nonce = await labeledExpand(id, secret, "base_nonce", context, 12);
  return { key: await importAesKey(key), nonce };
}

/** The encapsulated key and the ciphertext, joined. */
export async function hpkeSeal(suite, publicKey, info, plaintext) {
  const { publicKeySize, encapsulate } = SUITES[suite];
  check(publicKey.length === publicKeySize, "KeyDocumentError", "a public key of another size");
  const [sharedSecret, encapsulated] = await encapsulate(publicKey);
  const { key, nonce } = await hpkeKeys(suite, sharedSecret, info);
  return concat(encapsulated, await aesSeal(key, nonce, plaintext, EMPTY));
}
