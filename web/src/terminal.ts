// Sets xterm.js up: addons, renderer, links, clipboard, size.

import '@xterm/xterm/css/xterm.css';
import { ClipboardAddon } from '@xterm/addon-clipboard';
import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { SerializeAddon } from '@xterm/addon-serialize';
import { UnicodeGraphemesAddon } from '@xterm/addon-unicode-graphemes';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { WebglAddon } from '@xterm/addon-webgl';
import { Terminal } from '@xterm/xterm';
import type { Size } from './protocol';
import type { Settings } from './settings';
import { terminalTheme } from './themes';

const FONTS =
  'ui-monospace, "Cascadia Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", "Noto Sans Mono", monospace';

/** A terminal with what the page uses of its addons. */
export interface View {
  readonly terminal: Terminal;
  readonly fit: FitAddon;
  readonly search: SearchAddon;
  readonly serializer: SerializeAddon;
}

/** Creates a terminal that is not shown yet. `mayWriteClipboard` decides each time a program sends OSC 52. */
export function createTerminal(
  settings: Settings,
  size: { cols: number; rows: number },
  mayWriteClipboard: () => boolean,
): View {
  const terminal = new Terminal({
    ...size,
    ...terminalOptions(settings),
    allowProposedApi: true, // Unicode versions and search decorations need it
    fontFamily: FONTS,
    cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
    linkHandler: { activate: (_, uri) => openLink(uri), hover: (_, uri) => hint(uri), leave: () => hint('') },
    // Its log could hold what the terminal shows.
    logLevel: 'off',
    macOptionClickForcesSelection: true,
    rescaleOverlappingGlyphs: true,
  });
  const hint = (uri: string) => {
    if (terminal.element) terminal.element.title = uri;
  };
  const fit = new FitAddon();
  const search = new SearchAddon();
  const serializer = new SerializeAddon();
  for (const addon of [fit, search, serializer, new UnicodeGraphemesAddon()]) terminal.loadAddon(addon);
  terminal.loadAddon(new WebLinksAddon((_, uri) => openLink(uri)));
  terminal.loadAddon(new ClipboardAddon(undefined, { readText: () => '', writeText: writeClipboard }));
  // Asked before the addon, because it came later: nothing is ever read, and written only where that is allowed.
  terminal.parser.registerOscHandler(52, (data) => data.endsWith(';?') || !mayWriteClipboard());
  return { terminal, fit, search, serializer };
}

/** The terminal's options that follow a person's settings. */
export function terminalOptions(settings: Settings) {
  return {
    theme: terminalTheme(settings),
    fontSize: settings.fontSize,
    scrollback: settings.scrollback,
    screenReaderMode: settings.screenReader,
    macOptionIsMeta: settings.optionIsMeta,
  };
}

/** Shows the terminal, drawn by WebGL where there is a real one, else by the DOM. */
export function showTerminal(terminal: Terminal, host: HTMLElement): void {
  terminal.open(host);
  terminal.textarea?.setAttribute('aria-label', 'Terminal input');
  if (!hasWebgl()) return;
  try {
    const webgl = new WebglAddon();
    webgl.onContextLoss(() => webgl.dispose());
    terminal.loadAddon(webgl);
  } catch {
    // The DOM renderer stays.
  }
}

/** Whether WebGL is drawn by hardware. Drawn by the processor it is many times slower than the DOM. */
function hasWebgl(): boolean {
  const context = document.createElement('canvas').getContext('webgl2', { failIfMajorPerformanceCaveat: true });
  if (!context) return false;
  const info = context.getExtension('WEBGL_debug_renderer_info');
  const renderer = String(context.getParameter(info?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER));
  context.getExtension('WEBGL_lose_context')?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
}

/** The size to tell the gateway: characters, and device pixels of the character grid. */
export function sizeOf(terminal: Terminal): Size {
  const grid = terminal.element?.querySelector('.xterm-screen');
  const pixels = (length = 0) => Math.min(0xffff, Math.round(length * window.devicePixelRatio));
  return {
    cols: terminal.cols,
    rows: terminal.rows,
    width: pixels(grid?.clientWidth),
    height: pixels(grid?.clientHeight),
  };
}

/** Copies; false when the browser did not allow it. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** For OSC 52. Not awaited: the terminal must not stand still while the browser asks for permission. */
function writeClipboard(selection: string, text: string): void {
  if (selection === 'c' || selection === '') void copyText(text);
}

/** Opens a link of the terminal's text: web pages only, without any hold on this one. */
function openLink(uri: string): void {
  const url = URL.parse(uri);
  if (url?.protocol === 'https:' || url?.protocol === 'http:') window.open(url.href, '_blank', 'noopener,noreferrer');
}
