// What a connection is doing, and in which words a person is told.

import type { Ended } from './protocol';

/** The states of a connection, as a person would tell them apart. */
export type Status =
  /** The WebSocket is being opened; `resuming`: for a session that exists already. */
  | { readonly kind: 'opening'; readonly resuming: boolean }
  /** The gateway is reaching the host; `step` is the protocol's. */
  | { readonly kind: 'connecting'; readonly step: string }
  /** The shell answers. */
  | { readonly kind: 'connected'; readonly resumed: boolean }
  /** The connection broke; it is tried again at `retryAt` (milliseconds since the epoch). */
  | { readonly kind: 'waiting'; readonly resuming: boolean; readonly retryAt: number }
  /** Another tab or window continued this session. */
  | { readonly kind: 'taken-over' }
  /** The gateway does not know the session any more. */
  | { readonly kind: 'gone' }
  /** The gateway does not know who this is; `path` is where one logs in. */
  | { readonly kind: 'login'; readonly path?: string | undefined }
  /** The session is over, or could not be opened. */
  | { readonly kind: 'ended'; readonly ended: Ended };

/** Whether closing the page now would leave a session behind. */
export function isLive(status: Status): boolean {
  if (status.kind === 'opening' || status.kind === 'waiting') return status.resuming;
  return status.kind === 'connecting' || status.kind === 'connected';
}

/** Whether what is typed will reach the shell, now or after a reconnect. */
export function takesInput(status: Status): boolean {
  return status.kind === 'opening' || isLive(status) || status.kind === 'waiting';
}

/** Whether nothing more will come of this session. */
export function isOver(status: Status): boolean {
  return status.kind === 'ended' || status.kind === 'gone';
}

const STEPS: Readonly<Record<string, string>> = {
  resolve: 'looking up the host',
  dial: 'reaching the host',
  handshake: 'checking the host',
  authenticate: 'logging in',
  open: 'opening the shell',
};

/** The short text in the header. */
export function statusText(status: Status, now: number): string {
  switch (status.kind) {
    case 'opening':
      return status.resuming ? 'Reconnecting' : 'Connecting';
    case 'connecting': {
      const step = STEPS[status.step];
      return step ? `Connecting: ${step}` : 'Connecting';
    }
    case 'connected':
      return 'Connected';
    case 'waiting': {
      const seconds = Math.ceil((status.retryAt - now) / 1000);
      const what = status.resuming ? 'Connection lost' : 'No connection';
      return seconds > 0 ? `${what}, next try in ${seconds} s` : `${what}, trying again`;
    }
    case 'taken-over':
      return 'Continued elsewhere';
    case 'gone':
      return 'Session gone';
    case 'login':
      return 'Not logged in';
    case 'ended':
      return status.ended.reason === 'exit' ? 'Ended' : 'Not connected';
  }
}

/** The colour of the header's dot. */
export function statusTone(status: Status): 'good' | 'busy' | 'bad' | 'idle' {
  switch (status.kind) {
    case 'connected':
      return 'good';
    case 'opening':
    case 'connecting':
    case 'waiting':
      return 'busy';
    case 'ended':
      return status.ended.reason === 'exit' ? 'idle' : 'bad';
    case 'taken-over':
      return 'idle';
    case 'gone':
    case 'login':
      return 'bad';
  }
}

/** What to say of a close that no message explained. */
export function endedByClose(code: number, reason: string): Ended {
  const message = reason ? `The connection was closed: ${reason}.` : `The connection was closed with code ${code}.`;
  return { reason: reason || String(code), code, message };
}

/** A duration in words: seconds up to two minutes, minutes up to two hours, then hours. */
export function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} second${seconds === 1 ? '' : 's'}`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.round(seconds / 3600)} hours`;
}
