import fc from 'fast-check';
import { expect, test } from 'vitest';
import { needsQuestion, pastedLines, sanitizePaste } from '../src/paste';

test.each([
  ['text is left alone', 'ls -la\n\tx é 漢', 'ls -la\n\tx é 漢'],
  ['other escapes are left alone', '\x1b[31mred', '\x1b[31mred'],
  ['the end of a paste is removed', 'a\x1b[201~; rm -rf ~', 'a; rm -rf ~'],
  ['the beginning too', '\x1b[200~a', 'a'],
  ['and their C1 forms', 'a\x9b201~b\x9b200~c', 'abc'],
  ['a mark hidden in a mark leaves none', 'a\x1b[20\x1b[201~1~b', 'a[201~b'],
])('%s', (_, text, clean) => {
  expect(sanitizePaste(text)).toBe(clean);
});

test('no text leaves the brackets, however it is built', () => {
  const piece = fc.constantFrom('\x1b', '\x9b', '[', '2', '0', '1', '~', '201~', '\x1b[201~', '\x9b200~', 'x');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      expect(sanitizePaste(pieces.join(''))).not.toMatch(/(?:\x1b\[|\x9b)20[01]~/);
    }),
    { numRuns: 2000 },
  );
});

test('a large paste of nested marks takes no time to speak of', () => {
  const nested = `${'\x1b[20'.repeat(100_000)}${'1~'.repeat(100_000)}`;
  expect(sanitizePaste(nested)).not.toContain('\x1b[201~');
});

test('lines are counted as a shell would run them', () => {
  expect(pastedLines('a')).toBe(1);
  expect(pastedLines('a\n')).toBe(1);
  expect(pastedLines('a\r\nb')).toBe(2);
  expect(pastedLines('a\rb\n')).toBe(2);
});

test('only what would be run at once is asked about', () => {
  expect(needsQuestion('a', false)).toBe(false);
  expect(needsQuestion('a\n', false)).toBe(true);
  expect(needsQuestion('a\nb', true)).toBe(false);
});
