// The small pure parts: settings, titles, addresses, the list, words for states.

import { expect, test } from 'vitest';
import { retryDelay } from '../src/backoff';
import { matches, namespacesOf } from '../src/filter';
import { placeOf, readListing, readLoginPath, readSession, sentence } from '../src/gateway';
import { plainText } from '../src/plain';
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
  expect(windowTitle('Log in — WebShell', 'a/b', true)).toBe('• a/b — Log in — WebShell');
});

test('text of a machine is plain, line by line', () => {
  expect(plainText('\r\n\x1b[2JLog in\u202e\r\n\r\n to\u200b WebShell\x07\n')).toBe(' [2JLog in\n\n to  WebShell');
  expect(plainText('<b>bold</b>')).toBe('<b>bold</b>');
});

test('the place is read from the path', () => {
  expect(placeOf('/')).toEqual({ base: '/', shell: undefined });
  expect(placeOf('/team-a/')).toEqual({ base: '/team-a/', shell: undefined });
  expect(placeOf('/-/authorize')).toEqual({ base: '/', shell: undefined });
  expect(placeOf('/-/logout')).toEqual({ base: '/', shell: undefined, leaving: true });
  expect(placeOf('/team-a/db-1/')).toEqual({ base: '/team-a/', shell: { namespace: 'team-a', name: 'db-1' } });
});

test('what is no shell is left out of the list', () => {
  const shell = { namespace: 'a', name: 'b', target: 'u@h:22', ready: true, message: '' };
  for (const url of ['/a/b/', 'https://a.shell.example.com/a/b/'])
    expect(readListing({ shells: [{ ...shell, url }] }).shells).toEqual([{ ...shell, href: url }]);
  const strange = ['//evil.example/', '/\\evil.example/', 'javascript:alert(1)', 'https:///', '', 3, undefined];
  const shells = [null, 3, {}, ...strange.map((url) => ({ ...shell, url }))];
  for (const list of [{ shells }, {}, null]) expect(readListing(list)).toEqual({ shells: [], complete: true });
  expect(readListing({ shells, complete: false }).complete).toBe(false);
});

test('a log-in leads to a path of this origin only', () => {
  expect(readLoginPath({ login: '/team-a/-/login' })).toBe('/team-a/-/login');
  for (const login of [
    undefined,
    null,
    3,
    '',
    '/',
    '//evil.example',
    '/\\evil.example',
    'https://evil.example',
    'javascript:1',
  ]) {
    expect(readLoginPath({ login })).toBeUndefined();
  }
  expect(readLoginPath(undefined)).toBeUndefined();
});

test('a session tells who is logged in, at a gateway or at the portal', () => {
  const none = { user: undefined, portal: undefined, tokenAudience: undefined };
  expect(readSession(null)).toEqual(none);
  expect(readSession({ user: 'ada', portal: 'javascript:1', namespaces: [] })).toEqual({ ...none, user: 'ada' });
  const portal = 'https://shell.example.com';
  expect(readSession({ user: 'ada', portal })).toEqual({ ...none, user: 'ada', portal });
  expect(readSession({ user: null, tokenAudience: 'webshell.dev' })).toEqual({
    ...none,
    tokenAudience: 'webshell.dev',
  });
});

test('a refusal is shown as a sentence', () => {
  expect(sentence('the token is not valid\n')).toBe('The token is not valid.');
  expect(sentence('Already one.\nmore')).toBe('Already one.');
  expect(sentence('')).toBe('The answer was empty.');
});

test('a search finds shells by all of its words, in one namespace or in all', () => {
  const shell = (namespace: string, name: string, target: string) => ({
    namespace,
    name,
    target,
    href: '/',
    ready: true,
    message: '',
  });
  const shells = [shell('team-b', 'web', 'ops@10.0.0.9:22'), shell('team-a', 'db-1', ''), shell('team-a', 'web', '')];
  const found = (search: string, namespace = '') =>
    shells.filter((one) => matches(one, search, namespace)).map((one) => `${one.namespace}/${one.name}`);
  expect(found('')).toHaveLength(3);
  expect(found(' WEB  team-a ')).toEqual(['team-a/web']);
  expect(found('10.0.0.9')).toEqual(['team-b/web']);
  expect(found('web', 'team-b')).toEqual(['team-b/web']);
  expect(found('team-a/d')).toEqual(['team-a/db-1']);
  expect(namespacesOf(shells)).toEqual(['team-a', 'team-b']);
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
