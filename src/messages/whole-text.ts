/**
 * Has protobuf-es leave texts as they are: by itself it takes a byte order mark away with which a text begins, so that an id was
 * read as another, and metadata was not kept byte for byte. Imported by whatever decodes calls or what is stored; it holds for the whole process.
 */
import { configureTextEncoding } from "@bufbuild/protobuf/wire";

const encoder = new TextEncoder();
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

configureTextEncoding({
  encodeUtf8: (text) => encoder.encode(text),
  decodeUtf8: (bytes, isStrict) => (isStrict === true ? strict : lenient).decode(bytes),
  checkUtf8: (text) => text.isWellFormed(),
});
