// The terminal itself: its size, characters of all scripts, floods, links, titles, the clipboard of programs.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startSshd } from './support/sshd.js';
import { demo, shell } from './support/stage.js';
import { until } from './support/wait.js';

/** Starts a program that reads lines. What is typed before bash has left the terminal to it would miss its line ends. */
async function starts(terminal, program) {
  await terminal.enters(`echo started; ${program}`);
  await terminal.shows(/^started$/);
}

let asked = 0;

/** Asks the far side for its size until it is the page's, which may be changing still. */
async function sizesAgree(terminal) {
  return until(
    async () => `far side and page, of ${JSON.stringify(await terminal.size())}, agree on the size`,
    async () => {
      asked += 1;
      await terminal.enters(`clear; echo "answer ${asked}: $(stty size)"`);
      const [, rows, cols] = (await terminal.shows(new RegExp(`^answer ${asked}: (\\d+) (\\d+)$`))).map(Number);
      const size = await terminal.size();
      return rows === size.rows && cols === size.cols && size;
    },
  );
}

test('the far side has the size of the window, also after resizing and with larger text', async (t) => {
  const { terminal, page } = await demo(t);
  const first = await sizesAgree(terminal);
  const becomes = (what, condition) => until(`the terminal is ${what}`, async () => condition(await terminal.size()));
  await page.setViewportSize({ width: 1200, height: 500 });
  await becomes('wider and lower', ({ cols, rows }) => cols > first.cols && rows < first.rows);
  await sizesAgree(terminal);
  await page.setViewportSize({ width: 600, height: 700 });
  await becomes('narrower and higher', ({ cols, rows }) => cols < first.cols && rows > first.rows);
  const narrow = await sizesAgree(terminal);
  for (let i = 0; i < 4; i++) await terminal.presses('Control+=');
  await becomes('of larger text, for which there is less room', ({ rows }) => rows < narrow.rows - 5);
  await sizesAgree(terminal);
  await terminal.presses('Control+0');
  await becomes('of the usual size again', ({ rows }) => rows === narrow.rows);
});

test('the shell knows the size before its first prompt', async (t) => {
  const sshd = await startSshd(t);
  const { terminal } = await shell(t, sshd.manifests({ terminal: { command: 'stty size; cat' } }));
  const [, rows, cols] = await terminal.shows(/^(\d+) (\d+)$/);
  assert.deepEqual({ cols: Number(cols), rows: Number(rows) }, await terminal.size());
});

test('all scripts are typed, echoed and shown', async (t) => {
  const { terminal } = await demo(t);
  await starts(terminal, 'cat');
  for (const text of ['漢字かな交じり文', '한국어', 'e\u0301 n\u0303 a\u0308', 'мир', '🙂 👩‍👩‍👧 🇩🇪']) {
    await terminal.page.keyboard.insertText(text);
    await terminal.presses('Enter');
    await until(
      async () => `${text} is shown twice:\n${(await terminal.lines()).join('\n')}`,
      async () => (await terminal.lines()).filter((line) => line === text).length === 2,
    );
  }
  // Wide characters take two cells, clusters as many as one character of theirs.
  const { rows } = await terminal.size();
  await terminal.presses('Control+C');
  await terminal.enters(String.raw`clear; printf '漢字|\n👩‍👩‍👧|\ne\u0301|\n'`);
  await terminal.shows(/^漢字\|$/);
  await terminal.prompts();
  const columns = await terminal.page.evaluate((count) => {
    const { active } = window.webshell.term.buffer;
    const found = [];
    for (let y = active.baseY; y < active.baseY + count; y++) {
      const line = active.getLine(y);
      for (let x = 0; x < 10; x++) if (line.getCell(x).getChars() === '|') found.push(x);
    }
    return found;
  }, rows);
  assert.deepEqual(columns, [4, 2, 1]);
});

test('an input method composes text', async (t) => {
  const { terminal, page, stage } = await demo(t);
  const devtools = await stage.context.newCDPSession(page);
  await starts(terminal, 'cat');
  for (const text of ['k', 'か', 'かん', '漢', '漢字']) {
    await devtools.send('Input.imeSetComposition', { text, selectionStart: text.length, selectionEnd: text.length });
  }
  // What is being composed is shown at the cursor, and not sent yet.
  await until(
    'the composition is shown',
    async () => (await page.locator('.composition-view').textContent()) === '漢字',
  );
  assert.equal((await terminal.lines()).at(-1), 'started');
  await devtools.send('Input.insertText', { text: '漢字' });
  await terminal.shows(/^漢字$/);
  await terminal.presses('Enter');
  await until('it arrived once', async () => {
    return (await terminal.lines()).join('\n').endsWith('started\n漢字\n漢字');
  });
});

test('a flood leaves the page responsive, and Ctrl-C brings the prompt back', async (t) => {
  const { terminal, page } = await demo(t);
  await terminal.enters('yes');
  await until('a megabyte has come', async () => (await terminal.position()) > 1_000_000);
  // Dialogs open, frames are drawn, and the flood goes on.
  await terminal.button('Settings and keys').click();
  await terminal.button('Close').click();
  await terminal.hasFocus();
  const before = await terminal.position();
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  await until('the flood goes on', async () => (await terminal.position()) > before);
  await terminal.presses('Control+C');
  await terminal.prompts();
  await terminal.enters('echo $((6 * 7))');
  await terminal.shows(/^42$/);
});

test('the shell sets the title, without control characters', async (t) => {
  const { terminal, page } = await demo(t);
  assert.equal(await page.title(), 'demo/terminal');
  await terminal.enters(String.raw`printf '\033]0;building \342\200\256it\007'`);
  await until(
    async () => `the title is set; it is ${await page.title()}`,
    async () => (await page.title()) === 'demo/terminal — building it',
  );
});

test('links open web pages, and nothing else', async (t) => {
  const { terminal, page, stage, gateway } = await demo(t);
  const opened = [];
  stage.context.on('page', (other) => opened.push(other));
  const address = `http://127.0.0.1:${gateway.port}/demo/`;
  await terminal.enters('clear');
  await terminal.prompts();
  const script = [
    String.raw`printf '\033]8;;javascript:alert(1)\007first\033]8;;\007\n'`,
    String.raw`printf '\033]8;;file:///etc/passwd\007second\033]8;;\007\n'`,
    String.raw`printf '\033]8;;${address}\007third\033]8;;\007\n'`,
  ];
  await terminal.enters(`clear; ${script.join(';')}; echo ${address}#fourth`);
  await terminal.shows(/#fourth$/);
  await terminal.prompts();
  const click = async (line) => {
    const screen = await page.locator('.xterm-screen').boundingBox();
    const { rows, cols } = await terminal.size();
    const row = (await terminal.screen()).rows.findIndex((text) => text.replace(/⟨.*?⟩/g, '') === line);
    assert.notEqual(row, -1, line);
    const place = [screen.x + (2.5 * screen.width) / cols, screen.y + ((row + 0.5) * screen.height) / rows];
    await page.mouse.move(place[0] - 1, place[1]);
    await page.mouse.move(...place);
    await page.mouse.click(...place);
  };
  for (const line of ['first', 'second']) await click(line);
  for (const [line, hash] of [
    ['third', ''],
    [`${address}#fourth`, '#fourth'],
  ]) {
    // A link is found when the mouse rests on it.
    await until(`a page is opened by ${line}`, async () => {
      await click(line);
      return opened.some((other) => other.url() === address + hash);
    });
  }
  assert.ok(
    opened.every((other) => other.url().startsWith(address)),
    opened.map((other) => other.url()),
  );
  assert.equal(await opened[0].evaluate(() => window.opener), null);
});

test('programs write to the clipboard only where that is switched on, and never read it', async (t) => {
  const sshd = await startSshd(t);
  for (const clipboardWrite of [false, true]) {
    const { terminal, page, stage } = await shell(
      t,
      sshd.manifests({ terminal: { clipboardWrite, command: sshd.bash } }),
    );
    await terminal.prompts();
    await stage.context.grantPermissions(['clipboard-read', 'clipboard-write']);
    const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
    await page.evaluate(() => navigator.clipboard.writeText('private'));
    await terminal.enters(String.raw`printf '\033]52;c;aGVsbG8=\007'; echo written`);
    await terminal.shows(/^written$/);
    if (clipboardWrite) await until('the clipboard is written', async () => (await clipboard()) === 'hello');
    else assert.equal(await clipboard(), 'private');
    // Only the answer to the second question comes: what kind of terminal this is.
    await terminal.enters(String.raw`printf '\033]52;c;?\007\033[c'; read -rsd c answer; printf '<%q>\n' "$answer"`);
    const [, answer] = await terminal.shows(/^<(.*)>$/);
    assert.match(answer, /^\$'\\E\[\?1;2'$/);
  }
});
