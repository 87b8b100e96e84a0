// The HTTP side of gateway and portal (docs/protocol.md, "Log-in"): who am I, which shells, and logging in and out.

import { forgetKey, keyHeaders, readKey, storeKey } from './loginkey';

/** A shell that the user may open. */
export interface Shell {
  readonly namespace: string;
  readonly name: string;
  /** Its page: a path, or a whole address where it is on another host. */
  readonly href: string;
  readonly target: string;
  readonly ready: boolean;
  readonly message: string;
}

/** The shells that the user may open. */
export interface Listing {
  readonly shells: readonly Shell[];
  /** Whether they are all; otherwise some were not asked about yet, and the list may grow. */
  readonly complete: boolean;
}

/** Where the page is: the list of shells, or one of them. */
export interface Place {
  /** What everything but the shells lies under: `/` or `/<namespace>/`. */
  readonly base: string;
  readonly shell: { readonly namespace: string; readonly name: string } | undefined;
  /** The page of the portal where one logs out. */
  readonly leaving?: true;
}

/** Who is logged in, and where. */
export interface Session {
  /** Nobody is, where this is undefined. */
  readonly user: string | undefined;
  /** The portal that a gateway belongs to. */
  readonly portal: string | undefined;
  /** At a portal: what a token must be made for to log in with. */
  readonly tokenAudience: string | undefined;
}

/** How a log-in went: `refused` with the reason. */
export type LogIn = { readonly kind: 'ok' | 'unreachable' } | { readonly kind: 'refused'; readonly message: string };

/** Reads a path such as `/`, `/<namespace>/` or `/<namespace>/<name>/`. */
export function placeOf(path: string): Place {
  const [namespace, name] = path.split('/').filter((part) => part !== '');
  // What is below `/-/` is the portal's own.
  if (namespace === '-') return { base: '/', shell: undefined, ...(name === 'logout' ? { leaving: true } : {}) };
  if (!namespace) return { base: '/', shell: undefined };
  const base = `/${namespace}/`;
  return { base, shell: name === undefined ? undefined : { namespace, name } };
}

/** An answer, in the three ways that matter to the page. `path` is where one logs in. */
export type Answer<Value> =
  | { readonly kind: 'ok'; readonly value: Value }
  | { readonly kind: 'login'; readonly path: string | undefined }
  | { readonly kind: 'unreachable' };

/** The ticket in the fragment of the address; it is taken out, so that it stays in no history and no bookmark. */
export function takeTicket(): string | undefined {
  const ticket = new URLSearchParams(location.hash.slice(1)).get('ticket');
  if (ticket === null) return undefined;
  history.replaceState(history.state, '', location.pathname + location.search);
  return ticket;
}

/** Exchanges a ticket for a session cookie and its key. */
export function logIn(base: string, ticket: string): Promise<Answer<undefined>> {
  const body = JSON.stringify({ ticket });
  const headers = { 'Content-Type': 'application/json' };
  return ask(`${base}-/session`, { method: 'POST', headers, body }, async (response) => {
    // Where everybody may come in there is none.
    const key = response.status === 200 ? readKey((await response.json()).key) : undefined;
    if (key !== undefined) storeKey(key);
    return undefined;
  });
}

/** Exchanges a token for a session cookie, at the portal. */
export async function logInWithToken(token: string): Promise<LogIn> {
  const request = {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token }),
    signal: AbortSignal.timeout(30_000),
  };
  try {
    const response = await fetch('/-/login', request);
    if (response.ok) return { kind: 'ok' };
    return { kind: 'refused', message: sentence(await response.text()) };
  } catch {
    return { kind: 'unreachable' };
  }
}

/** Ends the log-in at a gateway, and the terminals that were opened by it. */
export function endLogIn(base: string): Promise<Answer<undefined>> {
  return ask(`${base}-/session`, { method: 'DELETE' }, async () => {
    forgetKey();
    return undefined;
  });
}

/** Ends the log-in at the portal. */
export function logOutOfPortal(): Promise<Answer<undefined>> {
  return ask('/-/logout', { method: 'POST' }, async () => undefined);
}

/** Who this is to the gateway, or to the portal. */
export function whoAmI(base: string): Promise<Answer<Session>> {
  return ask(`${base}-/session`, {}, async (response) => readSession(await response.json()));
}

/** The shells that the user may open. */
export function listShells(base: string): Promise<Answer<Listing>> {
  return ask(`${base}-/shells`, {}, async (response) => readListing(await response.json()));
}

async function ask<Value>(
  url: string,
  request: RequestInit & { headers?: Record<string, string> },
  read: (response: Response) => Promise<Value>,
): Promise<Answer<Value>> {
  try {
    const headers = { ...request.headers, ...keyHeaders() };
    const response = await fetch(url, { ...request, headers, cache: 'no-store', signal: AbortSignal.timeout(10_000) });
    if (response.status === 401) return { kind: 'login', path: await loginPath(response) };
    if (!response.ok) return { kind: 'unreachable' };
    return { kind: 'ok', value: await read(response) };
  } catch {
    return { kind: 'unreachable' };
  }
}

async function loginPath(response: Response): Promise<string | undefined> {
  if (!response.headers.get('Content-Type')?.includes('json')) return undefined;
  return readLoginPath(await response.json().catch(() => undefined));
}

/** Reads where one logs in: a path of this origin, or nothing. */
export function readLoginPath(json: unknown): string | undefined {
  const login = (json as { login?: unknown } | null | undefined)?.login;
  return typeof login === 'string' && isPath(login) ? login : undefined;
}

/** Reads who is logged in. */
export function readSession(json: unknown): Session {
  const { user, portal, tokenAudience } = (json ?? {}) as Record<string, unknown>;
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);
  const origin = text(portal);
  return {
    user: text(user),
    portal: origin !== undefined && isWeb(origin) ? origin : undefined,
    tokenAudience: text(tokenAudience),
  };
}

/** A path of this origin, and nothing that a link could turn into another address. */
function isPath(text: string): boolean {
  return /^\/[^/\\]/.test(text);
}

function isWeb(address: string): boolean {
  return /^https?:\/\/[^/]/.test(address);
}

/** The first line of an answer as a sentence. */
export function sentence(text: string): string {
  const line = text.trim().split('\n')[0]?.slice(0, 400) || 'the answer was empty';
  return `${line[0]?.toUpperCase()}${line.slice(1)}${/[.!?]$/.test(line) ? '' : '.'}`;
}

/** Reads the list; entries that are not shells are left out. */
export function readListing(json: unknown): Listing {
  const { shells, complete } = (json ?? {}) as Record<string, unknown>;
  return { shells: Array.isArray(shells) ? shells.flatMap(readShell) : [], complete: complete !== false };
}

function readShell(item: Record<string, unknown> | null): Shell[] {
  const { namespace, name, url, target, ready, message } = item ?? {};
  if (typeof url !== 'string' || !(isPath(url) || isWeb(url))) return [];
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  return [
    {
      namespace: text(namespace),
      name: text(name),
      href: url,
      target: text(target),
      ready: ready === true,
      message: text(message),
    },
  ];
}
