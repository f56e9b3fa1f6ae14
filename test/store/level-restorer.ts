/** A process that restores a backup until it is killed: level-restorer.ts BACKUP DIRECTORY. */
import { fileURLToPath } from "node:url";
import { restoreBackup } from "../../src/store/maintenance.ts";

/** What is started as that process. */
export const restorerPath = fileURLToPath(import.meta.url);

if (process.argv[1] === restorerPath) {
  const [, , backup = "", directory = ""] = process.argv;
  await restoreBackup(backup, directory);
}
