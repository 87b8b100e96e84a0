// A page comes and goes: reload, hidden tabs, the back button, networks that come back, closing by mistake.

import type { ShellPage } from './shell';
import * as snapshots from './snapshot';
import { isLive } from './status';

/** Longer than the browser's own question is open: timers stand still meanwhile. */
const STAYED = 300;

/** Keeps the session over a reload, wakes it when that helps, and asks before it is left. */
export function followLifetime(page: ShellPage, path: string): void {
  let stored = false;
  const store = () => {
    const snapshot = stored ? undefined : page.keep();
    if (!snapshot) return;
    snapshots.store(path, snapshot);
    stored = true;
  };
  const forget = () => {
    stored = false;
    snapshots.forget(path);
  };

  window.addEventListener('pagehide', store);
  // Hidden pages may be discarded without a further word. What happened since then is lost to them, so it is stored again.
  document.addEventListener('freeze', () => {
    stored = false;
    store();
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) store();
    else {
      forget();
      page.seen();
      page.wake();
      void page.checkLogIn();
    }
  });
  window.addEventListener('pageshow', (event) => {
    if (!event.persisted) return;
    forget();
    page.networkChanged();
    void page.checkLogIn();
  });
  window.addEventListener('online', () => page.networkChanged());
  window.addEventListener('beforeunload', (event) => {
    if (!isLive(page.status)) return;
    event.preventDefault();
    setTimeout(() => page.explainKeys(), STAYED);
  });
}
