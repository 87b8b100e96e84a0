// Notices: thin bars above the terminal for what a person should know, and short remarks that pass by themselves.

import { el, iconButton } from './dom';
import type { Notice } from './protocol';
import { duration } from './status';

/** How long a remark stays, in ms. */
const REMARK = 5000;
/** Most bars at once, one per kind of notice. */
const MAX_BARS = 6;

interface Bar {
  readonly element: HTMLElement;
  readonly left: HTMLElement;
  readonly until: number | undefined;
}

/** The bars and the remark. */
export class Notices {
  readonly element = el('div', { class: 'notices', role: 'region', 'aria-label': 'Notices' });
  private readonly bars = new Map<string, Bar>();
  private readonly remarkElement = el('div', { class: 'remark', role: 'status', 'aria-live': 'polite' });
  private remarkTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.element.append(this.remarkElement);
    setInterval(() => this.tick(), 1000);
  }

  /** Shows a notice in place of an earlier one of its kind; one with 0 seconds takes it back. */
  show(notice: Notice): void {
    this.remove(notice.kind);
    if (notice.seconds === 0 || this.bars.size >= MAX_BARS) return;
    const left = el('span', { class: 'left', 'aria-live': 'off' });
    const close = iconButton('close', 'Dismiss', () => this.remove(notice.kind));
    const element = el('div', { class: 'bar', role: 'alert', 'data-kind': notice.kind }, notice.message, left, close);
    const until = notice.seconds === undefined ? undefined : Date.now() + notice.seconds * 1000;
    this.bars.set(notice.kind, { element, left, until });
    this.element.append(element);
    this.tick();
  }

  /** Takes back notices of these kinds, or all. */
  clear(kinds: readonly string[] = [...this.bars.keys()]): void {
    for (const kind of kinds) this.remove(kind);
  }

  /** Says something in passing. */
  remark(text: string): void {
    clearTimeout(this.remarkTimer);
    this.remarkElement.textContent = text;
    this.remarkTimer = setTimeout(() => this.remarkElement.replaceChildren(), REMARK);
  }

  private remove(kind: string): void {
    this.bars.get(kind)?.element.remove();
    this.bars.delete(kind);
  }

  private tick(): void {
    for (const { left, until } of this.bars.values()) {
      if (until !== undefined) left.textContent = duration(Math.max(0, Math.ceil((until - Date.now()) / 1000)));
    }
  }
}
