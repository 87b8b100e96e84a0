// Log-in at the portal with a token.

import { el } from './dom';
import { logInWithToken } from './gateway';

/** Shows the form. Once somebody is logged in, the page's address leads on. */
export function loginForm(main: HTMLElement, audience: string): void {
  document.title = 'Log in — WebShell';
  const token = el('input', {
    id: 'token',
    type: 'password',
    required: true,
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    'data-1p-ignore': true,
    'aria-describedby': 'token-help',
  });
  const problem = el('p', { class: 'problem', role: 'alert' });
  const submit = el('button', { type: 'submit', class: 'primary' }, 'Log in');
  const form = el('form', { class: 'login' }, el('label', { for: 'token' }, 'Token'), token, problem, submit);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    submit.disabled = true;
    problem.textContent = '';
    const outcome = await logInWithToken(token.value.trim());
    if (outcome.kind === 'ok') return location.reload();
    submit.disabled = false;
    problem.textContent = outcome.kind === 'refused' ? outcome.message : 'The portal does not answer. Try again.';
    token.select();
  });
  const command = `kubectl create token SERVICEACCOUNT --namespace NAMESPACE --audience ${audience}`;
  main.append(
    el('h1', {}, 'Log in'),
    el(
      'div',
      { id: 'token-help' },
      el('p', {}, 'Paste what this command prints, for a ServiceAccount that may connect to shells:'),
      el('pre', {}, command),
      el('p', {}, 'The token is only asked whose it is, and is not kept. One made for another audience is not taken.'),
    ),
    form,
  );
  token.focus();
}
