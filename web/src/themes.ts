// The terminal's colours, light and dark; the rest of the page takes its own from style.css.

import type { ITheme } from '@xterm/xterm';
import type { Settings } from './settings';

const DARK: ITheme = {
  background: '#15171c',
  foreground: '#d5d9e0',
  cursor: '#7cc4a4',
  cursorAccent: '#15171c',
  selectionBackground: '#3a4a5e',
  black: '#3b414d',
  red: '#f0717b',
  green: '#8fcb84',
  yellow: '#e2c077',
  blue: '#74b1f5',
  magenta: '#c796ee',
  cyan: '#63c5cd',
  white: '#c5cad3',
  brightBlack: '#858d9c',
  brightRed: '#ff9097',
  brightGreen: '#a9df9d',
  brightYellow: '#f3d792',
  brightBlue: '#98c9ff',
  brightMagenta: '#dcb2ff',
  brightCyan: '#86dfe6',
  brightWhite: '#ffffff',
};

const LIGHT: ITheme = {
  background: '#fdfdfc',
  foreground: '#24292f',
  cursor: '#1d7a5a',
  cursorAccent: '#fdfdfc',
  selectionBackground: '#bfd9f5',
  black: '#24292f',
  red: '#bf2630',
  green: '#1f7038',
  yellow: '#835d00',
  blue: '#0a58c4',
  magenta: '#8338b5',
  cyan: '#0d6c80',
  white: '#656d78',
  brightBlack: '#57606a',
  brightRed: '#cf222e',
  brightGreen: '#237b3c',
  brightYellow: '#8f6500',
  brightBlue: '#1b66d9',
  brightMagenta: '#9442c4',
  brightCyan: '#157385',
  brightWhite: '#757d88',
};

const PREFERS_DARK = '(prefers-color-scheme: dark)';

/** Whether the page is dark now. */
export function isDark(settings: Settings): boolean {
  return settings.theme === 'dark' || (settings.theme === 'system' && matchMedia(PREFERS_DARK).matches);
}

/** The terminal's colours. */
export function terminalTheme(settings: Settings): ITheme {
  return isDark(settings) ? DARK : LIGHT;
}

/** Colours the page; style.css follows the attribute. */
export function paintPage(settings: Settings): void {
  document.documentElement.dataset.theme = isDark(settings) ? 'dark' : 'light';
}

/** Calls back when the browser's preference changes. */
export function onSystemTheme(callback: () => void): void {
  matchMedia(PREFERS_DARK).addEventListener('change', callback);
}
