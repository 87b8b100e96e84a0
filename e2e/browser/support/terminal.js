// A page with a terminal, as a person uses it: types, looks, waits.

import { linesOf, matching, screenOf } from './screen.js';
import { until } from './wait.js';

/** Wraps a page of the browser. */
export class TerminalPage {
  constructor(page) {
    this.page = page;
  }

  /** The panel over the terminal, and the toolbar's buttons and others by their names. */
  get panel() {
    return this.page.getByRole('region', { name: 'Connection' });
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  async types(text) {
    await this.page.keyboard.type(text);
  }

  async presses(key) {
    await this.page.keyboard.press(key);
  }

  async enters(line) {
    await this.types(line);
    await this.presses('Enter');
  }

  /** Puts text on the clipboard and presses the browser's key for pasting. */
  async pastes(text) {
    await this.page.evaluate((copied) => navigator.clipboard.writeText(copied), text);
    await this.presses('Control+Shift+V');
  }

  /** The last lines, wrapped rows joined. */
  async lines(count = 500) {
    return (await this.#look(`(${linesOf})(webshell.term, ${count})`)) ?? [];
  }

  /** The screen with its colours, and the cursor. */
  screen() {
    return this.#look(`(${screenOf})(webshell.term)`);
  }

  /** The size in columns and rows. */
  size() {
    return this.#look('({ cols: webshell.term.cols, rows: webshell.term.rows })');
  }

  /** How many bytes of output it has shown. */
  position() {
    return this.#look('webshell.position()');
  }

  /** Waits for a line that holds this text or matches this expression; returns the match. */
  async shows(text) {
    const expression = matching(text);
    const line = await until(
      async () => `the terminal shows ${text}:\n${(await this.lines(50)).join('\n')}`,
      async () => (await this.lines()).find((candidate) => expression.test(candidate)),
    );
    return line.match(expression);
  }

  /** Waits until the last line is the shell's prompt, with nothing typed. */
  async prompts() {
    await until(
      async () => `there is a prompt:\n${(await this.lines(50)).join('\n')}`,
      async () => (await this.lines(200)).at(-1)?.endsWith('ready>'),
    );
  }

  /** Waits for the state of the connection. */
  async is(kind) {
    await until(
      async () => `the connection is ${kind}; it is ${JSON.stringify(await this.state())}`,
      async () => (await this.state())?.kind === kind,
    );
  }

  state() {
    return this.#look('webshell.state()');
  }

  /** Waits until the panel says something. */
  async says(...texts) {
    await until(
      async () => `the panel says ${texts}; it says: ${await this.panel.textContent()}`,
      async () => {
        const said = (await this.panel.isVisible()) ? await this.panel.innerText() : '';
        return texts.every((text) => matching(text).test(said));
      },
    );
  }

  /** Loads the page again, and waits until it is connected. */
  async reload() {
    await this.page.reload();
    await this.is('connected');
  }

  /** Where the keyboard is: the label of the focused element. */
  focused() {
    return this.page.evaluate(() => document.activeElement?.getAttribute('aria-label'));
  }

  /** Waits until what is typed goes to the terminal. */
  async hasFocus() {
    await until('the terminal has the focus', async () => (await this.focused()) === 'Terminal input');
  }

  /** The value of an expression in the page; undefined while there is no terminal in it yet. */
  async #look(expression) {
    try {
      return await this.page.evaluate(`window.webshell ? ${expression} : undefined`);
    } catch (error) {
      if (/Execution context was destroyed/.test(String(error))) return undefined; // it is being loaded
      throw error;
    }
  }
}
