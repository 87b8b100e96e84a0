// Where the page begins: log in with the ticket in the address if there is one, then show the list or the shell.

import './style.css';
import { logIn, placeOf, takeTicket } from './gateway';
import { SettingsStore } from './settings';
import { onSystemTheme, paintPage } from './themes';

async function start(root: HTMLElement): Promise<void> {
  const settings = new SettingsStore();
  settings.follow(paintPage);
  onSystemTheme(() => paintPage(settings.current));

  const place = placeOf(location.pathname);
  const ticket = takeTicket();
  // Whether it was taken shows in what follows: whoever comes with a used ticket may be logged in already.
  if (ticket !== undefined) await logIn(place.base, ticket);
  // A new ticket pasted into the address of this page loads nothing by itself.
  window.addEventListener('hashchange', () => {
    if (location.hash.includes('ticket=')) location.reload();
  });

  const { shell } = place;
  if (!shell) {
    const { openList } = await import('./list');
    return openList(root, place);
  }
  const { openShell } = await import('./shell');
  return openShell(root, { ...place, shell }, settings);
}

const root = document.getElementById('app');
if (root) void start(root);
