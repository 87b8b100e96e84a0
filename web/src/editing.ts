// Keys, copying and pasting: what of them is the page's, and what goes to the shell.

import type { Terminal } from '@xterm/xterm';
import { confirmPaste } from './dialogs';
import { type Action, actionOf, isMac } from './keys';
import { needsQuestion, pastedLines, sanitizePaste } from './paste';
import type { Settings } from './settings';
import { copyText } from './terminal';

/** What the keys of the page lead to. */
export interface Editing {
  readonly settings: () => Settings;
  /** Does what a key asks for, other than copying. */
  readonly act: (action: Exclude<Action, 'copy' | 'browser'>) => void;
  /** A key while no session is open; true when it was used. */
  readonly idleKey: (event: KeyboardEvent) => boolean;
  /** Says something in passing. */
  readonly remark: (text: string) => void;
}

/** How long a selection rests, in ms, before it is copied on its own: while dragging it changes all the time. */
const SELECTION_REST = 150;

/** Takes the page's keys, and every paste, before the terminal sees them. */
export function attachEditing(terminal: Terminal, host: HTMLElement, editing: Editing): void {
  const mac = isMac();
  const copy = async () => {
    const text = terminal.getSelection();
    if (text !== '' && !(await copyText(text))) editing.remark('The browser did not allow copying.');
  };

  terminal.attachCustomKeyEventHandler((event) => {
    if (editing.idleKey(event)) return false;
    const action = actionOf(event, mac);
    if (action === undefined) return true;
    if (action === 'browser') return false;
    event.preventDefault();
    if (event.type === 'keydown') {
      if (action === 'copy') void copy();
      else editing.act(action);
    }
    return false;
  });

  let resting: ReturnType<typeof setTimeout> | undefined;
  terminal.onSelectionChange(() => {
    clearTimeout(resting);
    if (editing.settings().copyOnSelect) resting = setTimeout(copy, SELECTION_REST);
  });

  host.addEventListener(
    'paste',
    (event) => {
      event.preventDefault();
      event.stopPropagation();
      const text = sanitizePaste(event.clipboardData?.getData('text/plain') ?? '');
      if (text === '') return;
      if (!editing.settings().confirmPaste || !needsQuestion(text, terminal.modes.bracketedPasteMode)) {
        terminal.paste(text);
        return;
      }
      confirmPaste(text, pastedLines(text), (confirmed) => {
        if (confirmed) terminal.paste(text);
        terminal.focus();
      });
    },
    { capture: true },
  );
}
