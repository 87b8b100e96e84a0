// The dialog with a person's settings, and the page's keys.

import { inform } from './dialogs';
import { el } from './dom';
import { isMac, keyHelp } from './keys';
import { FONT_SIZE, SCROLLBACK, type SettingsStore, THEMES } from './settings';

type Flag = 'bellSound' | 'copyOnSelect' | 'confirmPaste' | 'screenReader' | 'optionIsMeta';

const THEME_NAMES = { system: 'Like the system', light: 'Light', dark: 'Dark' } as const;

/** Opens the dialog; every change holds at once. */
export function openPreferences(settings: SettingsStore, closed: () => void): void {
  const { current } = settings;
  const theme = el('select', {});
  for (const name of THEMES) {
    theme.append(el('option', { value: name, selected: name === current.theme }, THEME_NAMES[name]));
  }
  theme.addEventListener('change', () => {
    settings.change({ theme: THEMES.find((name) => name === theme.value) ?? 'system' });
  });
  const number = (key: 'fontSize' | 'scrollback', bounds: { least: number; most: number }, step: number) => {
    const input = el('input', {
      type: 'number',
      min: String(bounds.least),
      max: String(bounds.most),
      step: String(step),
      value: String(current[key]),
    });
    input.addEventListener('change', () => {
      if (input.checkValidity() && input.value !== '') settings.change({ [key]: input.valueAsNumber });
      else input.reportValidity();
    });
    return input;
  };
  const flag = (key: Flag, text: string, note?: string) => {
    const input = el('input', { type: 'checkbox', checked: current[key] });
    input.addEventListener('change', () => settings.change({ [key]: input.checked }));
    const words = el('span', {}, text, ...(note ? [el('small', {}, note)] : []));
    return el('label', { class: 'flag' }, input, words);
  };
  const content = el(
    'div',
    { class: 'preferences' },
    el('label', {}, 'Colours', theme),
    el('label', {}, 'Text size', number('fontSize', FONT_SIZE, 1)),
    el('label', {}, 'Lines kept above the screen', number('scrollback', SCROLLBACK, 100)),
    flag('bellSound', 'Sound of the bell'),
    flag('copyOnSelect', 'Copy what is selected at once'),
    flag('confirmPaste', 'Ask before pasting several lines', 'Never asked where the program marks pastes itself.'),
    flag('screenReader', 'Screen reader mode', 'Lets a screen reader read the terminal’s lines; costs some speed.'),
    ...(isMac()
      ? [flag('optionIsMeta', 'Option is Meta', 'For Emacs and readline. Off, Option types characters such as @ or [.')]
      : []),
  );
  const keys = el('dl', { class: 'keys' });
  for (const [key, what] of keyHelp(isMac())) keys.append(el('dt', {}, el('kbd', {}, key)), el('dd', {}, what));
  const browser = canLockKeys()
    ? 'In full screen, keys such as Ctrl W and Ctrl T reach the shell; outside, the browser keeps them.'
    : 'This browser keeps keys such as Ctrl W, Ctrl T and Ctrl N for itself.';
  inform('Settings', [content, el('h3', {}, 'Keys'), keys, el('p', { class: 'note' }, browser)], closed);
}

/** Whether the browser can pass on, in full screen, the keys that it otherwise keeps. */
export function canLockKeys(): boolean {
  return keyboard()?.lock !== undefined;
}

/** The Keyboard API, which TypeScript does not know because only Chromium has it. */
interface Keyboard {
  lock(codes: readonly string[]): Promise<void>;
}

function keyboard(): Keyboard | undefined {
  return (navigator as Navigator & { keyboard?: Keyboard }).keyboard;
}

/** Enters full screen and takes the keys that the browser keeps, or leaves it. */
export async function toggleFullScreen(): Promise<void> {
  if (document.fullscreenElement) {
    await document.exitFullscreen();
    return;
  }
  await document.documentElement.requestFullscreen();
  await keyboard()?.lock(['KeyW', 'KeyT', 'KeyN', 'KeyQ', 'Escape']);
}
