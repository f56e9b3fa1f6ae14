// What Temporal's worker runs: as little as can be started and have a result.
export async function nothing() {}
