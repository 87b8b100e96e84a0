// The input stream: what the person typed, kept until the gateway has acknowledged it.

import { MAX_INPUT_FRAME } from './protocol';

/**
 * Most input that may wait, in bytes. It bounds the page's memory when the remote program does not read; a paste that
 * does not fit is refused as a whole rather than cut.
 */
export const MAX_PENDING = 16 * 1024 * 1024;

/** Numbers input bytes from the beginning of the session, and hands out what may be sent. */
export class InputQueue {
  /** Sent, not acknowledged: the bytes from `acked` on. */
  private inFlight: Uint8Array[] = [];
  /** Not sent yet: the bytes from `sent` on. */
  private waiting: Uint8Array[] = [];
  private acked: number;
  private sent: number;
  private end: number;

  /** Starts at a position, with bytes that were kept from before a reload. */
  constructor(position = 0, kept?: Uint8Array) {
    this.acked = this.sent = this.end = position;
    if (kept) this.push(kept);
  }

  /** The position up to which input is acknowledged. */
  get position(): number {
    return this.acked;
  }

  /** How many bytes are not acknowledged yet, sent or not. */
  get pending(): number {
    return this.end - this.acked;
  }

  /** Appends input; false, and nothing kept, when it does not fit. */
  push(bytes: Uint8Array): boolean {
    if (this.pending + bytes.length > MAX_PENDING) return false;
    if (bytes.length > 0) {
      this.waiting.push(bytes);
      this.end += bytes.length;
    }
    return true;
  }

  /** The next bytes to send, at most `window` of them beyond the acknowledged; undefined when nothing may be sent. */
  next(window: number): Uint8Array | undefined {
    const chunk = this.waiting[0];
    const room = Math.min(this.acked + window - this.sent, MAX_INPUT_FRAME);
    if (!chunk || room <= 0) return undefined;
    const bytes = chunk.subarray(0, room);
    if (bytes.length < chunk.length) this.waiting[0] = chunk.subarray(room);
    else this.waiting.shift();
    this.inFlight.push(bytes);
    this.sent += bytes.length;
    return bytes;
  }

  /** Forgets what lies before a position that the gateway acknowledged. */
  ack(position: number): void {
    const upTo = Math.min(position, this.sent);
    if (upTo <= this.acked) return;
    dropFront(this.inFlight, upTo - this.acked);
    this.acked = upTo;
  }

  /** After a reconnect: what lies before `position` has arrived, everything after it is sent again. */
  rewind(position: number): void {
    this.waiting = this.inFlight.concat(this.waiting);
    this.inFlight = [];
    dropFront(this.waiting, Math.max(0, position - this.acked));
    this.acked = this.sent = Math.max(this.acked, position);
    this.end = Math.max(this.end, this.acked);
  }

  /** A copy of the unacknowledged bytes, for a reload; undefined when they are more than `limit`. */
  keep(limit: number): Uint8Array | undefined {
    if (this.pending > limit) return undefined;
    const kept = new Uint8Array(this.pending);
    let at = 0;
    for (const chunk of this.inFlight.concat(this.waiting)) {
      kept.set(chunk, at);
      at += chunk.length;
    }
    return kept;
  }
}

/** Removes bytes from the front of a list of chunks; all of them when there are fewer. */
function dropFront(chunks: Uint8Array[], count: number): void {
  let left = count;
  for (let chunk = chunks[0]; chunk && left > 0; chunk = chunks[0]) {
    if (chunk.length > left) {
      chunks[0] = chunk.subarray(left);
      return;
    }
    left -= chunk.length;
    chunks.shift();
  }
}
