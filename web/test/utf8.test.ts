import { Terminal } from '@xterm/headless';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Utf8Cutter } from '../src/utf8';

const encode = (text: string) => new TextEncoder().encode(text);

test('text split at every byte reaches the terminal whole', async () => {
  const text = 'é…“”\u3000漢\u{1f000}👍🏽';
  const bytes = encode(text);
  for (let at = 0; at <= bytes.length; at++) {
    const terminal = new Terminal({ cols: 40, rows: 2, allowProposedApi: true });
    const cutter = new Utf8Cutter();
    for (const piece of [...cutter.cut(bytes.slice(0, at)), ...cutter.cut(bytes.slice(at))]) terminal.write(piece);
    await new Promise<void>((done) => terminal.write('', done));
    expect(terminal.buffer.active.getLine(0)?.translateToString(true), `split at ${at}`).toBe(text);
  }
});

test('any bytes in any pieces are passed on unchanged, cut between characters', () => {
  const stream = fc.array(
    fc.oneof(
      fc.string({ unit: 'grapheme' }).map(encode),
      fc.uint8Array({ maxLength: 6 }).map((bytes) => bytes.slice()),
    ),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(stream, (chunks) => {
      const cutter = new Utf8Cutter();
      const out = chunks.flatMap((chunk) => cutter.cut(chunk as Uint8Array<ArrayBuffer>));
      const all = chunks.flatMap((chunk) => [...chunk]);
      const passed = out.flatMap((piece) => [...piece]);
      expect(passed).toEqual(all.slice(0, passed.length));
      expect(all.length - passed.length).toBeLessThanOrEqual(3);
      for (const piece of out) expect(piece.length).toBeGreaterThan(0);
    }),
  );
});
