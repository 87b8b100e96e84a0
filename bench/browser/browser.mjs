// A page in a headless Chromium, driven by as little as possible of its DevTools protocol: what drives tests listens to
// the network too, and then each message to the page is copied to the listener, at twice the cost of showing it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import connect from 'chrome-remote-interface';

const FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--window-size=1280,800'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--remote-debugging-port=0'],
];

/** A browser that shows one page. */
export class Browser {
  #process;
  #profile;
  #client;

  /** Starts a browser and loads a page. */
  static async open(url) {
    const browser = new Browser();
    browser.#profile = mkdtempSync(join(tmpdir(), 'webshell-bench-'));
    const stdio = ['ignore', 'ignore', 'pipe'];
    browser.#process = spawn('chromium', [...FLAGS, `--user-data-dir=${browser.#profile}`], { stdio });
    browser.#client = await connect({ port: await debuggingPort(browser.#process) });
    const { Page, Emulation } = browser.#client;
    await Emulation.setFocusEmulationEnabled({ enabled: true });
    await Page.enable();
    await Promise.all([Page.loadEventFired(), Page.navigate({ url })]);
    return browser;
  }

  /** Runs a function in the page, with an argument; returns what it returns, or resolves to. */
  async run(fn, argument) {
    const expression = `(${fn})(${JSON.stringify(argument)})`;
    const call = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.#client.Runtime.evaluate(call);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits for the next frame. */
  async frame() {
    await this.run(() => new Promise((drawn) => requestAnimationFrame(() => drawn())));
  }

  /** Presses a letter. */
  async press(key) {
    const event = { key, code: `Key${key.toUpperCase()}`, windowsVirtualKeyCode: key.toUpperCase().charCodeAt(0) };
    await this.#client.Input.dispatchKeyEvent({ type: 'keyDown', text: key, ...event });
    await this.#client.Input.dispatchKeyEvent({ type: 'keyUp', ...event });
  }

  async close() {
    const ended = once(this.#process, 'exit');
    await this.#client.Browser.close();
    await ended;
    rmSync(this.#profile, { recursive: true, force: true });
  }
}

/** The port that a browser says it listens at for its debugger. */
async function debuggingPort({ stderr }) {
  let said = '';
  for await (const data of stderr.iterator({ destroyOnReturn: false })) {
    said += data;
    const port = /^DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)/m.exec(said)?.[1];
    if (port) {
      stderr.resume();
      return Number(port);
    }
  }
  throw new Error(`chromium ended: ${said}`);
}
