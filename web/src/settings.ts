// What a person has set, kept in local storage.

/** Font sizes in CSS pixels. */
export const FONT_SIZE = { least: 8, usual: 14, most: 32 } as const;
/** Lines above the screen that are kept. */
export const SCROLLBACK = { least: 0, usual: 10_000, most: 100_000 } as const;

/** Which colours to use; `system` follows the browser's preference. */
export const THEMES = ['system', 'light', 'dark'] as const;

/** Everything a person can set. */
export interface Settings {
  readonly theme: (typeof THEMES)[number];
  readonly fontSize: number;
  readonly scrollback: number;
  /** Whether the bell makes a sound; it is always seen. */
  readonly bellSound: boolean;
  readonly copyOnSelect: boolean;
  /** Whether to ask before pasting several lines into a program that does not mark pastes. */
  readonly confirmPaste: boolean;
  /** xterm.js' mode for screen readers. */
  readonly screenReader: boolean;
  /** Whether Option sends Meta on a Mac. Off by default: on many keyboards Option types characters such as @ and [. */
  readonly optionIsMeta: boolean;
}

/** What holds before anything is set. */
export const DEFAULTS: Settings = {
  theme: 'system',
  fontSize: FONT_SIZE.usual,
  scrollback: SCROLLBACK.usual,
  bellSound: true,
  copyOnSelect: false,
  confirmPaste: true,
  screenReader: false,
  optionIsMeta: false,
};

const KEY = 'webshell.settings';

/** Reads settings from JSON; what is missing or out of bounds takes its default. */
export function parseSettings(json: string | null): Settings {
  let stored: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(json ?? '{}');
    if (typeof value === 'object' && value !== null) stored = value as Record<string, unknown>;
  } catch {
    // Not ours, or cut off: the defaults hold.
  }
  const whole = (key: 'fontSize' | 'scrollback', bounds: { least: number; usual: number; most: number }) => {
    const value = stored[key];
    return typeof value === 'number' && Number.isInteger(value) && value >= bounds.least && value <= bounds.most
      ? value
      : bounds.usual;
  };
  const flag = (key: keyof Settings & string) => {
    const value = stored[key];
    return typeof value === 'boolean' ? value : (DEFAULTS[key] as boolean);
  };
  return {
    theme: THEMES.find((theme) => theme === stored.theme) ?? DEFAULTS.theme,
    fontSize: whole('fontSize', FONT_SIZE),
    scrollback: whole('scrollback', SCROLLBACK),
    bellSound: flag('bellSound'),
    copyOnSelect: flag('copyOnSelect'),
    confirmPaste: flag('confirmPaste'),
    screenReader: flag('screenReader'),
    optionIsMeta: flag('optionIsMeta'),
  };
}

/** The settings, and who wants to know when they change (in another tab, too). */
export class SettingsStore {
  private value: Settings;
  private readonly listeners: ((settings: Settings) => void)[] = [];

  constructor() {
    this.value = parseSettings(readStorage());
    window.addEventListener('storage', (event) => {
      if (event.key === KEY) this.set(parseSettings(event.newValue));
    });
  }

  get current(): Settings {
    return this.value;
  }

  /** Changes some settings and keeps them. */
  change(part: Partial<Settings>): void {
    this.set({ ...this.value, ...part });
    writeStorage(JSON.stringify(this.value));
  }

  /** Calls back now and at each change. */
  follow(listener: (settings: Settings) => void): void {
    this.listeners.push(listener);
    listener(this.value);
  }

  private set(value: Settings): void {
    this.value = value;
    for (const listener of this.listeners) listener(value);
  }
}

/** Does something that empties the storage, and leaves a person's settings there. */
export async function keepingSettings<Value>(action: () => Promise<Value>): Promise<Value> {
  const kept = readStorage();
  const value = await action();
  if (kept !== null) writeStorage(kept);
  return value;
}

function writeStorage(json: string): void {
  try {
    localStorage.setItem(KEY, json);
  } catch {
    // Storage is switched off or full: they hold for this page.
  }
}

function readStorage(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
