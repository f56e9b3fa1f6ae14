import { describe, expect, test } from "vitest";
import { renderBanner } from "../../../src/cli/text/banner.ts";

const view = {
  version: "1.2.3",
  address: "127.0.0.1:7846",
  controllers: [
    { name: "checksum", metadata: {} },
    { name: "countdown", metadata: {} },
  ],
  store: "level:/data/stint",
  program: "stint",
  tls: undefined,
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

  test("has commands trust the certificate of a server with TLS, by a name that is in it", () => {
    const tls = { certFile: "/etc/it's/cert.pem", address: "stint.example.com:7846" };
    const commands = renderBanner({ ...view, tls }).filter((line) => line.startsWith("  "));
    const file = `'/etc/it'\\''s/cert.pem'`;
    expect(commands).toEqual([
      expect.stringMatching(/^ {2}grpcurl -cacert '.* stint\.example\.com:7846 stint\.v1\..*LaunchTask$/),
      `  stint watch countdown demo --server https://stint.example.com:7846 --ca ${file}`,
      `  stint launch countdown demo --metadata '{"limit":50}' --watch --server https://stint.example.com:7846 --ca ${file}`,
    ]);
    const text = renderBanner({ ...view, tls: { ...tls, address: undefined } }).join("\n");
    expect(text).toContain("  grpcurl -insecure -d '");
    expect(text).not.toContain("stint watch");
    expect(text).toContain("--server https://NAME:PORT --ca FILE");
  });

  test("has a controller tried whose tasks need nothing, and names what they need where all do", () => {
    const archive = { name: "archive", metadata: { path: "PATH" } };
    const nothing = renderBanner({ ...view, controllers: [archive, { name: "sh", metadata: {} }] });
    expect(nothing.join("\n")).toContain("Launch a task, and watch it:");
    expect(nothing).toContain("  stint launch sh demo --metadata '{}' --watch");
    const needy = renderBanner({ ...view, controllers: [archive] });
    expect(needy.slice(1, 5)).toEqual([
      "Controllers: archive",
      "",
      "Launch a task, with values for what its command needs, and watch it:",
      `  grpcurl -plaintext -d '{"controller":"archive","task_id":"demo","metadata":{"path":"PATH"}}' 127.0.0.1:7846 stint.v1.TaskControllerService/LaunchTask`,
    ]);
    expect(needy).toContain(`  stint launch archive demo --metadata '{"path":"PATH"}' --watch`);
  });

  test("says what is missing where there is no controller", () => {
    expect(renderBanner({ ...view, controllers: [] })[1]).toBe(
      "It is configured with no controllers: runners that connect make theirs, and a file can name others (--config FILE).",
    );
  });
});
