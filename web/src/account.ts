// Who is logged in, and the way out.

import { button, el } from './dom';

/** A title with the user's name and a button to log out beside it; `portal` is where the shells of all namespaces are. */
export function accountLine(
  title: HTMLElement,
  user: string,
  portal: string | undefined,
  logOut: () => Promise<void>,
): HTMLElement {
  const out = button('Log out', async () => {
    out.disabled = true;
    await logOut();
    out.disabled = false;
  });
  const all = portal === undefined ? [] : [el('a', { href: `${portal}/` }, 'All namespaces')];
  const account = el('div', { class: 'account' }, ...all, el('span', { class: 'user', title: user }, user), out);
  return el('div', { class: 'top' }, title, account);
}
