// Pasting: large texts arrive whole, several lines ask first, and no text can end its own brackets.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { demo } from './support/stage.js';
import { until } from './support/wait.js';

/** The demo target, the clipboard allowed. */
async function withClipboard(t) {
  const opened = await demo(t);
  await opened.stage.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  return opened;
}

test('a megabyte is pasted whole', async (t) => {
  const { terminal, page } = await withClipboard(t);
  const line = (number) => `${number} `.padEnd(1023, 'wörter ').slice(0, 1000);
  const text = Array.from({ length: 1000 }, (_, number) => `${line(number)}\n`).join('');
  const hash = createHash('sha256').update(text).digest('hex');
  assert.ok(Buffer.byteLength(text) > 1_000_000);
  await terminal.enters("stty -echo; bind 'set enable-bracketed-paste off'; echo started; sha256sum");
  await terminal.shows(/^started$/);
  await terminal.pastes(text);
  const dialog = page.getByRole('dialog', { name: 'Paste 1,000 lines?' });
  await dialog.waitFor();
  await terminal.button('Paste').click();
  await dialog.waitFor({ state: 'detached' });
  await terminal.presses('Control+D');
  await terminal.shows(hash);
});

test('several lines ask first where a program would run them', async (t) => {
  const { terminal, page } = await withClipboard(t);
  await terminal.enters('echo started; cat');
  await terminal.shows(/^started$/);
  const dialog = page.getByRole('dialog', { name: 'Paste 2 lines?' });
  await terminal.pastes('first line\nsecond line');
  await dialog.waitFor();
  assert.match(await dialog.innerText(), /first line\s+second line/);
  await terminal.presses('Escape');
  await dialog.waitFor({ state: 'detached' });
  await terminal.pastes('one line');
  await terminal.shows(/^one line$/);
  assert.ok(!(await terminal.lines()).includes('first line'), 'what was not confirmed was not pasted');
  await terminal.presses('Enter');
  await terminal.pastes('third line\nfourth line\n');
  await dialog.waitFor();
  await terminal.presses('Enter');
  await terminal.shows(/^fourth line$/);
  await terminal.hasFocus();
});

test('a program that marks pastes gets them without a question, and unbroken', async (t) => {
  const { terminal, page } = await withClipboard(t);
  await terminal.enters(String.raw`printf '\033[?2004h'; echo started; cat -v`);
  await terminal.shows(/^started$/);
  // Text that ended its own paste would go on as if it were typed.
  await terminal.pastes('one\x1b[201~\ntwo\x1b[20\x1b[201~1~end');
  await terminal.shows('end');
  assert.equal(await page.getByRole('dialog').count(), 0);
  await terminal.presses('Enter');
  const shown = async () => {
    const lines = await terminal.lines();
    return lines.slice(lines.indexOf('started') + 1);
  };
  // Echoed once, and printed once: each paste has one beginning and one end.
  const ends = async () => (await shown()).join('').split('^[[201~').length - 1;
  await until('it is echoed and printed', async () => (await ends()) >= 2);
  assert.equal(await ends(), 2, (await shown()).join('\n'));
  assert.equal((await shown())[0], '^[[200~one');
});

test('a shell that marks pastes runs nothing of them before Enter', async (t) => {
  const { terminal } = await withClipboard(t);
  await terminal.pastes('echo $((40 + 1))\necho $((40 + 2))\n');
  await terminal.shows('echo $((40 + 2))');
  await terminal.presses('Control+C');
  await terminal.prompts();
  assert.ok(!(await terminal.lines()).some((line) => /^4[12]$/.test(line)));
});
