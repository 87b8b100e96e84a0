// The gateway's HTTP side (docs/protocol.md, "Log-in"): who am I, which shells, and exchanging a ticket.

/** A shell that the user may open. */
export interface Shell {
  readonly namespace: string;
  readonly name: string;
  readonly path: string;
  readonly target: string;
  readonly ready: boolean;
  readonly message: string;
}

/** Where the page is: the list of shells, or one of them. */
export interface Place {
  /** What everything but the shells lies under: `/` or `/<namespace>/`. */
  readonly base: string;
  readonly shell: { readonly namespace: string; readonly name: string } | undefined;
}

/** Reads a path such as `/`, `/<namespace>/` or `/<namespace>/<name>/`. */
export function placeOf(path: string): Place {
  const [namespace, name] = path.split('/').filter((part) => part !== '');
  if (!namespace) return { base: '/', shell: undefined };
  const base = `/${namespace}/`;
  return {
    base,
    shell:
      name === undefined ? undefined : { namespace: decodeURIComponent(namespace), name: decodeURIComponent(name) },
  };
}

/** An answer, in the three ways that matter to the page. */
export type Answer<Value> = { readonly kind: 'ok'; readonly value: Value } | { readonly kind: 'login' | 'unreachable' };

/** The ticket in the fragment of the address; it is taken out, so that it stays in no history and no bookmark. */
export function takeTicket(): string | undefined {
  const ticket = new URLSearchParams(location.hash.slice(1)).get('ticket');
  if (ticket === null) return undefined;
  history.replaceState(history.state, '', location.pathname + location.search);
  return ticket;
}

/** Exchanges a ticket for a session cookie. */
export function logIn(base: string, ticket: string): Promise<Answer<undefined>> {
  const body = JSON.stringify({ ticket });
  const headers = { 'Content-Type': 'application/json' };
  return ask(`${base}-/session`, { method: 'POST', headers, body }, async () => undefined);
}

/** Whether the gateway knows who this is. */
export function whoAmI(base: string): Promise<Answer<undefined>> {
  return ask(`${base}-/session`, {}, async () => undefined);
}

/** The shells that the user may open. */
export function listShells(base: string): Promise<Answer<readonly Shell[]>> {
  return ask(`${base}-/shells`, {}, async (response) => readShells(await response.json()));
}

async function ask<Value>(
  url: string,
  request: RequestInit,
  read: (response: Response) => Promise<Value>,
): Promise<Answer<Value>> {
  try {
    const response = await fetch(url, { ...request, cache: 'no-store', signal: AbortSignal.timeout(10_000) });
    if (response.status === 401) return { kind: 'login' };
    if (!response.ok) return { kind: 'unreachable' };
    return { kind: 'ok', value: await read(response) };
  } catch {
    return { kind: 'unreachable' };
  }
}

/** Reads the list; entries that are not shells are left out. */
export function readShells(json: unknown): readonly Shell[] {
  const shells = (json as { shells?: unknown } | null)?.shells;
  if (!Array.isArray(shells)) return [];
  return shells.flatMap((item: Record<string, unknown> | null) => {
    const { namespace, name, path, target, ready, message } = item ?? {};
    // A path of this origin, and nothing that a link could turn into another address.
    if (typeof path !== 'string' || !/^\/[^/\\]/.test(path)) return [];
    const text = (value: unknown) => (typeof value === 'string' ? value : '');
    return [
      {
        namespace: text(namespace),
        name: text(name),
        path,
        target: text(target),
        ready: ready === true,
        message: text(message),
      },
    ];
  });
}
