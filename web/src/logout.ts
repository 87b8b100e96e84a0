// Log-out at a gateway, in all tabs: none keeps or shows what the next person must not see.

import { type Answer, endLogIn } from './gateway';
import { keepingSettings } from './settings';
import { forgetAll } from './snapshot';

/** Between the tabs of an origin. A tab does not hear itself. */
const channel = new BroadcastChannel('webshell.log-out');

/** Logs out at the gateway whose pages are below `base`. */
export async function logOut(base: string): Promise<Answer<undefined>> {
  // The answer empties the browser's storage for this origin, where it can.
  const answer = await keepingSettings(() => endLogIn(base));
  if (answer.kind !== 'unreachable') tellLogOut(base);
  return answer;
}

/** Forgets what this tab keeps, and tells the others that the log-in below `base` is over. */
export function tellLogOut(base: string): void {
  forgetAll(base);
  channel.postMessage(base);
}

/** Calls back when another tab tells that the log-in of the pages below `base` is over. */
export function onLogOut(base: string, callback: () => void): void {
  channel.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
    if (typeof data === 'string' && base.startsWith(data)) callback();
  });
}
