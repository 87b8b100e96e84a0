// Cuts the output stream between characters only.
//
// xterm.js keeps an incomplete UTF-8 sequence at the end of a chunk for the next, but misreads one whose kept part ends
// in the byte 0x80 (as "…" or U+3000 cut before their last byte do) and loses the character. So it never gets one.

const NOTHING = new Uint8Array(0);

/** Holds an incomplete character back until its rest arrives. */
export class Utf8Cutter {
  private held: Uint8Array<ArrayBuffer> = NOTHING;

  /** The pieces to parse now: at most two, in order, and together whole characters. Pieces are views where possible. */
  cut(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let rest = bytes;
    if (this.held.length > 0) {
      const need = continuation(rest, sequenceLength(this.held[0] ?? 0) - this.held.length);
      const joined = new Uint8Array(this.held.length + need);
      joined.set(this.held);
      joined.set(rest.subarray(0, need), this.held.length);
      rest = rest.subarray(need);
      if (rest.length === 0 && incomplete(joined) > 0) {
        this.held = joined;
        return pieces;
      }
      this.held = NOTHING;
      pieces.push(joined);
    }
    const open = incomplete(rest);
    if (open > 0) {
      // A copy, so that three bytes do not keep a whole message alive.
      this.held = rest.slice(rest.length - open);
      rest = rest.subarray(0, rest.length - open);
    }
    if (rest.length > 0) pieces.push(rest);
    return pieces;
  }
}

/** How long the sequence is that begins with this byte; 1 for anything that begins none. */
function sequenceLength(lead: number): number {
  if (lead >= 0xc0 && lead < 0xe0) return 2;
  if (lead >= 0xe0 && lead < 0xf0) return 3;
  if (lead >= 0xf0 && lead < 0xf8) return 4;
  return 1;
}

/** How many continuation bytes there are at the beginning, at most `limit`. */
function continuation(bytes: Uint8Array, limit: number): number {
  let count = 0;
  while (count < limit && ((bytes[count] ?? 0) & 0xc0) === 0x80) count++;
  return count;
}

/** How many bytes at the end begin a character that is not complete. */
function incomplete(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) !== 0x80) return sequenceLength(byte) > back ? back : 0;
  }
  return 0;
}
