// The window's title, of which the shell may set a part.

import { plainLine } from './plain';

const LONGEST = 120;

/** What of a title is shown: one line of bounded length, without characters that control or reorder text. */
export function cleanTitle(title: string): string {
  const clean = plainLine(title);
  const characters = [...clean];
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST - 1).join('')}…` : clean;
}

/** The whole title: which shell it is, and what the shell says. `rang`: a bell has rung that nobody has seen. */
export function windowTitle(title: string, shell: string, rang: boolean): string {
  // Ours comes first: a machine must not look like another page.
  return (rang ? '• ' : '') + (title === '' ? shell : `${shell} — ${title}`);
}
