import { describe, expect, test } from "vitest";
import { renderBanner } from "../../../src/cli/text/banner.ts";

const view = {
  version: "1.2.3",
  address: "127.0.0.1:7846",
  controllers: ["checksum", "countdown"],
  store: "level:/data/stint",
  program: "stint",
  defaultServer: "127.0.0.1:7846",
};

describe("the banner", () => {
  test("shows what to paste next", () => {
    expect(renderBanner(view)).toEqual([
      "Stint 1.2.3 serves at 127.0.0.1:7846. Tasks are kept in /data/stint.",
      "Controllers: checksum, countdown",
      "",
      "Launch a task, and watch it:",
      `  grpcurl -plaintext -d '{"controller":"countdown","task_id":"demo","metadata":{"limit":50}}' 127.0.0.1:7846 stint.v1.TaskControllerService/LaunchTask`,
      "  stint watch countdown demo",
      "",
      "Or both in one:",
      `  stint launch countdown demo --metadata '{"limit":50}' --watch`,
      "",
    ]);
  });

  test.each([
    ["0.0.0.0:80", "127.0.0.1:80"],
    ["[::]:80", "127.0.0.1:80"],
    ["10.0.0.1:80", "10.0.0.1:80"],
  ])("names a server that can be reached where it listens at %s", (address, server) => {
    const text = renderBanner({ ...view, address }).join("\n");
    expect(text).toContain(`stint watch countdown demo --server ${server}`);
    expect(text).toContain(` ${server} stint.v1.`);
  });

  test("says what is missing where there is no controller", () => {
    expect(renderBanner({ ...view, controllers: [] })[1]).toBe(
      "It has no controllers: name some in a file, and start it with --config FILE.",
    );
  });
});
