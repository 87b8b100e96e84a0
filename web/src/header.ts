// The bar at the top: which shell, how its connection is, and the toolbar.

import { el, icon, iconButton } from './dom';
import { type Status, statusText, statusTone } from './status';

/** What the toolbar's buttons do. */
export interface Tools {
  readonly find: () => void;
  readonly resizeText: (step: number) => void;
  readonly toggleBell: () => void;
  readonly fullScreen: () => void;
  readonly preferences: () => void;
  readonly end: () => void;
  /** Back to the terminal. */
  readonly leave: () => void;
}

/** The bar, and a region that tells changes of state to a screen reader. */
export class Header {
  readonly element: HTMLElement;
  private readonly dot = el('span', { class: 'dot' });
  private readonly text = el('span', { class: 'status' });
  /** Apart from the text, which counts seconds: a screen reader shall hear each state once. */
  private readonly announcer = el('span', { class: 'unseen', role: 'status', 'aria-live': 'polite' });
  private readonly bell: HTMLButtonElement;
  private readonly end: HTMLButtonElement;
  private readonly toolbar: HTMLElement;
  private announced = '';

  constructor(shell: string, listPath: string, tools: Tools) {
    this.bell = iconButton('bell', 'Mute the bell', tools.toggleBell);
    this.end = iconButton('power', 'End the session', tools.end);
    this.toolbar = el(
      'div',
      { class: 'toolbar', role: 'group', 'aria-label': 'Toolbar' },
      iconButton('search', 'Search', tools.find),
      iconButton('smaller', 'Smaller text', () => tools.resizeText(-1)),
      iconButton('larger', 'Larger text', () => tools.resizeText(1)),
      this.bell,
      iconButton('expand', 'Full screen', tools.fullScreen),
      iconButton('settings', 'Settings and keys', tools.preferences),
      this.end,
    );
    const name = el('a', { class: 'name', href: listPath, title: 'All shells' }, shell);
    this.element = el('header', {}, this.dot, name, this.text, this.announcer, this.toolbar);
    this.element.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') tools.leave();
    });
  }

  /** Follows the state; called again each second while it counts down. */
  update(status: Status): void {
    this.dot.dataset.tone = statusTone(status);
    this.text.textContent = statusText(status, Date.now());
    this.end.disabled = status.kind !== 'connected' && status.kind !== 'connecting';
    if (status.kind === this.announced) return;
    this.announced = status.kind;
    this.announcer.textContent = status.kind === 'ended' ? status.ended.message : this.text.textContent;
  }

  /** Shows whether the bell makes a sound. */
  showBell(sound: boolean): void {
    this.bell.replaceChildren(icon(sound ? 'bell' : 'muted'));
    this.bell.title = sound ? 'Mute the bell' : 'Let the bell sound';
    this.bell.setAttribute('aria-label', this.bell.title);
  }

  /** Shows that the bell rang. */
  flash(): void {
    this.element.classList.remove('rang');
    void this.element.offsetWidth; // begins the animation again
    this.element.classList.add('rang');
  }

  /** Puts the keyboard into the toolbar. */
  focus(): void {
    this.toolbar.querySelector('button')?.focus();
  }
}
