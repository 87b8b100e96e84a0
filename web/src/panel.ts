// The panel over the lower edge of the terminal: what is the matter, and the way on. What was on the screen stays readable.

import { button, el } from './dom';
import type { Ended, HostKey } from './protocol';
import { type Status, statusText } from './status';

/** The ways on that the panel offers. */
export interface Ways {
  readonly reconnect: () => void;
  readonly restart: () => void;
  readonly copy: (text: string) => Promise<boolean>;
}

/** Shows the state of a connection where there is something to say or to do. */
export class Panel {
  readonly element = el('section', { class: 'panel', 'aria-label': 'Connection', hidden: true });
  private shown = '';

  constructor(private readonly ways: Ways) {}

  /** Follows the state; called again each second while it counts down. */
  update(status: Status): void {
    const shape = shapeOf(status);
    if (shape === this.shown) {
      const heading = this.element.querySelector('h2');
      if (heading && status.kind === 'waiting') heading.textContent = statusText(status, Date.now());
      return;
    }
    this.shown = shape;
    this.element.hidden = shape === '';
    this.element.dataset.kind = status.kind;
    this.element.replaceChildren(...this.content(status));
  }

  private content(status: Status): HTMLElement[] {
    switch (status.kind) {
      case 'connected':
        return [];
      case 'opening':
      case 'connecting':
        return [heading(`${statusText(status, Date.now())} …`)];
      case 'waiting':
        return [
          heading(statusText(status, Date.now())),
          ...(status.resuming
            ? [el('p', {}, 'The shell goes on meanwhile, and what you type is sent once the connection is back.')]
            : []),
          actions(button('Reconnect now', this.ways.reconnect, { class: 'primary' })),
        ];
      case 'taken-over':
        return [
          heading('This session is open elsewhere'),
          el('p', {}, 'Another tab or window continued it.'),
          actions(button('Continue here', this.ways.reconnect, { class: 'primary' })),
        ];
      case 'gone':
        return [
          heading('This session is gone'),
          el('p', {}, 'Nobody was connected for too long, or the gateway was restarted.'),
          this.startAgain(),
        ];
      case 'login':
        if (status.path) return [heading('Logging in …')];
        return [
          heading('You are not logged in'),
          el('p', {}, 'Open the newest address that webshell printed. An address works once.'),
          actions(button('Try again', this.ways.reconnect, { class: 'primary' })),
        ];
      case 'ended':
        return [...this.ending(status.ended), this.startAgain()];
    }
  }

  private ending(ended: Ended): HTMLElement[] {
    return [
      heading(ended.message),
      ...(ended.hint ? [el('p', {}, ended.hint)] : []),
      ...(ended.hostKey ? this.hostKey(ended.hostKey) : []),
    ];
  }

  private hostKey(key: HostKey): HTMLElement[] {
    const facts = el('dl', {}, el('dt', {}, 'The host showed'), el('dd', {}, key.presented));
    if (key.expected.length > 0) {
      facts.append(el('dt', {}, 'Expected'), ...key.expected.map((fingerprint) => el('dd', {}, fingerprint)));
    }
    if (key.line === '') return [facts];
    const copy = button('Copy', async () => {
      copy.textContent = (await this.ways.copy(key.line)) ? 'Copied' : 'Not allowed';
    });
    return [
      facts,
      el('p', {}, 'Once you have checked that this is the host, this line for known_hosts trusts it:'),
      el('div', { class: 'line' }, el('code', { tabindex: '0' }, key.line), copy),
    ];
  }

  private startAgain(): HTMLElement {
    return actions(
      button('Start again', this.ways.restart, { class: 'primary' }),
      el('span', { class: 'aside' }, 'or press Enter'),
    );
  }
}

/** What the panel is built from; as long as it stays the same, focus in the panel is kept. */
function shapeOf(status: Status): string {
  switch (status.kind) {
    case 'connected':
      return '';
    case 'connecting':
      return `connecting ${status.step}`;
    case 'opening':
    case 'waiting':
      return `${status.kind} ${status.resuming}`;
    default:
      return status.kind;
  }
}

function heading(text: string): HTMLElement {
  return el('h2', {}, text);
}

function actions(...children: HTMLElement[]): HTMLElement {
  return el('div', { class: 'actions' }, ...children);
}
