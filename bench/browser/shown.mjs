// usage: shown.mjs URL DIRECTORY ROUNDS   Shows files in the page of a shell, in turn through the gateway and from memory,
// and presses keys meanwhile. Prints what came of it as JSON; page.rs reads that.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Browser } from './browser.mjs';

const [url, directory, rounds] = process.argv.slice(2);

/** How often a key is pressed while output is shown, in ms. */
const KEY_EVERY = 100;

/** What is shown: bytes as a program writes them, some seconds' worth of each. */
const KINDS = {
  yes: 'y\n'.repeat(2_000_000),
  'long lines': `${'the quick brown fox jumps over the lazy dog; '.repeat(60)}\n`.repeat(4_000),
  'coloured text': Array.from({ length: 120_000 }, (_, line) => coloured(line)).join(''),
};

/** A line as a compiler or a log viewer colours it. */
function coloured(line) {
  const colour = 31 + (line % 7);
  return `\x1b[1;${colour}mline ${line}\x1b[0m: \x1b[38;5;${16 + (line % 216)}mthe quick brown fox\x1b[0m jumps over\n`;
}

/** Begins to note how late the page is with keys: until it handles them, and until the next frame after that. */
function watchKeys() {
  window.bench = { keys: [], frames: [] };
  const note = ({ timeStamp: pressed }) => {
    window.bench.keys.push(performance.now() - pressed);
    requestAnimationFrame(() => setTimeout(() => window.bench.frames.push(performance.now() - pressed)));
  };
  // On its way down, because xterm.js lets no key come up again. It sends the key in the same turn.
  window.addEventListener('keydown', note, { capture: true });
}

/** In the page: runs a command and measures how fast its output is parsed, until the prompt is there again. */
async function throughGateway(command) {
  const { term, position } = window.webshell;
  const began = performance.now();
  const start = position();
  const done = new Promise((resolve) => {
    const parsed = term.onWriteParsed(() => {
      const { active } = term.buffer;
      const line = active.getLine(active.baseY + active.cursorY)?.translateToString(true) ?? '';
      if (position() - start < 1_000_000 || !line.includes('ready> ')) return;
      parsed.dispose();
      resolve();
    });
  });
  term.input(command);
  await done;
  return (position() - start) / (performance.now() - began) / 1000;
}

/** In the page: measures how fast the same bytes are parsed when they are there already. */
async function fromMemory(text) {
  const { term } = window.webshell;
  const bytes = new TextEncoder().encode(text);
  const chunk = 32 * 1024;
  const began = performance.now();
  await new Promise((resolve) => {
    for (let start = 0; start < bytes.length; start += chunk) {
      term.write(bytes.subarray(start, start + chunk), start + chunk >= bytes.length ? resolve : undefined);
    }
  });
  return bytes.length / (performance.now() - began) / 1000;
}

/** Presses a key again and again until told to stop. */
async function pressKeys(page, signal) {
  while (!signal.aborted) {
    await page.press('x');
    await new Promise((resolve) => setTimeout(resolve, KEY_EVERY));
  }
}

const sorted = (samples) => samples.toSorted((a, b) => a - b);
const percentile = (samples, share) => sorted(samples)[Math.max(0, Math.ceil(share * samples.length) - 1)];
const median = (samples) => percentile(samples, 0.5);
const latency = (samples) => ({ p50: median(samples), p95: percentile(samples, 0.95), max: Math.max(...samples) });

const page = await Browser.open(url);
try {
  while ((await page.run(() => window.webshell?.state().kind)) !== 'connected') await page.frame();
  await page.run(watchKeys);
  await page.run(() => document.querySelector('textarea').focus());

  const samples = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, []]));
  const latencies = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, { keys: [], frames: [] }]));
  for (const [kind, text] of Object.entries(KINDS)) writeFileSync(join(directory, `${kind}.txt`), text);
  for (let round = 0; round < Number(rounds); round++) {
    for (const [kind, text] of Object.entries(KINDS)) {
      await page.run(() => {
        Object.assign(window.bench, { keys: [], frames: [] });
      });
      const keys = new AbortController();
      const pressing = pressKeys(page, keys.signal);
      // The keys come to nothing: they are not echoed, and thrown away when the output is over.
      const file = join(directory, `${kind}.txt`);
      const command = `stty -echo; cat '${file}'; stty sane; python3 -c 'import termios; termios.tcflush(0, 0)'\r`;
      const gateway = await page.run(throughGateway, command);
      keys.abort();
      await pressing;
      const { keys: handled, frames } = await page.run(() => window.bench);
      await page.run(() => window.webshell.term.input('\x15'));
      const memory = await page.run(fromMemory, text.replaceAll('\n', '\r\n'));
      samples[kind].push({ gateway, memory });
      latencies[kind].keys.push(...handled);
      latencies[kind].frames.push(...frames);
      console.error(`  ${kind}: ${gateway.toFixed(1)} MB/s, from memory ${memory.toFixed(1)} MB/s`);
    }
  }
  const shown = Object.entries(samples).map(([kind, rounds]) => ({
    kind,
    file: join(directory, `${kind}.txt`),
    gateway: median(rounds.map(({ gateway }) => gateway)),
    memory: median(rounds.map(({ memory }) => memory)),
    ratio: median(rounds.map(({ gateway, memory }) => gateway / memory)),
    key: latency(latencies[kind].keys),
    frame: latency(latencies[kind].frames),
  }));
  console.log(JSON.stringify(shown));
} finally {
  await page.close();
}
