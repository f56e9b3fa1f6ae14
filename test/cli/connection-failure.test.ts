import { expect, test } from "vitest";
import { explainConnectionFailure } from "../../src/cli/connection-failure.ts";

const mismatch = "Error [ERR_TLS_CERT_ALTNAME_INVALID]: Hostname/IP does not match certificate's altnames: ";

test.each([
  ["Host: vm. is not in the cert's altnames: DNS:a.example, IP Address:10.0.0.1", "vm, but for a.example, 10.0.0.1"],
  ["IP: 127.0.0.2 is not in the cert's list: 127.0.0.1", "127.0.0.2, but for 127.0.0.1"],
  ["IP: 127.0.0.2 is not in the cert's list: ", "127.0.0.2"],
  ["Host: vm. is not cert's CN: a.example", "vm, but for a.example"],
])("a certificate for another server is told as whom it is for: %s", (reason, whom) => {
  const message = `No connection established. Last error: ${mismatch}${reason}. Resolution note: `;
  expect(explainConnectionFailure(message, "https://vm:1")).toEqual({
    why: `its certificate is not for ${whom}`,
    hints: ["name the server as its certificate does: --server https://NAME:PORT"],
  });
});
