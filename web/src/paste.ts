// Makes text from the clipboard safe and fit to be pasted.

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const MARKS = /(?:\x1b\[|\x9b)20[01]~/g;

/**
 * Removes the marks that begin and end a bracketed paste (GHSA-h62m-39wp-xq3w): text that holds one could leave the
 * brackets and be run. Where removing them makes new ones, every character that could begin one goes too.
 */
export function sanitizePaste(text: string): string {
  const clean = text.replace(MARKS, '');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return clean.search(MARKS) === -1 ? clean : clean.replace(/[\x1b\x9b]/g, '');
}

/** How many lines a shell would run or begin: line ends, and the rest after the last. */
export function pastedLines(text: string): number {
  const ends = text.match(/\r\n|\r|\n/g)?.length ?? 0;
  return ends + (/[\r\n]$/.test(text) ? 0 : 1);
}

/** Whether to ask first: a program that does not mark pastes would run each line at once. */
export function needsQuestion(text: string, bracketed: boolean): boolean {
  return !bracketed && /[\r\n]/.test(text);
}
