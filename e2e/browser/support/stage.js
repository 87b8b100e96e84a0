// What each test begins with: a browser, a gateway, and pages in which nothing may go wrong unnoticed.

import assert from 'node:assert/strict';
import { after } from 'node:test';
import { chromium } from 'playwright-core';
import { Gateway } from './gateway.js';
import { Network } from './network.js';
import { TerminalPage } from './terminal.js';

const OPTIONS = [
  '--disable-gpu',
  // As on a machine without graphics hardware, which has no WebGL: what the page draws can then be read.
  '--disable-3d-apis',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let browser;

after(() => browser?.close());

/** The browser of this process. More options count where it is not running yet. */
async function theBrowser(options = []) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  browser ??= await chromium.launch({ executablePath, args: [...OPTIONS, ...options], chromiumSandbox: false });
  return browser;
}

/** What belongs to one test, and is taken down at its end. */
export class Stage {
  #cleanup = [];
  #troubles = [];

  /**
   * `expected` is what may appear in the console or fail, where a test breaks something itself; `options` are the browser's.
   */
  static async set(t, { expected, options } = {}) {
    const stage = new this();
    stage.expected = expected;
    t.after(() => stage.#clear());
    stage.context = await (await theBrowser(options)).newContext({ viewport: { width: 900, height: 600 } });
    stage.later(() => stage.context.close());
    return stage;
  }

  /** Does something at the end of the test; what was asked for last is done first. */
  later(action) {
    this.#cleanup.unshift(action);
  }

  /** A gateway for these manifests, or with the demo target. */
  async gateway(manifests) {
    const gateway = await Gateway.start({ manifests });
    this.later(() => gateway.stop());
    return gateway;
  }

  /** A page that shows this address, with a terminal in it or not. */
  async visit(url) {
    const terminal = new TerminalPage(await this.newPage());
    await terminal.page.goto(url);
    return terminal;
  }

  /** A new tab of the same browser, watched for errors. */
  async newPage() {
    const page = await this.context.newPage();
    const trouble = (text) => this.expected?.test(text) || this.#troubles.push(text);
    // Violations of the Content-Security-Policy are errors in the console, too.
    page.on('console', (message) => message.type() === 'error' && trouble(message.text()));
    page.on('pageerror', (error) => trouble(String(error)));
    page.on('requestfailed', (request) => {
      const why = request.failure()?.errorText;
      // A page that is left gives up what it has not read to its end.
      if (why !== 'net::ERR_ABORTED') trouble(`${request.url()}: ${why}`);
    });
    page.on('response', (response) => response.status() >= 400 && trouble(`${response.url()}: ${response.status()}`));
    // A page that is left asks first; it is left nevertheless, unless a test says otherwise.
    page.on('dialog', (dialog) => this.onDialog(dialog));
    return page;
  }

  onDialog(dialog) {
    return dialog.accept();
  }

  async #clear() {
    for (const action of this.#cleanup) await action();
    assert.deepEqual(this.#troubles, [], 'errors in the console or failed requests');
  }
}

/** A terminal on the demo target, with a prompt. */
export async function demo(t, options) {
  const stage = await Stage.set(t, options);
  const gateway = await stage.gateway();
  const terminal = await stage.visit(gateway.url);
  await terminal.prompts();
  return { stage, gateway, terminal, page: terminal.page };
}

/** The same, with a network in between that can be cut. */
export async function demoOverNetwork(t) {
  const stage = await Stage.set(t, { expected: /WebSocket connection to|net::ERR_/ });
  const network = await Network.start();
  stage.later(() => network.stop());
  const gateway = await Gateway.start({ origin: network.origin });
  stage.later(() => gateway.stop());
  network.target = gateway.port;
  const terminal = await stage.visit(network.through(gateway.url));
  await terminal.prompts();
  return { stage, network, terminal, page: terminal.page };
}

/** The page of a shell whose manifests these are, as it opens. */
export async function shell(t, manifests, options) {
  const stage = await Stage.set(t, options);
  const gateway = await stage.gateway(manifests);
  const terminal = await stage.visit(gateway.url);
  return { stage, gateway, terminal, page: terminal.page };
}
