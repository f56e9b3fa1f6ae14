/** The messages as a reader knows them that was built before Stint: the table's fields, and the package that Go has. */
import { create, createFileRegistry, type DescMessage } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorSetSchema,
  file_google_protobuf_timestamp,
} from "@bufbuild/protobuf/wkt";

const { ENUM, INT32, MESSAGE, STRING, UINT64 } = FieldDescriptorProto_Type;
const { OPTIONAL, REPEATED } = FieldDescriptorProto_Label;

function field(name: string, number: number, type: FieldDescriptorProto_Type, typeName = "", label = OPTIONAL) {
  return { name, jsonName: name, number, type, typeName, label };
}

const timestamp = field("timestamp", 3, MESSAGE, ".google.protobuf.Timestamp");
const states = ["Unknown", "Pending", "Running", "Completed", "Failed", undefined, "Canceled"];

const files = create(FileDescriptorSetSchema, {
  file: [
    file_google_protobuf_timestamp.proto,
    {
      name: "old_core.proto",
      package: "core",
      syntax: "proto3",
      dependency: [file_google_protobuf_timestamp.proto.name],
      enumType: [
        {
          name: "TaskState",
          value: states.flatMap((name, number) => (name === undefined ? [] : [{ name, number }])),
        },
      ],
      messageType: [
        { name: "Progress", field: [field("current", 1, UINT64), field("total", 2, UINT64)] },
        { name: "LogEntry", field: [field("msg", 1, STRING), field("level", 2, INT32), timestamp] },
        { name: "StateTransition", field: [field("state", 1, ENUM, ".core.TaskState"), timestamp] },
        {
          name: "TaskStatus",
          field: [
            field("state", 1, ENUM, ".core.TaskState"),
            field("progress", 2, MESSAGE, ".core.Progress"),
            field("metadata", 3, STRING),
            field("logs", 4, MESSAGE, ".core.LogEntry", REPEATED),
            field("transitions", 5, MESSAGE, ".core.StateTransition", REPEATED),
          ],
        },
      ],
    },
  ],
});

export const oldTaskStatusSchema = createFileRegistry(files).getMessage("core.TaskStatus") as DescMessage;
