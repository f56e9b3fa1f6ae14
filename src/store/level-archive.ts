/**
 * The file of a backup: a head, the files of a store one after the other, and an end that says how many those are, how long all is, and its
 * SHA-256. One that was cut short has no end, and one that has changed another sum.
 *
 * head   "STINTBAK" version(4)
 * file   1(1) nameLength(2) length(8) name bytes
 * end    255(1) files(4) length of all before the end(8) SHA-256 of all before itself(32)
 *
 * 1. Numbers are big-endian. A reader of another version refuses.
 * 2. Which names there may be is a closed list: a backup is no way to write elsewhere than into its store.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { markerName } from "./level-marker.ts";
import { readNumber, writeNumber } from "./record.ts";
import { StoreError } from "./store.ts";

const magic = Buffer.from("STINTBAK", "latin1");
export const archiveVersion = 1;
const headBytes = magic.length + 4;
const fileHeadBytes = 11;
const endBytes = 1 + 4 + 8 + 32;
const kinds = { file: 1, end: 255 } as const;
const pieceBytes = 256 * 1024;
const names = new RegExp(
  `^(${markerName.replaceAll(".", "\\.")}|db/(CURRENT|MANIFEST-\\d{1,18}|\\d{1,18}\\.(ldb|sst|log)))$`,
);

/** A file to be put into a backup. */
export interface ArchivedFile {
  readonly name: string;
  readonly length: number;
  /** Its bytes, as many as `length` says. */
  pieces(): AsyncIterable<Buffer>;
}

/** The bytes of a backup, piece by piece. */
export async function* archivePieces(files: readonly ArchivedFile[]): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  let length = 0;
  const counted = (bytes: Buffer): Buffer => {
    hash.update(bytes);
    length += bytes.length;
    return bytes;
  };
  const head = Buffer.alloc(headBytes);
  magic.copy(head);
  head.writeUInt32BE(archiveVersion, magic.length);
  yield counted(head);
  for (const file of files) {
    const name = Buffer.from(file.name, "latin1");
    const fileHead = Buffer.alloc(fileHeadBytes);
    fileHead[0] = kinds.file;
    fileHead.writeUInt16BE(name.length, 1);
    writeNumber(fileHead, 3, file.length);
    yield counted(Buffer.concat([fileHead, name]));
    let left = file.length;
    for await (const piece of file.pieces()) {
      left -= piece.length;
      yield counted(piece);
    }
    if (left !== 0) throw new StoreError("UNAVAILABLE", `${file.name} has changed while it was read`);
  }
  const end = Buffer.alloc(endBytes);
  end[0] = kinds.end;
  end.writeUInt32BE(files.length, 1);
  writeNumber(end, 5, length);
  hash.update(end.subarray(0, -32));
  hash.digest().copy(end, endBytes - 32);
  yield end;
}

/** The bytes of a file up to a length, in pieces. */
export async function* filePieces(path: string, length: number): AsyncGenerator<Buffer> {
  const handle = await open(path, "r");
  try {
    yield* rangePieces(handle, 0, length);
  } finally {
    await handle.close();
  }
}

async function* rangePieces(handle: FileHandle, start: number, length: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < length; ) {
    const piece = Buffer.allocUnsafe(Math.min(pieceBytes, length - at));
    const { bytesRead } = await handle.read(piece, 0, piece.length, start + at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}

/** A backup that is whole: each of its bytes was read and is in its sum. */
export interface Archive extends AsyncDisposable {
  readonly names: readonly string[];
  readonly bytes: number;
  lengthOf(name: string): number;
  pieces(name: string): AsyncIterable<Buffer>;
  read(name: string): Promise<Buffer>;
}

/** Opens a backup and checks all of it. Throws StoreError DAMAGED, and what reading the file does. */
export async function openArchive(path: string): Promise<Archive> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const places = await findPlaces(handle, path, size);
    await checkSum(handle, path, size);
    const placeOf = (name: string): Place => {
      const place = places.get(name);
      if (place === undefined) throw notWhole(path, `it has no ${name}`);
      return place;
    };
    const pieces = (name: string): AsyncIterable<Buffer> => {
      const { start, length } = placeOf(name);
      return rangePieces(handle, start, length);
    };
    return {
      names: [...places.keys()],
      bytes: size,
      lengthOf: (name) => placeOf(name).length,
      pieces,
      async read(name) {
        const all: Buffer[] = [];
        for await (const piece of pieces(name)) all.push(piece);
        return Buffer.concat(all);
      },
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

interface Place {
  readonly start: number;
  readonly length: number;
}

async function findPlaces(handle: FileHandle, path: string, size: number): Promise<Map<string, Place>> {
  const head = await readAt(handle, 0, headBytes);
  if (head === undefined || !head.subarray(0, magic.length).equals(magic))
    throw notWhole(path, "it is no backup of a store");
  const version = head.readUInt32BE(magic.length);
  if (version !== archiveVersion) {
    throw notWhole(path, `it is of format ${version}; this version reads format ${archiveVersion}`);
  }
  const places = new Map<string, Place>();
  for (let at = headBytes; ; ) {
    const kind = (await readAt(handle, at, 1))?.[0];
    if (kind === kinds.end) {
      const end = await readAt(handle, at, endBytes);
      if (end === undefined || at + endBytes !== size) throw notWhole(path, "it does not end where it should");
      if (end.readUInt32BE(1) !== places.size || readNumber(end, 5) !== at)
        throw notWhole(path, "its end is of another");
      return places;
    }
    const fileHead = kind === kinds.file ? await readAt(handle, at, fileHeadBytes) : undefined;
    if (fileHead === undefined) throw notWhole(path, "it was cut short, or has changed");
    const nameLength = fileHead.readUInt16BE(1);
    const name = (await readAt(handle, at + fileHeadBytes, nameLength))?.toString("latin1");
    if (name === undefined || !names.test(name) || places.has(name))
      throw notWhole(path, "a file in it has a wrong name");
    const place = { start: at + fileHeadBytes + nameLength, length: readNumber(fileHead, 3) };
    at = place.start + place.length;
    if (at > size) throw notWhole(path, "it was cut short, or has changed");
    places.set(name, place);
  }
}

async function checkSum(handle: FileHandle, path: string, size: number): Promise<void> {
  const hash = createHash("sha256");
  for await (const piece of rangePieces(handle, 0, size - 32)) hash.update(piece);
  const sum = await readAt(handle, size - 32, 32);
  if (sum === undefined || !hash.digest().equals(sum)) throw notWhole(path, "its SHA-256 is not what its end says");
}

async function readAt(handle: FileHandle, at: number, length: number): Promise<Buffer | undefined> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, at);
  return bytesRead === length ? bytes : undefined;
}

function notWhole(path: string, what: string): StoreError {
  return new StoreError("DAMAGED", `the backup ${path} cannot be used: ${what}`);
}
