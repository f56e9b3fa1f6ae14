// docs/api.md: every call, its messages and an example that can be pasted, out of the comments in proto/.
import { createFileRegistry, fromBinary, fromJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { examples } from "./api-examples.mjs";

const address = "localhost:7846";
const serviceNames = ["stint.v1.TaskControllerService", "stint.v1.TaskRunnerService", "stint.v1.StoreService"];

/** Messages of these packages are explained here; of others the name is enough. */
const packages = ["stint.v1", "core.v1"];

// Field numbers of google/protobuf/descriptor.proto, of which the paths of comments are made.
const path = { message: 4, enum: 5, service: 6, nested: 3, nestedEnum: 4, field: 2, oneof: 8, method: 2, value: 2 };

/** The text of docs/api.md. `descriptors` are those of gen/descriptors.binpb. Throws for an example that is no such request. */
export function renderApi(descriptors) {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors));
  const services = serviceNames.map((name) => registry.getService(name));
  // The messages that are shown with their call, and where.
  const shown = new Map();
  for (const { methods } of services)
    for (const { input, output, name } of methods)
      for (const { typeName } of [input, output]) shown.set(typeName, name);
  return `<!-- Made by \`npm run generate\` from proto/ and scripts/api-examples.mjs. Edit those. -->

# The API

Every call, with its messages and an example for [grpcurl](https://github.com/fullstorydev/grpcurl) that can be pasted, in this order, while the server of \`npm start\` runs. The
same service speaks Connect: \`curl -H 'content-type: application/json' -d '{}' http://${address}/stint.v1.TaskControllerService/GetServerInfo\`. Fields have
the names of the proto here; in JSON \`taskId\` is taken as well as \`task_id\`.

${services.map((service) => renderService(service, registry, shown)).join("\n")}
## Messages

${renderRest(registry, shown)}`;
}

function renderService(service, registry, shown) {
  const calls = service.methods.map((method) => renderMethod(method, registry, shown));
  return `## ${service.name}\n\n${commentOf(service)}\n\n${calls.join("\n")}`;
}

function renderMethod(method, registry, shown) {
  const takesStream = method.methodKind === "bidi_streaming";
  const isStream = takesStream || method.methodKind === "server_streaming";
  return `### ${method.name}

${commentOf(method)}

${renderExample(method, registry)}
*${takesStream ? "Stream of requests, each" : "Request"}*: ${lowerFirst(commentOf(method.input))}

${renderFields(method.input, shown)}
*${isStream ? "Stream of" : "Answer"}*: ${lowerFirst(commentOf(method.output))}

${renderFields(method.output, shown)}`;
}

function renderExample(method, registry) {
  const example = examples[method.name];
  if (example === undefined) throw new Error(`scripts/api-examples.mjs has no example of ${method.name}`);
  fromJson(method.input, example.request, { registry });
  const flags = ["-plaintext", example.flags, ...requestOf(example.request)].filter(Boolean).join(" ");
  const note = example.note === undefined ? "" : `\n${example.note}\n`;
  return `\`\`\`sh\ngrpcurl ${flags} ${address} ${method.parent.typeName}/${method.name}\n\`\`\`\n${note}`;
}

function requestOf(request) {
  const json = JSON.stringify(request);
  return json === "{}" ? [] : ["-d", `'${json}'`];
}

function renderFields(message, shown) {
  if (message.fields.length === 0) return "";
  const rows = message.members.flatMap((member) =>
    member.kind === "oneof" ? renderOneof(member, shown) : [renderField(member, shown)],
  );
  return `| field | type | |\n| --- | --- | --- |\n${rows.join("\n")}\n`;
}

function renderField(field, shown) {
  return `| \`${field.name}\` | ${typeOf(field, shown)} | ${cell(commentOf(field))} |`;
}

/** A row for the choice, and one for each field of it. */
function renderOneof(oneof, shown) {
  const choices = oneof.fields.map(({ name }) => `\`${name}\``).join(" or ");
  const head = `| *${oneof.name}* | oneof: ${choices} | ${cell(commentOf(oneof))} |`;
  return [head, ...oneof.fields.map((field) => renderField(field, shown))];
}

/** The messages and enums that the calls lead to and that were not shown with them. */
function renderRest(registry, shown) {
  const found = new Map();
  const visit = (type) => {
    if (type === undefined || found.has(type.typeName) || !packages.includes(type.file.proto.package)) return;
    found.set(type.typeName, type);
    if (type.kind === "message") for (const field of type.fields) visit(typeOfField(field));
  };
  for (const name of shown.keys()) visit(registry.getMessage(name));
  visit(registry.getEnum("stint.v1.ErrorReason"));
  const rest = [...found.values()].filter(({ typeName }) => !shown.has(typeName));
  rest.sort((a, b) => (a.typeName < b.typeName ? -1 : 1));
  return rest.map((type) => `### ${type.typeName}\n\n${commentOf(type)}\n\n${renderType(type, shown)}`).join("\n");
}

function renderType(type, shown) {
  if (type.kind === "message") return renderFields(type, shown);
  const rows = type.values.map((value) => `| \`${value.name}\` | ${value.number} | ${cell(commentOf(value))} |`);
  return `| value | number | |\n| --- | --- | --- |\n${rows.join("\n")}\n`;
}

function typeOfField(field) {
  return field.message ?? field.enum;
}

function typeOf(field, shown) {
  const kind =
    field.fieldKind === "list" ? field.listKind : field.fieldKind === "map" ? field.mapKind : field.fieldKind;
  const single = kind === "scalar" ? scalarOf(field.scalar) : linked(typeOfField(field), shown);
  if (field.fieldKind === "list") return `${single}, repeated`;
  if (field.fieldKind === "map") return `map of ${scalarOf(field.mapKey)} to ${single}`;
  return field.proto.proto3Optional ? `${single}, optional` : single;
}

function linked(type, shown) {
  const isHere = packages.includes(type.file.proto.package);
  const heading = shown.get(type.typeName) ?? type.typeName;
  return isHere ? `[${type.name}](#${heading.toLowerCase().replaceAll(".", "")})` : type.typeName;
}

/** Names by their number in FieldDescriptorProto.Type. */
function scalarOf(scalar) {
  const names = { 1: "double", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes", 13: "uint32" };
  return names[scalar] ?? String(scalar);
}

/** The comment above a declaration, as one paragraph for each that it has. */
function commentOf(desc) {
  const wanted = pathOf(desc).join();
  const found = fileOf(desc).proto.sourceCodeInfo?.location.find((location) => location.path.join() === wanted);
  const lines = (found?.leadingComments ?? "").split("\n").map((line) => line.trim());
  return lines
    .join("\n")
    .trim()
    .split(/\n{2,}/)
    .map((paragraph) => paragraph.replaceAll("\n", " "))
    .join("\n\n");
}

function fileOf(desc) {
  return desc.file ?? desc.parent.file;
}

function pathOf(desc) {
  switch (desc.kind) {
    case "service":
      return [path.service, desc.file.services.indexOf(desc)];
    case "rpc":
      return [...pathOf(desc.parent), path.method, desc.parent.methods.indexOf(desc)];
    case "message":
      return desc.parent === undefined
        ? [path.message, desc.file.messages.indexOf(desc)]
        : [...pathOf(desc.parent), path.nested, nestedIndex(desc)];
    case "enum":
      return desc.parent === undefined
        ? [path.enum, desc.file.enums.indexOf(desc)]
        : [...pathOf(desc.parent), path.nestedEnum, desc.parent.nestedEnums.indexOf(desc)];
    case "field":
      return [...pathOf(desc.parent), path.field, desc.parent.fields.indexOf(desc)];
    case "oneof":
      return [...pathOf(desc.parent), path.oneof, desc.parent.oneofs.indexOf(desc)];
    default:
      return [...pathOf(desc.parent), path.value, desc.parent.values.indexOf(desc)];
  }
}

/** Its place among all nested types: those that stand for the entries of a map are counted, too. */
function nestedIndex(desc) {
  return desc.parent.proto.nestedType.findIndex(({ name }) => name === desc.name);
}

function cell(text) {
  return text.replaceAll("|", "\\|").replaceAll("\n\n", " ");
}

function lowerFirst(text) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
