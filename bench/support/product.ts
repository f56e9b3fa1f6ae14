/**
 * The product as it is shipped: the build in dist/, which `npm run bench` has just made. What tsx makes of src/ is not
 * that: it names every closure each time one is made, which costs some percent.
 */
import type * as product from "../../src/index.ts";

const built = new URL("../../dist/index.js", import.meta.url).href;
export const { openController, openStore } = (await import(built)) as typeof product;
