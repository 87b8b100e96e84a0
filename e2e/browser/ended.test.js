// How sessions end, and why some do not begin: a person is told which, and what to do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createUser, freePort, needsRoot, startSshd } from './support/sshd.js';
import { demo, Stage, shell } from './support/stage.js';
import { until } from './support/wait.js';

test('exit tells the status, and Enter or the button starts again', async (t) => {
  const { terminal } = await demo(t);
  await terminal.enters('exit 3');
  await terminal.says('status 3', 'Start again');
  await terminal.presses('Enter');
  await terminal.shows('new session');
  await terminal.prompts();
  await terminal.enters('exit');
  await terminal.says('status 0');
  await terminal.button('Start again').click();
  await terminal.prompts();
  await terminal.enters('echo $((6 * 7))');
  await terminal.shows(/^42$/);
});

test('an end by signal names the signal', async (t) => {
  const sshd = await startSshd(t);
  const { terminal } = await shell(t, sshd.manifests({ terminal: { command: sshd.bash } }));
  await terminal.prompts();
  await terminal.enters('kill -KILL $$');
  await terminal.says('ended by signal KILL', 'Start again');
});

test('the button ends a session once that is confirmed', async (t) => {
  const { terminal } = await demo(t);
  await terminal.button('End the session').click();
  await terminal.button('Cancel').click();
  await terminal.hasFocus();
  await terminal.enters('echo $((6 * 7))');
  await terminal.shows(/^42$/);
  await terminal.button('End the session').click();
  await terminal.button('End it').click();
  await terminal.is('ended');
  await terminal.says('Start again');
});

test('leaving asks first while the session lives, and not after its end', async (t) => {
  const { terminal, page, stage } = await demo(t);
  const asked = [];
  stage.onDialog = async (dialog) => {
    asked.push(dialog.type());
    await dialog.dismiss();
  };
  // Browsers ask only for pages that a person has used.
  await terminal.enters('echo $((6 * 7))');
  await terminal.shows(/^42$/);
  await page.close({ runBeforeUnload: true });
  await until('it is asked', () => asked.length > 0);
  assert.deepEqual(asked, ['beforeunload']);
  await terminal.enters('exit');
  await terminal.is('ended');
  const closed = page.waitForEvent('close');
  await page.close({ runBeforeUnload: true });
  await closed;
  assert.equal(asked.length, 1);
});

test('an unknown host key is shown with the line that would trust it, and nothing is sent', async (t) => {
  const sshd = await startSshd(t);
  const knownHosts = sshd.knownHosts('other_key').replace(String(sshd.port), '1');
  const { terminal } = await shell(t, sshd.manifests({ hostKey: { knownHosts } }));
  await terminal.says('not known', sshd.fingerprint(), sshd.knownHosts().trim());
  await nothingWasSent(terminal, sshd);
});

test('a changed host key is shown beside the expected one, and nothing is sent', async (t) => {
  const sshd = await startSshd(t);
  const { terminal, stage, page } = await shell(
    t,
    sshd.manifests({ hostKey: { knownHosts: sshd.knownHosts('other_key') } }),
  );
  await terminal.says(
    'is not the one known',
    sshd.fingerprint('host_key'),
    sshd.fingerprint('other_key'),
    sshd.knownHosts().trim(),
  );
  await nothingWasSent(terminal, sshd);
  await stage.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await terminal.button('Copy').click();
  await terminal.button('Copied').waitFor();
  assert.equal((await page.evaluate(() => navigator.clipboard.readText())).trim(), sshd.knownHosts().trim());
});

/** The server has seen no attempt to log in, and the page makes no other. */
async function nothingWasSent(terminal, sshd) {
  await until('the server has seen it go', () => /\[preauth\]/.test(sshd.log()));
  assert.doesNotMatch(sshd.log(), /Accepted|Failed|Postponed|authenticating user/);
  assert.equal((await terminal.state()).kind, 'ended');
  assert.deepEqual(await terminal.lines(), []);
}

test('a refused connection and an unknown name are told with what to do', async (t) => {
  const sshd = await startSshd(t);
  const target = (host, port) => ({ target: { host, port, user: 'ops' } });
  const { terminal } = await shell(t, sshd.manifests(target('127.0.0.1', await freePort())));
  await terminal.says('refused', 'Start again');
  const other = await shell(t, sshd.manifests(target('nowhere.invalid', 22)));
  await other.terminal.says('nowhere.invalid', 'Start again');
});

test('a wrong password is told, and changing the Secret is all it takes', { skip: needsRoot }, async (t) => {
  const sshd = await startSshd(t, { config: ['PasswordAuthentication yes'] });
  const { terminal } = await shell(t, sshd.manifests({ secret: { password: 'wrong' } }));
  await terminal.says(/password/, /Secret/, 'Start again');
  assert.ok(!(await terminal.panel.innerText()).includes('wrong'), 'passwords are not shown');
});

test('questions of the host are asked, and asked again after a wrong answer', { skip: needsRoot }, async (t) => {
  const user = createUser(t);
  const sshd = await startSshd(t, { asks: true });
  const target = { host: '127.0.0.1', port: sshd.port, user: user.name };
  const { terminal, page } = await shell(t, sshd.manifests({ target, secret: { username: user.name } }));
  const answer = page.getByRole('dialog').getByLabel('Password:');
  await answer.waitFor();
  assert.equal(await answer.getAttribute('type'), 'password');
  await terminal.enters('wrong');
  await until('it is asked again', async () => (await answer.count()) === 1 && (await answer.inputValue()) === '');
  await terminal.enters(user.password);
  await terminal.shows(/^\$$/);
  await terminal.enters('id -un');
  await terminal.shows(new RegExp(`^${user.name}$`));
});

test('a question that is cancelled ends the log-in, and starting again asks again', { skip: needsRoot }, async (t) => {
  const user = createUser(t);
  const sshd = await startSshd(t, { asks: true });
  const target = { host: '127.0.0.1', port: sshd.port, user: user.name };
  const { terminal, page } = await shell(t, sshd.manifests({ target, secret: { username: user.name } }));
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await terminal.button('Cancel').click();
  await terminal.says('Start again');
  assert.equal((await terminal.state()).ended.reason, 'prompt-cancelled');
  await terminal.presses('Enter');
  await dialog.waitFor();
  await terminal.enters(user.password);
  await terminal.is('connected');
});

test('a machine asks in its own name, whatever it says', { skip: needsRoot }, async (t) => {
  const user = createUser(t);
  const lines = Array.from({ length: 60 }, (_, number) => `line ${number}`);
  const says = `${lines.join('\n')}\nLog in to WebShell\n<b>Paste</b> your token:\n`;
  const sshd = await startSshd(t, { says });
  const target = { host: '127.0.0.1', port: sshd.port, user: user.name };
  const { terminal, page } = await shell(t, sshd.manifests({ target, secret: { username: user.name } }));
  const dialog = page.getByRole('dialog', { name: `The machine ${user.name}@127.0.0.1 asks`, exact: true });
  await dialog.waitFor();
  const box = dialog.getByRole('group', { name: `Words of ${user.name}@127.0.0.1` });
  assert.match(await box.innerText(), /line 59\nLog in to WebShell\n<b>Paste<\/b> your token:\nPassword:/);
  assert.equal(await box.locator('b').count(), 0, 'its words are text');
  // Nothing of what it says is outside of the box, and the box pushes nothing of ours out of sight.
  const ours = await dialog.evaluate((element) => {
    const copy = element.cloneNode(true);
    copy.querySelector('.machine').remove();
    return copy.textContent;
  });
  assert.ok(!/line|Log in|token/.test(ours), ours);
  assert.ok(await box.getByLabel('Password:').evaluate((input) => input === document.activeElement), 'one can type');
  for (const element of [dialog.getByRole('heading'), dialog.getByRole('button', { name: 'Continue' })]) {
    const { y, height } = await element.boundingBox();
    assert.ok(y >= 0 && y + height <= page.viewportSize().height, 'it is seen');
  }
  // Nor does it look like ours: a box of its own, in letters of its own.
  const style = (locator) => locator.evaluate((element) => getComputedStyle(element).fontFamily);
  assert.notEqual(await style(box.locator('label')), await style(dialog.getByRole('heading')));
  await terminal.enters(user.password);
  await terminal.is('connected');
});

test('the list leads to each shell and tells which cannot be used', async (t) => {
  const sshd = await startSshd(t);
  const [vm, secret] = sshd.manifests({ terminal: { command: sshd.bash } });
  const broken = { ...vm, metadata: { name: 'broken', namespace: 'test' } };
  broken.spec = { ...vm.spec, credentials: { secretRef: { name: 'missing' } } };
  const stage = await Stage.set(t);
  const gateway = await stage.gateway([vm, broken, secret]);
  const terminal = await stage.visit(gateway.url);
  await terminal.page.getByRole('link', { name: /test\/broken.*missing/ }).waitFor();
  await terminal.page.getByRole('link', { name: /test\/vm.*Ready/ }).click();
  await terminal.prompts();
});
