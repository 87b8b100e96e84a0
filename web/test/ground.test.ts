import { Terminal } from '@xterm/headless';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GroundScanner, MAX_OPEN } from '../src/ground';
import { Utf8Cutter } from '../src/utf8';

const encode = (text: string) => new TextEncoder().encode(text);

/** What is left open after this output. */
function tailOf(text: string): string {
  const scanner = new GroundScanner();
  scanner.scan(encode(text));
  return new TextDecoder().decode(scanner.tail);
}

test.each([
  ['plain text', 'hello\r\n', ''],
  ['a finished colour', 'a\x1b[31mred', ''],
  ['an escape', 'a\x1b', '\x1b'],
  ['a colour cut in its parameters', 'a\x1b[38;2;1', '\x1b[38;2;1'],
  ['a control character inside a sequence acts at once', 'a\x1b[3\r1', '\x1b[31'],
  ['a private mode', '\x1b[?104', '\x1b[?104'],
  ['a title', '\x1b]0;vim', '\x1b]0;vim'],
  ['a title ended by BEL', '\x1b]0;vim\x07x', ''],
  ['the ESC of a string terminator: the string has taken effect', '\x1b]0;vim\x1b', '\x1b'],
  ['a title ended by ESC \\', '\x1b]0;vim\x1b\\', ''],
  ['a device control string', '\x1bPq#0;2;0', '\x1bPq#0;2;0'],
  ['a charset designation', '\x1b(', '\x1b('],
  ['a sequence cancelled by CAN', '\x1b[31\x18', ''],
  ['a sequence restarted', '\x1b[31\x1b[4', '\x1b[4'],
  ['C1 forms', '\u009b3', '\u009b3'],
  ['a C1 title ended by C1 ST', '\u009d0;x\u009c', ''],
  ['other characters that begin with C2', '§°', ''],
])('%s', (_, text, tail) => {
  expect(tailOf(text)).toBe(tail);
});

test('an endless string keeps a bounded tail that still opens it', () => {
  const scanner = new GroundScanner();
  scanner.scan(encode(`\x1bPq${'x'.repeat(3 * MAX_OPEN)}`));
  expect(scanner.tail.length).toBe(MAX_OPEN);
  scanner.scan(encode('\x1b\\'));
  expect(scanner.tail.length).toBe(0);
});

/** The state of xterm.js' parser. The one place that looks inside it: the scanner claims to agree with it. */
async function parserState(...chunks: Uint8Array[]) {
  const terminal = new Terminal({ cols: 80, rows: 24, logLevel: 'off' });
  for (const chunk of chunks) terminal.write(chunk);
  await new Promise<void>((done) => terminal.write('', done));
  // biome-ignore lint/suspicious/noExplicitAny: not part of its public interface
  const parser = (terminal as any)._core._inputHandler._parser;
  const state: number = parser.currentState;
  const sequence = state >= 1 && state <= 6;
  return { state, ...(sequence && { collect: parser._collect, params: parser._params.toArray() }) };
}

test('feeding the tail to a new terminal puts its parser into the same state', async () => {
  const piece = fc.oneof(
    fc.constantFrom('\x1b', '\x1b[', '\x1b]', '\x1bP', '\x1b(', '\x1b_', '\u009b', '\u009d', '\u0090', '\u009c'),
    fc.constantFrom('0', '1', ';', ':', '?', '>', '$', ' ', 'q', 'm', 'H', '\\', '\x07', '\x18', '\x7f', '\n', '\r'),
    fc.constantFrom('é', '漢', '👍', '\u0301', '\u00a0', '\ufeff', 'text'),
  );
  const stream = fc.oneof(
    fc.array(piece, { maxLength: 12 }).map((pieces) => encode(pieces.join(''))),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => bytes.slice()),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(stream, { maxLength: 3 }), async (chunks) => {
      const cutter = new Utf8Cutter();
      const parsed = chunks.flatMap((chunk) => cutter.cut(chunk as Uint8Array<ArrayBuffer>));
      const scanner = new GroundScanner();
      for (const chunk of parsed) scanner.scan(chunk);
      expect(await parserState(scanner.tail)).toEqual(await parserState(...parsed));
    }),
    { numRuns: 300 },
  );
});
