// The page of one shell: joins the connection, the terminal, and what surrounds them.

import './overlay.css';
import { Bell } from './bell';
import { Connection, type Kept } from './connection';
import { askPrompt, confirm } from './dialogs';
import { el } from './dom';
import { attachEditing } from './editing';
import { listShells, type Place, whoAmI } from './gateway';
import { Header } from './header';
import type { Action } from './keys';
import { followLifetime } from './lifetime';
import { keyOffers } from './loginkey';
import { onLogOut, tellLogOut } from './logout';
import { ModeTracker } from './modes';
import { Notices } from './notices';
import { Output } from './output';
import { Panel } from './panel';
import { canLockKeys, openPreferences, toggleFullScreen } from './preferences';
import { type Prompt, SUBPROTOCOL, type Welcome } from './protocol';
import { SearchBar } from './searchbar';
import { FONT_SIZE, type SettingsStore } from './settings';
import { forgetAll, forgetOthers, type Snapshot, serializeScreen, take } from './snapshot';
import { isLive, isOver, type Status, takesInput } from './status';
import { copyText, createTerminal, showTerminal, sizeOf, terminalOptions, type View } from './terminal';
import { onSystemTheme } from './themes';
import { cleanTitle, windowTitle } from './title';

/** How often it is asked, while nothing is open, who is logged in, in ms. */
const CHECK_LOGIN = 10_000;

/** A place that is a shell. */
type ShellPlace = Place & { readonly shell: NonNullable<Place['shell']> };

/** Shows the shell of this place, as it was if the page was only loaded again. */
export async function openShell(root: HTMLElement, place: ShellPlace, settings: SettingsStore): Promise<void> {
  const path = location.pathname;
  const page = new ShellPage(place, settings, take(path));
  followLifetime(page, path);
  // For the tests in a browser. It gives a script nothing that it could not get from the page otherwise.
  Object.assign(window, { webshell: page.hook });
  await page.open(root);
}

/** Everything of an open page. */
export class ShellPage {
  status: Status = { kind: 'opening', resuming: false };
  private readonly view: View;
  private readonly modes: ModeTracker;
  private readonly output: Output;
  private readonly host = el('main', { class: 'terminal', 'aria-label': 'Terminal' });
  private readonly notices = new Notices();
  private readonly panel: Panel;
  private readonly header: Header;
  private readonly searchBar: SearchBar;
  private readonly bell = new Bell();
  private readonly name: string;
  private connection: Connection | undefined;
  private clipboardWrite = false;
  /** Whose session the screen is of, as far as it is known. */
  private user: string | undefined;
  private dialog: { readonly id: number; readonly element: HTMLDialogElement } | undefined;
  private title = '';
  private rang = false;
  private fitting = false;
  private restoring = false;

  constructor(
    private readonly place: ShellPlace,
    private readonly settings: SettingsStore,
    /** What is to be shown again once the gateway lets this page go on with the session. */
    private snapshot: Snapshot | undefined,
  ) {
    const { namespace, name } = place.shell;
    this.name = `${namespace}/${name}`;
    const size = snapshot ?? { cols: 80, rows: 24 };
    this.view = createTerminal(settings.current, size, () => this.clipboardWrite);
    this.modes = new ModeTracker(this.view.terminal);
    this.output = new Output(this.view.terminal);
    this.setTitle('');
    this.searchBar = new SearchBar(this.view.search, () => this.focus());
    this.panel = new Panel({
      reconnect: () => this.reconnect(),
      restart: () => this.restart(),
      copy: copyText,
    });
    this.header = new Header(this.name, place.base, {
      find: () => this.act('find'),
      resizeText: (step) => this.act(step > 0 ? 'larger' : 'smaller'),
      toggleBell: () => settings.change({ bellSound: !settings.current.bellSound }),
      fullScreen: () => void this.fullScreen(),
      preferences: () => openPreferences(settings, () => this.focus()),
      end: () => this.askEnd(),
      leave: () => this.focus(),
    });
  }

  /** Shows the page and opens the session, or goes on with the one before a reload. */
  async open(root: HTMLElement): Promise<void> {
    const { terminal } = this.view;
    const stage = el('div', { class: 'stage' }, this.host, this.searchBar.element, this.panel.element);
    root.replaceChildren(this.header.element, this.notices.element, stage);
    showTerminal(terminal, this.host);
    this.wireTerminal();
    this.wireSize();
    this.focus();
    this.connect(this.snapshot?.kept);
    setInterval(() => {
      if (this.status.kind === 'waiting') this.showStatus();
    }, 500);
    onLogOut(this.place.base, () => {
      // Where the gateway can tell that this session's log-in ended, it does; it may have been another's.
      if (this.status.kind !== 'connected' && this.status.kind !== 'connecting') this.wipe();
    });
    setInterval(() => {
      if (!document.hidden) void this.checkLogIn();
    }, CHECK_LOGIN);
  }

  /** What to keep over a reload; undefined when there is no session. */
  keep(): Snapshot | undefined {
    const kept = this.connection?.keep();
    if (!kept) return undefined;
    if (this.snapshot) return { ...this.snapshot, kept };
    const { terminal, serializer } = this.view;
    const screen = serializeScreen(terminal, serializer, this.settings.current.scrollback) + this.modes.serialize();
    return { kept, cols: terminal.cols, rows: terminal.rows, screen, tail: this.output.tail, title: this.title };
  }

  /** Tries to connect now. */
  reconnect(): void {
    this.connection?.reconnect();
    this.focus();
  }

  /** While nothing is open, nobody tells that the log-in ended: what is on the screen must not outlive it. */
  async checkLogIn(): Promise<void> {
    if (takesInput(this.status)) return;
    const who = await whoAmI(this.place.base);
    if (takesInput(this.status)) return;
    const isAnother = who.kind === 'ok' && this.user !== undefined && who.value.user !== this.user;
    if (isAnother || (who.kind === 'login' && who.path)) this.wipe();
    if (who.kind === 'login' && who.path) this.setStatus(who);
  }

  /** The network, or the person, is back: no reason to wait any longer. */
  wake(): void {
    if (this.status.kind === 'waiting') this.connection?.reconnect();
  }

  /** The network changed: what looks like a connection may be none. */
  networkChanged(): void {
    if (takesInput(this.status)) this.connection?.reconnect();
  }

  /** The person looks at the page: the bell has been seen. */
  seen(): void {
    this.rang = false;
    this.setTitle(this.title);
  }

  /** The browser asked whether to leave, and the person stayed: perhaps a key was meant for the shell. */
  explainKeys(): void {
    if (canLockKeys()) this.notices.remark('Ctrl-W belongs to the browser here; in full screen it reaches the shell.');
    else this.notices.remark('This browser keeps Ctrl-W, Ctrl-T and Ctrl-N for itself.');
  }

  /** For the tests in a browser: the terminal, the connection's state, and the output position parsed. */
  get hook() {
    return {
      term: this.view.terminal,
      state: () => this.status,
      position: () => this.connection?.position ?? 0,
    };
  }

  private connect(kept?: Kept): void {
    const connection = new Connection(
      {
        open: () => new WebSocket(new URL('ws', location.href.replace(/^http/, 'ws')), [SUBPROTOCOL, ...keyOffers()]),
        diagnose: () => this.diagnose(),
        onStatus: (status) => this.setStatus(status),
        onWelcome: (welcome, lost) => this.welcomed(welcome, lost),
        onOutput: (bytes) => this.output.write(bytes, (count) => connection.parsed(count)),
        onPrompt: (prompt) => this.ask(prompt),
        onNotice: (notice) => this.notices.show(notice),
      },
      sizeOf(this.view.terminal),
    );
    this.connection = connection;
    connection.start(kept);
  }

  private restart(): void {
    if (!isOver(this.status)) return;
    this.output.newSession();
    this.modes.reset();
    this.notices.clear();
    this.setTitle('');
    this.connect();
    this.focus();
  }

  private async diagnose(): Promise<Status | undefined> {
    const { base, shell } = this.place;
    const who = await whoAmI(base);
    if (who.kind === 'login') return who;
    if (who.kind !== 'ok' || isLive(this.status)) return undefined;
    const list = await listShells(base);
    if (list.kind !== 'ok') return undefined;
    const { shells, complete } = list.value;
    const known = shells.some(({ namespace, name }) => namespace === shell.namespace && name === shell.name);
    if (known || !complete) return undefined;
    const message = `There is no shell ${this.name} that you may open.`;
    const hint = 'It may have been deleted or renamed, or is not shared with you.';
    return { kind: 'ended', ended: { reason: 'missing', code: 404, message, hint } };
  }

  private welcomed(welcome: Welcome, lost: boolean): void {
    this.clipboardWrite = welcome.clipboardWrite;
    this.notices.clear(['idle', 'draining']);
    void this.learnUser();
    const { snapshot } = this;
    this.snapshot = undefined;
    if (snapshot && welcome.resumed) this.restore(snapshot);
    if (!lost) return;
    this.output.skip();
    this.modes.reset();
    // Two sizes, so that the program in front is told of a change and draws itself again.
    const size = sizeOf(this.view.terminal);
    this.connection?.resize({ ...size, rows: Math.max(1, size.rows - 1) });
    this.connection?.resize(size);
  }

  /** Shows what was there before a reload, at the size that it had then. */
  private restore({ screen, tail, cols, rows, title }: Snapshot): void {
    const { terminal, fit } = this.view;
    this.setTitle(title);
    this.restoring = true;
    terminal.resize(cols, rows);
    this.output.restore(screen, tail, () => {
      fit.fit();
      this.restoring = false;
    });
  }

  private async learnUser(): Promise<void> {
    const who = await whoAmI(this.place.base);
    if (who.kind !== 'ok' || !who.value.user) return;
    this.user ??= who.value.user;
    forgetOthers(this.place.base, who.value.user);
  }

  /** The log-in ended: what is here is not for whoever looks now. */
  private wipe(): void {
    forgetAll(this.place.base);
    this.snapshot = undefined;
    this.dialog?.element.close('superseded');
    this.notices.clear();
    this.output.wipe();
    this.modes.reset();
    this.setTitle('');
  }

  private setStatus(status: Status): void {
    const before = this.status;
    this.status = status;
    if (status.kind === 'connected' && status.resumed && before.kind !== 'connected') {
      this.notices.remark('Reconnected to the same shell.');
    } else if (status.kind !== 'connected') {
      this.notices.remark('');
    }
    if (status.kind === 'connected' || isOver(status)) this.dialog?.element.close('superseded');
    if (isOver(status)) this.notices.clear();
    if (status.kind === 'ended' && status.ended.reason === 'logged-out') {
      this.wipe();
      tellLogOut(this.place.base);
    }
    this.showStatus();
    // The session is kept over the way there and back, as over a reload.
    if (status.kind === 'login' && status.path) location.replace(`${status.path}?shell=${this.place.shell.name}`);
  }

  private showStatus(): void {
    this.header.update(this.status);
    this.panel.update(this.status);
  }

  private ask(prompt: Prompt): void {
    if (this.dialog?.id === prompt.id) return;
    this.dialog?.element.close('superseded');
    const element = askPrompt(prompt, (answers) => {
      this.dialog = undefined;
      this.connection?.answer(prompt.id, answers);
      this.focus();
    });
    this.dialog = { id: prompt.id, element };
  }

  private askEnd(): void {
    const what = el('p', {}, 'The shell and what runs in it are ended.');
    confirm('End the session?', [what], 'End it', (confirmed) => {
      if (confirmed) this.connection?.end();
      this.focus();
    });
  }

  private act(action: Exclude<Action, 'copy' | 'browser'>): void {
    const { fontSize } = this.settings.current;
    const setSize = (size: number) =>
      this.settings.change({ fontSize: Math.min(FONT_SIZE.most, Math.max(FONT_SIZE.least, size)) });
    switch (action) {
      case 'find':
        this.searchBar.open();
        break;
      case 'larger':
        setSize(fontSize + 1);
        break;
      case 'smaller':
        setSize(fontSize - 1);
        break;
      case 'usual-size':
        setSize(FONT_SIZE.usual);
        break;
      case 'toolbar':
        this.header.focus();
        break;
    }
  }

  private async fullScreen(): Promise<void> {
    const entering = document.fullscreenElement === null;
    await toggleFullScreen().catch(() => this.notices.remark('The browser did not allow full screen.'));
    if (entering && !canLockKeys()) this.explainKeys();
    this.focus();
  }

  private focus(): void {
    this.view.terminal.focus();
  }

  private setTitle(title: string): void {
    this.title = cleanTitle(title);
    document.title = windowTitle(this.title, this.name, this.rang);
  }

  private wireTerminal(): void {
    const { terminal } = this.view;
    const encoder = new TextEncoder();
    terminal.onData((text) => this.type(encoder.encode(text)));
    terminal.onBinary((text) => this.type(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    terminal.onTitleChange((title) => this.setTitle(title));
    terminal.onBell(() => {
      if (!this.bell.ring(this.settings.current.bellSound)) return;
      this.header.flash();
      this.rang = document.hidden;
      this.setTitle(this.title);
    });
    attachEditing(terminal, this.host, {
      settings: () => this.settings.current,
      act: (action) => this.act(action),
      idleKey: (event) => this.idleKey(event),
      remark: (text) => this.notices.remark(text),
    });
  }

  private type(bytes: Uint8Array): void {
    if (!takesInput(this.status) || this.connection?.send(bytes)) return;
    this.notices.remark('Too much is waiting for the program to read it. This was not sent.');
  }

  /** While nothing is open, Enter starts again, and Tab leads out of the terminal. */
  private idleKey(event: KeyboardEvent): boolean {
    if (!isOver(this.status)) return false;
    if (event.type === 'keydown' && event.key === 'Enter' && !event.repeat) {
      event.preventDefault();
      this.restart();
      return true;
    }
    return event.key === 'Tab';
  }

  private wireSize(): void {
    const { terminal, fit } = this.view;
    const refit = () => {
      if (this.fitting) return;
      this.fitting = true;
      requestAnimationFrame(() => {
        this.fitting = false;
        if (this.host.clientWidth > 0) fit.fit();
      });
    };
    fit.fit();
    terminal.onResize(() => {
      if (!this.restoring) this.connection?.resize(sizeOf(terminal));
    });
    new ResizeObserver(refit).observe(this.host);
    const followZoom = () => {
      const zoom = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
      zoom.addEventListener(
        'change',
        () => {
          this.connection?.resize(sizeOf(terminal));
          refit();
          followZoom();
        },
        { once: true },
      );
    };
    followZoom();
    const restyle = () => {
      Object.assign(terminal.options, terminalOptions(this.settings.current));
      this.header.showBell(this.settings.current.bellSound);
      refit();
    };
    this.settings.follow(restyle);
    onSystemTheme(restyle);
  }
}
