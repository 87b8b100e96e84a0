// The key of a log-in with a printed ticket (docs/protocol.md, "With a printed ticket"). Browsers send a host's cookies to all of its
// ports, which others may serve; storage is this origin's alone.

const STORED = 'webshell.key';

/** What a WebSocket offers besides the subprotocol that it is to speak. */
const SUBPROTOCOL = 'webshell.key.';

/** Keeps the key of a new log-in, for all tabs. */
export function storeKey(key: string): void {
  try {
    localStorage.setItem(STORED, key);
  } catch {
    // Without storage nobody stays logged in: the page says so as soon as it asks for something.
  }
}

/** Forgets the key. */
export function forgetKey(): void {
  try {
    localStorage.removeItem(STORED);
  } catch {
    // There is nothing to forget.
  }
}

/** The header that says the key with a request; none where nobody logged in with a ticket. */
export function keyHeaders(): Record<string, string> {
  const key = storedKey();
  return key === undefined ? {} : { 'WebShell-Key': key };
}

/** The subprotocols that say it with a WebSocket. */
export function keyOffers(): readonly string[] {
  const key = storedKey();
  return key === undefined ? [] : [SUBPROTOCOL + key];
}

function storedKey(): string | undefined {
  try {
    return readKey(localStorage.getItem(STORED));
  } catch {
    return undefined;
  }
}

/** A key, and nothing that could not stand in a header. */
export function readKey(value: unknown): string | undefined {
  return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value) ? value : undefined;
}
