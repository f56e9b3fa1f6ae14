/** How many launches a call has: many, so that they are more work for the server than for who sends them. */
export const batchSize = 50;
