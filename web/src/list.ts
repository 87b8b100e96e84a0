// The page that lists the shells one may open.

import './list.css';
import { el } from './dom';
import { type Answer, listShells, type Shell } from './gateway';

/** How often the list is asked for while the page is seen, in ms: readiness changes. */
const REFRESH = 10_000;

/** Shows the list and keeps it fresh. */
export async function openList(root: HTMLElement, base: string): Promise<void> {
  document.title = 'Shells — WebShell';
  const list = el('div', { class: 'shells' });
  root.replaceChildren(el('main', { class: 'list' }, el('h1', {}, 'Shells'), list));
  let shown = '';
  const refresh = async () => {
    if (document.hidden) return;
    const answer = await listShells(base);
    const state = JSON.stringify(answer);
    if (state === shown) return;
    shown = state;
    list.replaceChildren(...content(answer));
  };
  await refresh();
  setInterval(refresh, REFRESH);
  document.addEventListener('visibilitychange', refresh);
}

function content(answer: Answer<readonly Shell[]>): HTMLElement[] {
  switch (answer.kind) {
    case 'login':
      return empty('You are not logged in', 'Open the newest address that webshell printed. An address works once.');
    case 'unreachable':
      return empty('The gateway does not answer', 'It is asked again every few seconds.');
    case 'ok':
      if (answer.value.length > 0) return [el('ul', {}, ...answer.value.map(row))];
      return empty(
        'No shells yet',
        'Create a WebShell (kubectl apply, or a manifest given to webshell local with -f), or ask for the right to connect to one.',
      );
  }
}

function row(shell: Shell): HTMLElement {
  const words = [
    el('span', { class: 'name' }, `${shell.namespace}/${shell.name}`),
    el('span', { class: 'target' }, shell.target),
    el('span', { class: 'readiness' }, shell.ready ? 'Ready' : shell.message || 'Not ready'),
  ];
  return el(
    'li',
    {},
    el('span', { class: 'dot', 'data-tone': shell.ready ? 'good' : 'busy' }),
    el('a', { href: shell.path }, ...words),
  );
}

function empty(title: string, text: string): HTMLElement[] {
  return [el('h2', {}, title), el('p', {}, text)];
}
