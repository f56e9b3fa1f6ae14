/**
 * Has protobuf-es leave texts as they are: by itself it takes a byte order mark away with which a text begins, so that an id was
 * read as another, and metadata was not kept byte for byte. Imported by whatever decodes calls or what is stored; it holds for the whole process.
 */
import { configureTextEncoding } from "@bufbuild/protobuf/wire";

const encoder = new TextEncoder();
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
/** Throws where it is no text, and takes nothing away from one that is. */
export const strictUtf8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

configureTextEncoding({
  encodeUtf8: (text) => encoder.encode(text),
  decodeUtf8: (bytes, isStrict) => (isStrict === true ? strictUtf8 : lenient).decode(bytes),
  checkUtf8: (text) => text.isWellFormed(),
});
