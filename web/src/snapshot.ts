// What the page keeps in session storage over a reload: the session, the screen, and where both stand. It is shown to whom the
// gateway lets go on with the session, and to nobody else.

import type { SerializeAddon } from '@xterm/addon-serialize';
import type { IBufferCell, Terminal } from '@xterm/xterm';
import type { Kept } from './connection';

/** Most characters of a serialized screen; session storage holds about 5 million per origin. */
const MAX_SCREEN = 2_000_000;

/** A session and its screen, as of one output position. */
export interface Snapshot {
  readonly kept: Kept;
  readonly cols: number;
  readonly rows: number;
  /** Sequences that draw the screen and what scrolled off it. */
  readonly screen: string;
  /** Output bytes of a control sequence that is not complete. */
  readonly tail: Uint8Array<ArrayBuffer>;
  readonly title: string;
}

/** Serializes the screen with as much of the scrollback as fits. */
export function serializeScreen(terminal: Terminal, serializer: SerializeAddon, scrollback: number): string {
  let screen = serializer.serialize({ scrollback });
  for (let lines = scrollback; screen.length > MAX_SCREEN && lines > 0; ) {
    lines = Math.floor((lines * MAX_SCREEN * 0.9) / screen.length);
    screen = serializer.serialize({ scrollback: lines });
  }
  // The serialize addon ends the first buffer with the style in effect: the second would be filled with its background.
  const styled = screen.replace('\x1b[?1049h', '\x1b[0m$&');
  return styled.length > MAX_SCREEN ? '' : styled + backdrop(terminal);
}

/** Draws the coloured background of empty rows at the end of the screen, which the serialize addon leaves out. */
function backdrop(terminal: Terminal): string {
  const { active } = terminal.buffer;
  let drawn = '';
  for (let row = terminal.rows; row > 0; row--) {
    const line = active.getLine(active.baseY + row - 1);
    const first = line?.getCell(0);
    if (!line || !first || line.translateToString(true) !== '') break;
    const colour = background(first);
    if (colour !== undefined) drawn += `\x1b[${row}H\x1b[${colour}m\x1b[2K`;
  }
  return drawn === '' ? '' : `\x1b7\x1b[0m${drawn}\x1b8`;
}

/** The SGR parameters of a cell's background (ECMA-48, ISO 8613-6); undefined for the default one. */
function background(cell: IBufferCell): string | undefined {
  const colour = cell.getBgColor();
  if (cell.isBgRGB()) return `48;2;${colour >>> 16};${(colour >>> 8) & 0xff};${colour & 0xff}`;
  return cell.isBgPalette() ? `48;5;${colour}` : undefined;
}

/** Keeps a snapshot for this path; without its screen when storage is too full, not at all when there is no storage. */
export function store(path: string, snapshot: Snapshot): void {
  for (const screen of [snapshot.screen, '']) {
    try {
      sessionStorage.setItem(keyOf(path), encodeSnapshot({ ...snapshot, screen }));
      return;
    } catch {
      forget(path);
    }
  }
}

/** Takes the snapshot of this path out of storage, so that a copy of this tab does not find it. */
export function take(path: string): Snapshot | undefined {
  try {
    const json = sessionStorage.getItem(keyOf(path));
    forget(path);
    return json === null ? undefined : decodeSnapshot(json);
  } catch {
    return undefined;
  }
}

/** Forgets the snapshot of this path. */
export function forget(path: string): void {
  try {
    sessionStorage.removeItem(keyOf(path));
  } catch {
    // Storage is switched off: there is nothing to forget.
  }
}

/** Forgets the snapshots of all paths below `base`. */
export function forgetAll(base: string): void {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(keyOf(base))) sessionStorage.removeItem(key);
  } catch {
    // Storage is switched off: there is nothing to forget.
  }
}

/** Forgets the snapshots below `base` unless they are this user's, as far as this tab knows. */
export function forgetOthers(base: string, user: string): void {
  try {
    const key = `webshell.user:${base}`;
    const before = sessionStorage.getItem(key);
    if (before !== null && before !== user) forgetAll(base);
    sessionStorage.setItem(key, user);
  } catch {
    // Storage is switched off: there is nothing to forget.
  }
}

function keyOf(path: string): string {
  return `webshell.session:${path}`;
}

/** As JSON. */
export function encodeSnapshot(snapshot: Snapshot): string {
  const { token, received, input, unacknowledged } = snapshot.kept;
  const { cols, rows, screen, title } = snapshot;
  return JSON.stringify({
    token,
    received,
    input,
    unacknowledged: toBase64(unacknowledged),
    cols,
    rows,
    screen,
    tail: toBase64(snapshot.tail),
    title,
  });
}

/** From JSON; undefined when it is not a snapshot. */
export function decodeSnapshot(json: string): Snapshot | undefined {
  try {
    const stored = JSON.parse(json) as Record<string, unknown>;
    const { token, received, input, cols, rows, screen, title } = stored;
    if (typeof token !== 'string' || typeof screen !== 'string' || typeof title !== 'string') return undefined;
    if (!isCount(received) || !isCount(input) || !isCount(cols) || !isCount(rows)) return undefined;
    const kept = { token, received, input, unacknowledged: fromBase64(stored.unacknowledged) };
    return { kept, cols: Math.max(1, cols), rows: Math.max(1, rows), screen, tail: fromBase64(stored.tail), title };
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function toBase64(bytes: Uint8Array): string {
  let binary = '';
  // In pieces: a call takes only so many arguments.
  for (let at = 0; at < bytes.length; at += 0x2000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x2000));
  return btoa(binary);
}

function fromBase64(text: unknown): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(String(text)), (character) => character.charCodeAt(0));
}
