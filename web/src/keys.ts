// The keys that the page takes for itself; every other goes to the shell.

/** What a key of the page does. `browser` leaves it to the browser. */
export type Action = 'copy' | 'browser' | 'find' | 'larger' | 'smaller' | 'usual-size' | 'toolbar';

/** The parts of a keyboard event that matter. */
export interface Key {
  readonly key: string;
  readonly code: string;
  readonly ctrlKey: boolean;
  readonly shiftKey: boolean;
  readonly altKey: boolean;
  readonly metaKey: boolean;
}

/** What this key does in the page; undefined when it is the shell's. */
export function actionOf(key: Key, mac: boolean): Action | undefined {
  if (key.altKey) return undefined;
  const command = mac ? key.metaKey && !key.ctrlKey : key.ctrlKey && !key.metaKey;
  if (key.ctrlKey && key.shiftKey && key.key === 'F6') return 'toolbar';
  if (!mac && key.key === 'Insert' && !key.metaKey) {
    if (key.ctrlKey && !key.shiftKey) return 'copy';
    if (key.shiftKey && !key.ctrlKey) return 'browser';
  }
  if (!command) return undefined;
  // The position decides, so that they work with every keyboard layout.
  if (key.shiftKey || mac) {
    if (key.code === 'KeyC') return 'copy';
    if (key.code === 'KeyV') return 'browser';
    if (key.code === 'KeyF') return 'find';
  }
  if (key.key === '=' || key.key === '+') return 'larger';
  if (key.key === '-') return 'smaller';
  if (key.key === '0' && !key.shiftKey) return 'usual-size';
  return undefined;
}

/** The page's keys in words, for the settings. */
export function keyHelp(mac: boolean): readonly (readonly [string, string])[] {
  const command = mac ? '⌘ ' : 'Ctrl ';
  const shifted = mac ? '⌘ ' : 'Ctrl Shift ';
  return [
    [`${shifted}C`, 'copy the selection'],
    [`${shifted}V`, 'paste'],
    [`${shifted}F`, 'search'],
    [`${command}+  ${command}−  ${command}0`, 'larger, smaller, usual text'],
    ['Ctrl Shift F6', 'to the toolbar; Esc leads back'],
  ];
}

/** Whether this is a Mac (or an iPad, which has the same keyboard). */
export function isMac(): boolean {
  return /mac|ipad|iphone/i.test(navigator.platform);
}
