import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 20_000,
    // Two cores are what there is; the end-to-end tests start servers of their own.
    maxWorkers: 2,
    // To load all modules anew for each file took a tenth of the time. What a test changes for its whole process it puts back.
    isolate: false,
  },
});
