// Text of a machine, made plain: nothing in it controls, hides or reorders what is seen.

const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** One line, without characters that are not seen themselves. */
export function plainLine(text: string): string {
  return text.replace(UNSEEN, ' ').replace(/ +/g, ' ').trim();
}

/** The same of several lines; their ends stay, and so do spaces, by which texts are drawn. */
export function plainText(text: string): string {
  return text
    .split(/\r\n|\r|\n/)
    .map((line) => line.replace(UNSEEN, ' ').trimEnd())
    .join('\n')
    .replace(/^\n+|\n+$/g, '');
}
