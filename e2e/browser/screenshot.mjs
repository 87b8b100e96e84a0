// usage: node screenshot.mjs   Takes docs/screenshot.png of a built binary: that of WEBSHELL, else the release build.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
const binary = process.env.WEBSHELL ?? join(root, 'target/release/webshell');

// A home of its own, so that the picture shows nobody's.
const PROFILE = `PS1='\\[\\e[1;32m\\]ops@db-1\\[\\e[0m\\]:\\[\\e[1;34m\\]~/webshell\\[\\e[0m\\]$ '
cd ${root}
`;
const COMMANDS = [
  'clear',
  'ls --color=always -C',
  'git log --oneline --graph --no-decorate --color=always -9',
  'for i in {0..240..4}; do printf "\\e[48;2;$i;$((240-i));160m "; done; echo -e "\\e[0m"',
];

/** The first URL that `webshell local` prints. */
async function address(gateway) {
  let text = '';
  for await (const chunk of gateway.stdout) {
    text += chunk;
    const url = /http:\S+/.exec(text);
    if (url) return url[0];
  }
  throw new Error('webshell ended before it was ready');
}

const home = mkdtempSync(join(tmpdir(), 'webshell-'));
writeFileSync(join(home, '.bash_profile'), PROFILE);
const gateway = spawn(binary, ['local', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--drain-timeout', '0s'], {
  env: { ...process.env, HOME: home, SHELL: '/bin/bash', LANG: 'C.UTF-8' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
// Drawn without WebGL, which shows nothing where a browser only pretends to have two pixels for one.
const args = ['--no-sandbox', '--disable-3d-apis'];
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args });
try {
  const viewport = { width: 960, height: 480 };
  const page = await browser.newPage({ viewport, colorScheme: 'dark', deviceScaleFactor: 2 });
  await page.goto(await address(gateway));
  for (const command of COMMANDS) {
    await page.waitForFunction(() => window.webshell?.state().kind === 'connected');
    await page.keyboard.type(`${command}\n`);
    await page.waitForTimeout(500);
  }
  await page.screenshot({ path: join(root, 'docs/screenshot.png') });
} finally {
  await browser.close();
  gateway.kill();
  rmSync(home, { recursive: true, force: true });
}
