// A reload, with xterm.js itself: what was drawn before and what comes after must look as if nothing had happened.

import { SerializeAddon } from '@xterm/addon-serialize';
import { Terminal } from '@xterm/headless';
import type { Terminal as BrowserTerminal } from '@xterm/xterm';
import { beforeEach, expect, test, vi } from 'vitest';
import { ModeTracker } from '../src/modes';
import { Output } from '../src/output';
import { decodeSnapshot, encodeSnapshot, type Snapshot, serializeScreen, store, take } from '../src/snapshot';

const encode = (text: string) => new TextEncoder().encode(text);

/** A terminal as the page has it, without a browser. */
class Page {
  readonly terminal = new Terminal({ cols: 40, rows: 8, scrollback: 100, allowProposedApi: true });
  private readonly serializer = new SerializeAddon();
  private readonly modes: ModeTracker;
  private readonly output: Output;

  constructor() {
    // The headless terminal lacks only what has to do with a browser.
    const terminal = this.terminal as unknown as BrowserTerminal;
    terminal.loadAddon(this.serializer);
    this.modes = new ModeTracker(terminal);
    this.output = new Output(terminal);
  }

  async print(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.output.write(bytes, () => {});
    await new Promise<void>((done) => this.terminal.write('', done));
  }

  async reload(): Promise<Page> {
    const page = new Page();
    const terminal = this.terminal as unknown as BrowserTerminal;
    const screen = serializeScreen(terminal, this.serializer, 100) + this.modes.serialize();
    page.output.restore(screen, this.output.tail, () => {});
    await new Promise<void>((done) => page.terminal.write('', done));
    return page;
  }

  /** What the terminal answers when a program asks for its modes, its scroll region and the cursor's shape. */
  async answers(): Promise<string> {
    let answers = '';
    const listener = this.terminal.onData((data) => {
      answers += data;
    });
    const modes = [1, 6, 7, 25, 1000, 1002, 1003, 1004, 1006, 1016, 1049, 2004];
    await this.print(encode(`${modes.map((mode) => `\x1b[?${mode}$p`).join('')}\x1bP$qr\x1b\\\x1bP$q q\x1b\\`));
    listener.dispose();
    return answers;
  }

  /** Everything a person could see. */
  get state() {
    const { buffer, modes } = this.terminal;
    const { active } = buffer;
    const lines = Array.from({ length: active.length }, (_, y) => {
      const line = active.getLine(y);
      return Array.from({ length: this.terminal.cols }, (_, x) => {
        const cell = line?.getCell(x);
        return `${cell?.getChars() || ' '}${cell?.getFgColor()}/${cell?.getBgColor()}/${cell?.isBold()}`;
      }).join('|');
    });
    return { type: active.type, x: active.cursorX, y: active.cursorY, base: active.baseY, lines, modes: { ...modes } };
  }
}

const SCREENS: [name: string, output: string][] = [
  ['a prompt', '\x1b[1;32muser@vm\x1b[0m:\x1b[34m~\x1b[0m$ ls\r\na  b  c\r\n$ '],
  ['more than a screen', `${Array.from({ length: 30 }, (_, i) => `line ${i}\r\n`).join('')}$ `],
  ['wrapped lines', `${'0123456789'.repeat(9)}\r\nend`],
  ['colours that go on', '\x1b[38;2;1;2;3;48;5;17mstill coloured'],
  ['an editor', '\x1b[?1049h\x1b[?1h\x1b[?2004h\x1b[?1002;1006h\x1b[2J\x1b[3;5Hedit\x1b[8;1H-- INSERT --\x1b[3;9H'],
  ['line drawing', '\x1b(0lqqk\r\nx  x'],
  ['a scroll region', `\x1b[2;5r\x1b[5;1Hone\r\ntwo\r\n`],
  ['a line filled to its end', '0123456789'.repeat(4)],
  ['a last line filled to its end', `${'\r\n'.repeat(20)}${'0123456789'.repeat(4)}`],
  ['a saved cursor', 'ab\x1b7\x1b[5;5Hcd'],
  ['origin mode', '\x1b[3;6r\x1b[?6h\x1b[2;2Hx'],
  ['the alternate screen, with text before', 'before\r\n$ vi\r\n\x1b[?1049h\x1b[Hfull'],
  ['colours that go on in the alternate screen', 'before\x1b[?1049h\x1b[H1\r\n2\x1b[44mcoloured'],
  ['insert mode', 'abc\x1b[4h\x1b[1;2H'],
  ['a wide character at the edge', `${'x'.repeat(39)}漢`],
  ['an empty screen, cursor below', '\x1b[6;7H'],
  ['erased in a colour', '\x1b[44m\x1b[2J\x1b[H\x1b[0mx'],
  ['a hidden cursor and another shape', '\x1b[?25l\x1b[4 q$ '],
];
const AFTER = '\x1b[32mafter\x1b[0m\r\nqqq\r\n\n\n\nmore\x1b[2;2Hhere';

test.each(SCREENS)('%s looks the same after a reload, and so does what follows', async (_, output) => {
  const page = new Page();
  await page.print(encode(output));
  const reloaded = await page.reload();
  expect(reloaded.state).toEqual(page.state);
  expect(await reloaded.answers()).toEqual(await page.answers());
  await page.print(encode(AFTER));
  await reloaded.print(encode(AFTER));
  expect(reloaded.state).toEqual(page.state);
});

test('a reload at any byte of the output changes nothing', async () => {
  const output = encode('a\x1b[1;31mré\x1b[0m\x1b]0;ti…tle\x07b\x1b(0q\x1b(B\x1bP1$r0m\x1b\\漢\x1b[5;3Hx\x1b[?25l👍y');
  const undisturbed = new Page();
  await undisturbed.print(output);
  for (let at = 0; at <= output.length; at++) {
    const first = new Page();
    let parsed = 0;
    // biome-ignore lint/complexity/useLiteralKeys: the page does not show it
    first['output'].write(output.slice(0, at), (count) => {
      parsed += count;
    });
    await first.print(new Uint8Array(0));
    const second = await first.reload();
    await second.print(output.slice(parsed));
    expect(second.state, `cut at ${at}`).toEqual(undisturbed.state);
  }
});

const SNAPSHOT: Snapshot = {
  kept: { token: 'ab', received: 12, input: 3, unacknowledged: Uint8Array.of(0, 255, 10) },
  cols: 80,
  rows: 24,
  screen: '\x1b[31mred “”',
  tail: Uint8Array.of(0x1b, 0x5b),
  title: 'vim',
};

class FakeStorage {
  readonly items = new Map<string, string>();
  limit = Number.POSITIVE_INFINITY;
  getItem = (key: string) => this.items.get(key) ?? null;
  removeItem = (key: string) => this.items.delete(key);
  setItem = (key: string, value: string) => {
    if (value.length > this.limit) throw new DOMException('full', 'QuotaExceededError');
    this.items.set(key, value);
  };
}
let storage: FakeStorage;
beforeEach(() => {
  storage = new FakeStorage();
  vi.stubGlobal('sessionStorage', storage);
});

test('a snapshot survives being kept, and is found once', () => {
  store('/a/b/', SNAPSHOT);
  expect(take('/a/c/')).toBeUndefined();
  expect(take('/a/b/')).toEqual(SNAPSHOT);
  expect(take('/a/b/')).toBeUndefined();
});

test('without room for the screen, the session is kept', () => {
  storage.limit = 1000;
  store('/a/b/', { ...SNAPSHOT, screen: 'x'.repeat(2000) });
  expect(take('/a/b/')).toEqual({ ...SNAPSHOT, screen: '' });
});

test('what is no snapshot is none', () => {
  const whole = JSON.parse(encodeSnapshot(SNAPSHOT));
  for (const json of [
    '',
    '3',
    'null',
    '[]',
    ...Object.keys(whole).map((key) => JSON.stringify({ ...whole, [key]: {} })),
  ]) {
    expect(decodeSnapshot(json), json).toBeUndefined();
  }
});

test('a screen that is too large loses its oldest lines', async () => {
  const page = new Terminal({ cols: 200, rows: 10, scrollback: 15_000, allowProposedApi: true });
  const serializer = new SerializeAddon();
  (page as unknown as BrowserTerminal).loadAddon(serializer);
  page.write(Array.from({ length: 15_000 }, (_, i) => `${i} ${'x'.repeat(150)}\r\n`).join(''));
  await new Promise<void>((done) => page.write('', done));
  const screen = serializeScreen(page as unknown as BrowserTerminal, serializer, 15_000);
  expect(screen.length).toBeLessThanOrEqual(2_000_000);
  expect(screen.length).toBeGreaterThan(1_000_000);
  expect(screen).toContain('14999 x');
  expect(screen).not.toContain('\n5 x');
});
