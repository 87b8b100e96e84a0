// The page that lists the shells one may open: those of a gateway, or at the portal those of all namespaces.

import './list.css';
import { accountLine } from './account';
import { button, el } from './dom';
import { matches, namespacesOf } from './filter';
import {
  type Answer,
  type Listing,
  listShells,
  logOutOfPortal,
  type Place,
  type Session,
  type Shell,
  whoAmI,
} from './gateway';
import { loginForm } from './login';
import { logOut, onLogOut } from './logout';
import { forgetAll, forgetOthers } from './snapshot';

/** How often the list is asked for while the page is seen, in ms: readiness changes. */
const REFRESH = 10_000;

/** From how many shells on there is a search. */
const SEARCH_FROM = 6;

/** What is said of a list that is not complete. */
const GROWS = 'Not every shell was looked at yet, so this list may grow. A shell that you know opens by its address.';

/** Shows who one is and the list, or the way to it. */
export async function openList(root: HTMLElement, place: Place): Promise<void> {
  const { base } = place;
  document.title = 'Shells — WebShell';
  const who = await whoAmI(base);
  if (who.kind === 'login' && who.path) return location.replace(who.path);
  const session = who.kind === 'ok' ? who.value : undefined;
  if (session?.user) forgetOthers(base, session.user);
  onLogOut(base, () => {
    forgetAll(base);
    location.reload();
  });
  const main = el('main', { class: 'list' });
  root.replaceChildren(main);
  if (session?.tokenAudience && !session.user) return loginForm(main, session.tokenAudience);
  if (place.leaving && session?.user) return leaving(main, session.user);
  const list = new List(base);
  main.append(heading(session, base), list.element);
  await list.follow();
}

/** The title, and who one is where there is more than one person. */
function heading(session: Session | undefined, base: string): HTMLElement {
  const title = el('h1', {}, 'Shells');
  if (!session?.user) return title;
  if (session.tokenAudience) return accountLine(title, session.user, undefined, leavePortal);
  if (!session.portal) return title;
  const { portal } = session;
  return accountLine(title, session.user, portal, async () => {
    const answer = await logOut(base);
    // The portal still knows who this is, and asks whether to forget it, too.
    if (answer.kind !== 'unreachable') location.assign(`${portal}/-/logout`);
  });
}

async function leavePortal(): Promise<void> {
  const answer = await logOutOfPortal();
  if (answer.kind !== 'unreachable') location.assign('/');
}

/** Asks whether to log out of the portal. */
function leaving(main: HTMLElement, user: string): void {
  document.title = 'Log out — WebShell';
  const out = button('Log out', leavePortal, { class: 'primary' });
  main.append(
    el('h1', {}, 'Log out?'),
    el(
      'p',
      {},
      `You are still logged in at the portal as ${user}: a shell that you open asks for no token until then. ` +
        'Logging out here ends your open shells in all namespaces, too.',
    ),
    el('div', { class: 'actions' }, out, el('a', { href: '/' }, 'Stay logged in')),
  );
  out.focus();
}

/** The list, with a search where it is long. */
class List {
  readonly element = el('div', {});
  private readonly search = el('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search shells' });
  private readonly namespace = el('select', { 'aria-label': 'Namespace' });
  private readonly filters = el('div', { class: 'filters', hidden: true }, this.search, this.namespace);
  private readonly count = el('p', { class: 'unseen', role: 'status' });
  private readonly shells = el('div', { class: 'shells' });
  private answer: Answer<Listing> = { kind: 'unreachable' };
  private shown = '';

  constructor(private readonly base: string) {
    this.element.append(this.filters, this.count, this.shells);
    for (const control of [this.search, this.namespace]) control.addEventListener('input', () => this.show());
  }

  /** Shows the list and keeps it fresh. */
  async follow(): Promise<void> {
    const refresh = async () => {
      if (document.hidden) return;
      this.answer = await listShells(this.base);
      if (this.answer.kind === 'login' && (await this.leadsToLogIn(this.answer.path))) return;
      const { answer } = this;
      const state = JSON.stringify(answer);
      if (state === this.shown) return;
      this.shown = state;
      if (answer.kind === 'ok') this.offer(answer.value.shells);
      this.show();
    };
    await refresh();
    setInterval(refresh, REFRESH);
    document.addEventListener('visibilitychange', refresh);
  }

  /** Leads to where one logs in, if there is such a place; a portal's is this very page. */
  private async leadsToLogIn(path: string | undefined): Promise<boolean> {
    if (path !== undefined) {
      location.replace(path);
      return true;
    }
    const who = await whoAmI(this.base);
    if (who.kind === 'login') return false;
    if (who.kind === 'ok' && who.value.user === undefined) {
      location.reload();
      return true;
    }
    // One portal follows another, and each knows others.
    this.answer = { kind: 'unreachable' };
    return false;
  }

  /** Offers the filters that the shells have a use for. */
  private offer(shells: readonly Shell[]): void {
    const namespaces = namespacesOf(shells);
    const chosen = this.namespace.value;
    this.namespace.replaceChildren(
      el('option', { value: '' }, 'All namespaces'),
      ...namespaces.map((name) => el('option', { value: name, selected: name === chosen }, name)),
    );
    this.namespace.hidden = namespaces.length < 2;
    this.filters.hidden = shells.length < SEARCH_FROM && namespaces.length < 2;
  }

  private show(): void {
    const focused = document.activeElement?.getAttribute('href');
    this.shells.replaceChildren(...this.content());
    if (!focused) return;
    for (const link of this.shells.querySelectorAll('a')) if (link.getAttribute('href') === focused) link.focus();
  }

  private content(): HTMLElement[] {
    const { answer } = this;
    this.count.textContent = '';
    switch (answer.kind) {
      case 'login':
        return empty('You are not logged in', 'Open the newest address that webshell printed. An address works once.');
      case 'unreachable':
        return empty('The gateway does not answer', 'It is asked again every few seconds.');
      case 'ok': {
        const { shells, complete } = answer.value;
        if (shells.length === 0) {
          if (!complete) return empty('No shells found yet', GROWS);
          return empty(
            'No shells yet',
            'Create a WebShell (kubectl apply, or a manifest given to webshell local with -f), or ask for the right to connect to one.',
          );
        }
        const found = shells.filter((shell) => matches(shell, this.search.value, this.namespace.value));
        this.count.textContent = `${found.length} of ${shells.length} shells`;
        const more = complete ? [] : [el('p', {}, GROWS)];
        if (found.length > 0) return [el('ul', {}, ...found.map(row)), ...more];
        return empty('Nothing found', 'No shell that you may open has this in its name, namespace or target.');
      }
    }
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
    el('a', { href: shell.href }, ...words),
  );
}

function empty(title: string, text: string): HTMLElement[] {
  return [el('h2', {}, title), el('p', {}, text)];
}
