export function servePage(port?: number): Promise<{ readonly port: number; close(): void }>;
