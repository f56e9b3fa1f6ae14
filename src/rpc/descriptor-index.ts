/**
 * What reflection knows: the files that declare the served services, and all that
 * those files import, with their comments; every name in them.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

export interface DescriptorIndex {
  /** The file of that name and all that it imports, itself first, each as the bytes of a FileDescriptorProto. */
  file(name: string): IndexedFile[] | undefined;
  /** The same for the file that declares the symbol: a service, method, message, field, oneof, enum, enum value or extension. */
  fileOfSymbol(symbol: string): IndexedFile[] | undefined;
  /** The same for the file that declares that extension of a message. */
  fileOfExtension(message: string, number: number): IndexedFile[] | undefined;
  /** The numbers of all extensions of a message, rising; undefined if there is no such message. */
  extensionNumbers(message: string): number[] | undefined;
}

export interface IndexedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * `descriptorSet` is a google.protobuf.FileDescriptorSet. Only what is reachable from
 * `services` and from the files `also` is in the index. Throws when something of these is missing.
 */
export function createDescriptorIndex(
  descriptorSet: Uint8Array,
  options: { services: readonly string[]; also?: readonly string[] },
): DescriptorIndex {
  const all = new Map(fromBinary(FileDescriptorSetSchema, descriptorSet).file.map((file) => [file.name, file]));
  const roots = [...options.services.map((service) => fileOfService(all, service)), ...(options.also ?? [])];
  const files = new Map<string, FileDescriptorProto>();
  for (const root of roots) for (const file of withImports(all, root)) files.set(file.name, file);

  const bytes = new Map<string, Uint8Array>();
  const symbols = new Map<string, string>();
  const messages = new Set<string>();
  const extensions = new Map<string, Map<number, string>>();
  for (const file of files.values()) {
    bytes.set(file.name, toBinary(FileDescriptorProtoSchema, file));
    addFile(file, {
      symbol: (name) => symbols.set(name, file.name),
      message: (name) => messages.add(name),
      extension(field) {
        const extendee = field.extendee.replace(/^\./, "");
        const numbers = extensions.get(extendee) ?? new Map<number, string>();
        extensions.set(extendee, numbers.set(field.number, file.name));
      },
    });
  }

  function withBytes(name: string | undefined): IndexedFile[] | undefined {
    if (name === undefined || !files.has(name)) return undefined;
    return withImports(files, name).map((each) => ({
      name: each.name,
      bytes: bytes.get(each.name) as Uint8Array,
    }));
  }

  return {
    file: withBytes,
    fileOfSymbol: (symbol) => withBytes(symbols.get(symbol.replace(/^\./, ""))),
    fileOfExtension: (message, number) => withBytes(extensions.get(message.replace(/^\./, ""))?.get(number)),
    extensionNumbers(message) {
      const name = message.replace(/^\./, "");
      if (!messages.has(name)) return undefined;
      return [...(extensions.get(name)?.keys() ?? [])].sort((a, b) => a - b);
    },
  };
}

function fileOfService(files: ReadonlyMap<string, FileDescriptorProto>, service: string): string {
  for (const file of files.values()) {
    if (file.service.some((each) => qualify(file.package, each.name) === service)) return file.name;
  }
  throw new Error(`the descriptors have no service ${service}; they have to be generated again`);
}

/** The file and all that it imports, directly or not, itself first, each once. */
function withImports(files: ReadonlyMap<string, FileDescriptorProto>, root: string): FileDescriptorProto[] {
  const found = new Map<string, FileDescriptorProto>();
  const waiting = [root];
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    if (found.has(name)) continue;
    const file = files.get(name);
    if (file === undefined) throw new Error(`the descriptors have no file ${name}; they have to be generated again`);
    found.set(name, file);
    waiting.push(...file.dependency);
  }
  return [...found.values()];
}

interface NameSink {
  symbol(name: string): void;
  message(name: string): void;
  extension(field: FieldDescriptorProto): void;
}

function addFile(file: FileDescriptorProto, sink: NameSink): void {
  for (const message of file.messageType) addMessage(message, file.package, sink);
  for (const each of file.enumType) addEnum(each, file.package, sink);
  for (const field of file.extension) addExtension(field, file.package, sink);
  for (const service of file.service) {
    const name = qualify(file.package, service.name);
    sink.symbol(name);
    for (const method of service.method) sink.symbol(qualify(name, method.name));
  }
}

function addMessage(message: DescriptorProto, scope: string, sink: NameSink): void {
  const name = qualify(scope, message.name);
  sink.symbol(name);
  sink.message(name);
  for (const field of message.field) sink.symbol(qualify(name, field.name));
  for (const oneof of message.oneofDecl) sink.symbol(qualify(name, oneof.name));
  for (const nested of message.nestedType) addMessage(nested, name, sink);
  for (const each of message.enumType) addEnum(each, name, sink);
  for (const field of message.extension) addExtension(field, name, sink);
}

/** An enum's values are siblings of the enum, as in C++; by the enum's own name they are found too. */
function addEnum(desc: EnumDescriptorProto, scope: string, sink: NameSink): void {
  const name = qualify(scope, desc.name);
  sink.symbol(name);
  for (const value of desc.value) {
    sink.symbol(qualify(scope, value.name));
    sink.symbol(qualify(name, value.name));
  }
}

function addExtension(field: FieldDescriptorProto, scope: string, sink: NameSink): void {
  sink.symbol(qualify(scope, field.name));
  sink.extension(field);
}

function qualify(scope: string, name: string): string {
  return scope === "" ? name : `${scope}.${name}`;
}
