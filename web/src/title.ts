// The window's title, which the shell may set.

const LONGEST = 120;

/** What of a title is shown: one line of bounded length, without characters that control or reorder text. */
export function cleanTitle(title: string): string {
  const clean = title
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
    .replace(/ +/g, ' ')
    .trim();
  const characters = [...clean];
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST - 1).join('')}…` : clean;
}

/** The whole title: the shell's, and which shell it is. `rang`: a bell has rung that nobody has seen. */
export function windowTitle(title: string, shell: string, rang: boolean): string {
  return (rang ? '• ' : '') + (title === '' ? shell : `${title} — ${shell}`);
}
