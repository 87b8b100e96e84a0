// The small pure parts: settings, titles, addresses, the list, words for states.

import { expect, test } from 'vitest';
import { retryDelay } from '../src/backoff';
import { placeOf, readShells } from '../src/gateway';
import { DEFAULTS, parseSettings } from '../src/settings';
import { duration, isLive, statusText, takesInput } from '../src/status';
import { cleanTitle, windowTitle } from '../src/title';

test('settings out of bounds or of the wrong type take their default, the others stay', () => {
  for (const broken of [null, '', '{', '[]', 'null', '3', '"x"']) expect(parseSettings(broken)).toEqual(DEFAULTS);
  const stored = { theme: 'blue', fontSize: 400, scrollback: 500, bellSound: 'no', copyOnSelect: true, extra: 1 };
  expect(parseSettings(JSON.stringify(stored))).toEqual({ ...DEFAULTS, scrollback: 500, copyOnSelect: true });
});

test('settings survive being kept', () => {
  const changed = { ...DEFAULTS, theme: 'dark', fontSize: 20, bellSound: false, confirmPaste: false } as const;
  expect(parseSettings(JSON.stringify(changed))).toEqual(changed);
});

test('a title is one short line without characters that control or reorder text', () => {
  expect(cleanTitle('vim\x07 \x1b]a\nb\u202ec\u200bd')).toBe('vim ]a b c d');
  expect([...cleanTitle('漢'.repeat(500))].length).toBe(120);
  expect(windowTitle('', 'a/b', false)).toBe('a/b');
  expect(windowTitle('vim', 'a/b', true)).toBe('• vim — a/b');
});

test('the place is read from the path', () => {
  expect(placeOf('/')).toEqual({ base: '/', shell: undefined });
  expect(placeOf('/team-a/')).toEqual({ base: '/team-a/', shell: undefined });
  expect(placeOf('/team-a/db-1/')).toEqual({ base: '/team-a/', shell: { namespace: 'team-a', name: 'db-1' } });
});

test('what is no shell of this origin is left out of the list', () => {
  const shell = { namespace: 'a', name: 'b', path: '/a/b/', target: 'u@h:22', ready: true, message: '' };
  const strange = [null, 3, {}, { ...shell, path: '//evil.example/' }, { ...shell, path: 'javascript:alert(1)' }];
  expect(readShells({ shells: [...strange, shell] })).toEqual([shell]);
  expect(readShells({})).toEqual([]);
  expect(readShells(null)).toEqual([]);
});

test('the wait between tries is immediate first, then doubles up to a bound', () => {
  expect([0, 1, 2, 3, 10].map((attempt) => retryDelay(attempt, 1))).toEqual([0, 1000, 2000, 4000, 30_000]);
  expect(retryDelay(3, 0)).toBe(2000);
});

test('only a session that goes on is worth asking about, and takes input', () => {
  const waiting = { kind: 'waiting', retryAt: 5000 } as const;
  expect(isLive({ ...waiting, resuming: true })).toBe(true);
  expect(isLive({ ...waiting, resuming: false })).toBe(false);
  expect(isLive({ kind: 'gone' })).toBe(false);
  expect(takesInput({ kind: 'taken-over' })).toBe(false);
  expect(takesInput({ ...waiting, resuming: false })).toBe(true);
  expect(statusText({ ...waiting, resuming: true }, 1500)).toBe('Connection lost, next try in 4 s');
});

test('durations are told in the unit that people use', () => {
  expect(duration(1)).toBe('1 second');
  expect(duration(119)).toBe('119 seconds');
  expect(duration(600)).toBe('10 minutes');
  expect(duration(8 * 3600)).toBe('8 hours');
});
