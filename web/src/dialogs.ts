// Dialogs: questions of the host, questions of the page.

import { button, el } from './dom';
import { plainLine, plainText } from './plain';
import type { Prompt } from './protocol';

/** Opens a dialog; it is removed when it closes, however that happens, and then says with which value. */
function show(dialog: HTMLDialogElement, closed: (value: string) => void): void {
  dialog.addEventListener('close', () => {
    dialog.remove();
    closed(dialog.returnValue);
  });
  document.body.append(dialog);
  dialog.showModal();
}

let count = 0;

function frame(title: string, ...content: (Node | string)[]): HTMLDialogElement {
  const id = `dialog-${++count}`;
  return el('dialog', { 'aria-labelledby': id }, el('h2', { id }, title), ...content);
}

/**
 * Asks what a keyboard-interactive log-in wants to know. `answer` is called once; without answers when cancelled.
 *
 * A machine can ask anything, in any words: so the title and what the answer is good for are ours, and its words are in a box
 * that says whose they are.
 */
export function askPrompt(prompt: Prompt, answer: (answers: string[] | undefined) => void): HTMLDialogElement {
  const inputs = prompt.prompts.map((question, index) =>
    el('input', {
      type: question.echo ? 'text' : 'password',
      // Else a box that scrolls would have the focus.
      autofocus: index === 0,
      autocomplete: 'off',
      autocapitalize: 'off',
      spellcheck: 'false',
      'data-1p-ignore': true,
    }),
  );
  const asker = plainLine(prompt.asker) || 'behind this shell';
  const words = [plainText(prompt.name), plainText(prompt.instruction)].filter((text) => text !== '');
  const box = el(
    'div',
    { class: 'machine', role: 'group', 'aria-label': `Words of ${asker}` },
    ...words.map((text) => el('p', {}, text)),
    ...inputs.map((input, index) => el('label', {}, plainText(prompt.prompts[index]?.text ?? ''), input)),
  );
  const form = el('form', { method: 'dialog' }, box);
  const what = 'Its words are in the box. What you answer goes to this machine, never to WebShell.';
  const dialog = frame(`The machine ${asker} asks`, el('p', {}, what), form);
  form.append(
    el(
      'div',
      { class: 'actions' },
      button('Cancel', () => dialog.close('cancel')),
      el('button', { type: 'submit', value: 'answer', class: 'primary' }, 'Continue'),
    ),
  );
  show(dialog, (value) => {
    if (value === 'superseded') return;
    answer(value === 'answer' ? inputs.map((input) => input.value) : undefined);
  });
  return dialog;
}

/** Asks whether to do something. */
export function confirm(
  title: string,
  content: (Node | string)[],
  yes: string,
  decided: (confirmed: boolean) => void,
): void {
  const dialog = frame(title, ...content);
  let confirmed = false;
  const proceed = () => {
    confirmed = true;
    dialog.close();
    // Not at the close event: that comes later, and what is typed in between would come first.
    decided(true);
  };
  dialog.append(
    el(
      'div',
      { class: 'actions' },
      button('Cancel', () => dialog.close()),
      button(yes, proceed, { class: 'primary', autofocus: true }),
    ),
  );
  show(dialog, () => {
    if (!confirmed) decided(false);
  });
}

/** Most of a paste that is shown before it is confirmed: it shall be read, not scrolled. */
const PREVIEW_LINES = 8;
const PREVIEW_LENGTH = 400;

/** Asks before pasting several lines. */
export function confirmPaste(text: string, lines: number, decided: (confirmed: boolean) => void): void {
  const head = text
    .slice(0, PREVIEW_LENGTH)
    .split(/\r\n|\r|\n/)
    .slice(0, PREVIEW_LINES)
    .join('\n');
  const preview = head.length < text.trimEnd().length ? `${head}\n…` : head;
  const what = lines === 1 ? 'Paste a line and run it?' : `Paste ${lines.toLocaleString('en')} lines?`;
  const why = 'The program in the terminal takes each line end as Enter.';
  confirm(what, [el('p', {}, why), el('pre', {}, preview)], 'Paste', decided);
}

/** A dialog that only shows something. */
export function inform(title: string, content: (Node | string)[], closed: () => void): void {
  const dialog = frame(title, ...content);
  dialog.append(
    el(
      'div',
      { class: 'actions' },
      button('Close', () => dialog.close(), { class: 'primary' }),
    ),
  );
  show(dialog, closed);
}
