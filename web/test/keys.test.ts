import { expect, test } from 'vitest';
import { actionOf, type Key } from '../src/keys';

function press(combination: string): Key {
  const parts = combination.split(' ');
  const key = parts.at(-1) ?? '';
  return {
    key,
    code: /^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : key,
    ctrlKey: parts.includes('Ctrl'),
    shiftKey: parts.includes('Shift'),
    altKey: parts.includes('Alt'),
    metaKey: parts.includes('Cmd'),
  };
}

test.each([
  ['Ctrl Shift C', 'copy'],
  ['Ctrl Insert', 'copy'],
  ['Ctrl Shift V', 'browser'],
  ['Shift Insert', 'browser'],
  ['Ctrl Shift F', 'find'],
  ['Ctrl =', 'larger'],
  ['Ctrl -', 'smaller'],
  ['Ctrl 0', 'usual-size'],
  ['Ctrl Shift F6', 'toolbar'],
])('%s is the page’s', (combination, action) => {
  expect(actionOf(press(combination), false)).toBe(action);
});

test.each(['Ctrl c', 'Ctrl v', 'Ctrl w', 'Ctrl Alt c', 'Insert', 'F6', 'Alt f', 'c', 'Enter', 'Ctrl Shift Insert'])(
  '%s is the shell’s',
  (combination) => {
    expect(actionOf(press(combination), false)).toBeUndefined();
  },
);

test('on a Mac, Command does what Ctrl-Shift does elsewhere, and Ctrl is the shell’s', () => {
  expect(actionOf(press('Cmd c'), true)).toBe('copy');
  expect(actionOf(press('Cmd v'), true)).toBe('browser');
  expect(actionOf(press('Cmd f'), true)).toBe('find');
  expect(actionOf(press('Cmd ='), true)).toBe('larger');
  expect(actionOf(press('Ctrl Shift C'), true)).toBeUndefined();
  expect(actionOf(press('Ctrl -'), true)).toBeUndefined();
});
